"""Line integrals by ITK-RTK, an optional dependency."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_segdiff.transforms.drr.geometry import Geometry

__all__ = ["rtk_filter", "rtk_line_integrals"]


def rtk_line_integrals(values: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry) -> torch.Tensor:
    """Integrate volumes along rays with RTK's JosephForwardProjectionImageFilter on the CPU.

    Args:
        values: volumes on one grid, (C, X, Y, Z), float32.
        affine: voxel index to RAS in mm, (4, 4).
        geometry: source and detector.

    Returns:
        Value times mm, (C, views, U, V), float32, on the device of the values.

    Raises:
        ImportError: if ITK-RTK is not installed.
    """
    projected = []
    for volume in values.detach().cpu().numpy():
        project, array_of = rtk_filter(volume, affine, geometry)
        project.Update()
        projected.append(array_of(project.GetOutput()).transpose(0, 2, 1))
    return torch.as_tensor(np.ascontiguousarray(np.stack(projected))).to(values)


def rtk_filter(volume: NDArray[np.float32], affine: NDArray[np.float64], geometry: Geometry) -> tuple[Any, Any]:
    """RTK's projector of one volume, (X, Y, Z), not yet run, and what makes an array (views, V, U) of its output."""
    try:
        import itk
        from itk import RTK
    except ImportError as error:
        raise ImportError("backend='rtk' needs ITK-RTK: pip install 'monai-segdiff[rtk]'.") from error
    orbit = geometry.orbit
    # RTK turns the source clockwise about its second axis and starts from the third; its columns run along the first.
    frame = np.stack([np.cross(orbit.reference, orbit.axis), orbit.axis, orbit.reference])
    turns = RTK.ThreeDCircularProjectionGeometry.New()
    for angle in orbit.angles:
        turns.AddProjection(orbit.source_to_isocenter, 0.0 if orbit.parallel else orbit.source_to_detector, -angle)
    # RTK's volume ends at the centers of its outer voxels; with a layer of air around it theirs is whole.
    image = itk.image_from_array(np.ascontiguousarray(np.pad(volume, 1).transpose(2, 1, 0)))
    linear = frame @ affine[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(itk.matrix_from_array(linear / spacing))
    image.SetOrigin((frame @ (affine[:3, 3] - affine[:3, :3].sum(axis=1) - geometry.isocenter)).tolist())
    columns, rows = geometry.detector_shape
    empty = itk.image_from_array(np.zeros((len(orbit.angles), rows, columns), dtype=np.float32))
    empty.SetSpacing([*geometry.detector_spacing, 1.0])
    empty.SetOrigin([*geometry.affine[:2, 3], 0.0])
    image_type = itk.Image[itk.F, 3]
    project = RTK.JosephForwardProjectionImageFilter[image_type, image_type].New()
    project.SetInput(0, empty)
    project.SetInput(1, image)
    project.SetGeometry(turns)
    return project, itk.array_from_image

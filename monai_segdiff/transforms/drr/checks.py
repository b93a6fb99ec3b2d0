"""Volumes and beams that would give wrong radiographs."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from monai_segdiff.transforms.drr.geometry import Geometry

__all__ = ["TISSUE", "check_affine", "check_beam", "check_hu", "check_silhouette", "cut_faces"]

TISSUE = -500.0  # HU between air and tissue
_SIDES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


def check_affine(affine: NDArray[np.float64]) -> None:
    """Raise unless an affine places voxels in space."""
    usable = affine.shape == (4, 4) and bool(np.isfinite(affine).all())
    if not usable or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError(
            f"no usable affine, got {affine.tolist()}: a projection needs the voxel size and position in mm; read the "
            "volume with LoadImage, or give MetaTensor(array, affine=...)."
        )


def check_hu(hu: torch.Tensor) -> None:
    """Raise unless a volume, (1, X, Y, Z), holds tissue in Hounsfield units."""
    if not bool(torch.isfinite(hu).all()):
        raise ValueError("NaN or infinite voxels: replace them, e.g. by -1000 (air).")
    low, high = (float(value) for value in hu.aminmax())
    if low >= 0 or high - low < 20:
        raise ValueError(
            f"values from {low:g} to {high:g} are no Hounsfield units (air is -1000): project the CT as it came "
            "from the scanner, not scaled or windowed; undo a rescale slope and intercept that were not applied."
        )
    if high <= TISSUE:
        raise ValueError(f"air only: no voxel is above {TISSUE:g} HU, the highest is {high:g}.")


def check_beam(geometry: Geometry, corners: NDArray[np.float64]) -> None:
    """Raise unless a volume's corners, (..., 3) in mm, lie between source and detector."""
    if geometry.orbit.parallel:
        return
    points, orbit = corners.reshape(-1, 3), geometry.orbit
    for view, angle in enumerate(orbit.angles):
        depth = orbit.on_detector(points, geometry.isocenter, view)[:, 2]
        if depth.min() <= 0:
            raise ValueError(
                f"the volume reaches {-depth.min():.0f} mm behind the source at {angle:g} degrees: raise "
                f"source_to_isocenter (--source-to-isocenter), {orbit.source_to_isocenter:g} mm, or crop the volume."
            )
        if depth.max() >= orbit.source_to_detector:
            raise ValueError(
                f"the volume reaches {depth.max() - orbit.source_to_detector:.0f} mm behind the detector at {angle:g} "
                f"degrees: raise source_to_detector (--source-to-detector), {orbit.source_to_detector:g} mm, or crop "
                "the volume."
            )


def cut_faces(hu: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry) -> list[str]:
    """Faces of a volume, (1, X, Y, Z), that cut tissue where rays to the detector leave through them.

    Returns:
        The sides of the patient that the faces look to, such as ``"posterior"``; none if nothing is truncated.
    """
    half = geometry.half_size * (1 - 1e-6)
    views = range(len(geometry.orbit.angles))
    faces = []
    for axis in range(3):
        for side in (0, hu.shape[axis + 1] - 1):
            tissue = (hu[0].select(axis, side) > TISSUE).nonzero().cpu().numpy().astype(np.float64)
            points = np.insert(tissue, axis, side, axis=1) @ affine[:3, :3].T + affine[:3, 3]
            seen = (geometry.orbit.on_detector(points, geometry.isocenter, view)[:, :2] for view in views)
            if any(bool((np.abs(place) < half).all(axis=1).any()) for place in seen):
                faces.append(_side(affine[:3, axis] * (1 if side else -1)))
    return faces


def _side(outwards: NDArray[np.float64]) -> str:
    along = int(np.argmax(np.abs(outwards)))
    return _SIDES[along][int(outwards[along] > 0)]


def check_silhouette(hu: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry) -> None:
    """Raise where the detector sees none of the tissue in a volume, (1, X, Y, Z), and warn where it sees a part."""
    block = -(-max(hu.shape) // 32)
    # Blocks rather than voxels: a bone's width is what matters, and there are as many rays as voxels.
    tissue = (F.max_pool3d(hu[None], block, ceil_mode=True)[0, 0] > TISSUE).nonzero().cpu().numpy()
    index = np.minimum(tissue * block + (block - 1) / 2, np.array(hu.shape[1:]) - 1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    half = geometry.half_size
    cut = []
    for view, angle in enumerate(geometry.orbit.angles):
        u, v = np.abs(geometry.orbit.on_detector(points, geometry.isocenter, view)[:, :2]).T
        if not ((u <= half[0]) & (v <= half[1])).any():
            raise ValueError(
                f"the detector, {2 * half[0]:.0f} x {2 * half[1]:.0f} mm, misses the object at {angle:g} degrees: "
                f"enlarge detector_spacing (--detector-spacing), or move the isocenter, now at "
                f"{geometry.isocenter.round(1).tolist()}, into it."
            )
        if ((u > half[0]) & (v <= half[1])).any():
            cut.append(angle)
    if cut:
        warnings.warn(
            f"the detector, {2 * half[0]:.0f} x {2 * half[1]:.0f} mm, cuts the object's sides in {len(cut)} of "
            f"{len(geometry.orbit.angles)} views, first at {cut[0]:g} degrees: enlarge detector_spacing "
            "(--detector-spacing) or detector_shape (--size).",
            stacklevel=2,
        )

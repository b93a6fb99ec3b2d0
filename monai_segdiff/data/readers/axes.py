"""The order and direction of axes: from a file's own to right, anterior, superior, and back."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

__all__ = ["canonical_shape", "from_canonical", "own_shape", "to_canonical", "usable_affine"]

_CANONICAL = np.array([[0, 1], [1, 1], [2, 1]])


def to_canonical(
    array: NDArray[np.generic], affine: NDArray[np.float64]
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Order the axes as right, anterior, superior, each running that way.

    Nothing is interpolated: axes of an oblique volume go to the directions that they are closest to. The two axes of a
    slice come in the order of their directions, so that a coronal one has right, then superior.

    Args:
        array: (X, Y) or (X, Y, Z).
        affine: voxel index to RAS position in mm, (4, 4), see :func:`usable_affine`.

    Returns:
        The array and its affine.
    """
    orientation = _orientation(affine, array.ndim)
    shape = (*array.shape, 1)[:3]
    turned = apply_orientation(array.reshape(shape), orientation)
    place = affine @ inv_ornt_aff(orientation, shape)
    return np.ascontiguousarray(turned.reshape(turned.shape[: array.ndim])), place


def from_canonical(
    array: NDArray[np.generic], affine: NDArray[np.float64], shape: Sequence[int]
) -> NDArray[np.generic]:
    """Undo :func:`to_canonical`.

    Args:
        array: of the canonical shape.
        affine: the file's own.
        shape: the file's own, (X, Y) or (X, Y, Z).
    """
    back = ornt_transform(_CANONICAL, _orientation(affine, len(shape)))
    turned = apply_orientation(array.reshape((*array.shape, 1)[:3]), back)
    return np.ascontiguousarray(turned.reshape(tuple(shape)))


def canonical_shape(shape: Sequence[int], affine: NDArray[np.float64]) -> tuple[int, ...]:
    """Shape that an array has in canonical axes."""
    orientation = _orientation(affine, len(shape))
    order = np.argsort(orientation[: len(shape), 0])
    return tuple(int(shape[axis]) for axis in order)


def own_shape(canonical: Sequence[int], affine: NDArray[np.float64]) -> tuple[int, ...]:
    """Shape that an array of canonical axes has in a file's own, the reverse of :func:`canonical_shape`."""
    orientation = _orientation(affine, len(canonical))
    return tuple(int(canonical[int(axis)]) for axis in orientation[: len(canonical), 0])


def usable_affine(affine: NDArray[np.float64], spatial_dims: int) -> NDArray[np.float64]:
    """Check an affine; where a slice does not say which way its third axis would go, let it stand upright on it.

    Raises:
        ValueError: if it holds NaN, or two axes of the image lie in one line.
    """
    affine = np.array(affine, dtype=np.float64)
    if not np.isfinite(affine).all():
        raise ValueError("its affine holds NaN or infinite values, so where it lies is unknown; write its header anew")
    if spatial_dims == 2 and not np.linalg.norm(affine[:3, 2]) > 0:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (sizes > 0).all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        raise ValueError("its affine puts all voxels into one plane (voxel sizes of 0?); write its header anew")
    return affine


def _orientation(affine: NDArray[np.float64], spatial_dims: int) -> NDArray[np.float64]:
    """For each of three axes, which one it becomes and whether it keeps its direction."""
    orientation = nib.io_orientation(affine)
    if spatial_dims == 2:
        orientation[:2, 0] = np.argsort(np.argsort(orientation[:2, 0]))
        orientation[2] = (2, 1)
    return orientation

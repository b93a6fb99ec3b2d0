"""Where DICOM slices lie: affines of series, and voxels brought from one grid onto another without resampling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LPS_TO_RAS", "PLANE", "PLANE_TOLERANCE", "affine_of_slice", "onto_grid", "order_slices"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLANE = ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
PLANE_TOLERANCE = 0.1  # of a voxel: how far a grid may lie from another one that is taken for the same
_STEP_TOLERANCE = 0.05  # of the distance of slices: scanners round positions


def order_slices(slices: Mapping[Path, Any], folder: Any) -> tuple[list[Path], NDArray[np.float64]]:
    """Sort slices by their place in space.

    Args:
        slices: file to header, at least two of them.
        folder: where they are, for messages.

    Returns:
        Files in their order along the slices' normal, and the RAS affine of (column, row, slice).

    Raises:
        ValueError: if they are not evenly spaced, parallel slices of one size; names the files and what to do.
    """
    names = list(slices)
    check_planes(slices)
    first = slices[names[0]]
    row, column = np.asarray(first.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    positions = np.array([slices[file].ImagePositionPatient for file in names], dtype=np.float64)
    order = np.argsort(positions @ normal)
    ordered, positions = [names[i] for i in order], positions[order]
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    closest, widest = int(steps.argmin()), int(steps.argmax())
    if steps[closest] < 1e-3:
        raise ValueError(
            f"{ordered[closest]} and {ordered[closest + 1]} lie at the same position; are there two scans in {folder}?"
        )
    if np.abs(steps - usual).max() > _STEP_TOLERANCE * usual:
        at = widest if steps[widest] - usual > usual - steps[closest] else closest
        raise ValueError(
            f"{ordered[at]} and {ordered[at + 1]} are {steps[at]:.3g} mm apart where the other slices are "
            f"{usual:.3g} mm apart; add the missing slices, or keep those of even distance"
        )
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    return ordered, _affine(first, positions[0], step)


def check_planes(slices: Mapping[Path, Any]) -> None:
    """Refuse slices that do not say where they lie, or that are not parallel and of one size.

    Raises:
        ValueError: naming the file.
    """
    names = list(slices)
    first = slices[names[0]]
    for file, header in slices.items():
        for tag in ("ImagePositionPatient", *PLANE):
            if header.get(tag) is None:
                raise ValueError(f"{file} has no {tag}, so its place in space is unknown; export the series again")
        for tag in PLANE:
            if not np.allclose(header[tag].value, first[tag].value, atol=1e-4):
                raise ValueError(
                    f"{file} has {tag} {header[tag].value}, but {names[0]} has {first[tag].value}; "
                    "keep slices of one orientation and size only"
                )


def affine_of_slice(header: Any) -> NDArray[np.float64]:
    """RAS affine of (column, row) of a single slice, whose third column is its normal and as long as it is thick."""
    row, column = np.asarray(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    thickness = float(header.get("SliceThickness") or header.get("SpacingBetweenSlices") or 1.0)
    position = np.asarray(header.ImagePositionPatient, dtype=np.float64)
    return _affine(header, position, np.cross(row, column) * abs(thickness))


def _affine(header: Any, position: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    row, column = np.asarray(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    height, width = np.asarray(header.PixelSpacing, dtype=np.float64)  # between rows, between columns
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = row * width, column * height, step, position
    return LPS_TO_RAS @ affine


def onto_grid(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    target: NDArray[np.bool_],
    target_affine: NDArray[np.float64],
    what: str,
) -> None:
    """Mark the voxels of a mask on another grid: turned, mirrored, padded or cut to it, but never resampled.

    Args:
        mask: (X, Y, Z).
        affine: (4, 4), its index to RAS mm.
        target: (X, Y, Z), changed in place. Its slices may lie closer together than the mask's.
        target_affine: (4, 4), its index to RAS mm.
        what: names the mask in messages.

    Raises:
        ValueError: if the voxels of the two grids do not coincide, or a voxel of the mask lies outside the target.
    """
    used = np.argwhere(mask)
    if not len(used):
        return
    between = np.linalg.inv(target_affine) @ affine
    turn = np.round(between[:3, :3])
    corners = np.array([used.min(axis=0), used.max(axis=0)])
    exact, start = between[:3, 3], np.round(between[:3, 3])
    # With one slice the step from slice to slice says nothing.
    moving = corners[0] != corners[1]
    aligned = (np.abs(turn) > 0).sum(axis=0)[moving] == 1
    origin = exact + between[:3, :3] @ corners[0]
    start = np.round(origin) - turn @ corners[0]
    drift = between[:3, :3] @ corners.T + exact[:, None] - (turn @ corners.T + start[:, None])
    if not aligned.all() or np.abs(drift).max() > PLANE_TOLERANCE:
        raise ValueError(
            f"{what} lies on another grid than the images that it is to lie on (off by up to "
            f"{np.abs(drift).max():.2g} voxels); give the series that it was drawn on"
        )
    places = (used @ turn.T + start).astype(int)
    inside = ((places >= 0) & (places < target.shape)).all(axis=1)
    if not inside.all():
        raise ValueError(
            f"{what} has {(~inside).sum()} of its {len(used)} voxels outside the images that it is to lie on; "
            "give the whole series that it was drawn on"
        )
    target[tuple(places.T)] = True

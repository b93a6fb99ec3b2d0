"""Where DICOM slices lie: affines of series, and voxels brought from one grid onto another without resampling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LPS_TO_RAS", "PLANE", "PLANE_TOLERANCE", "affine_of_slice", "check_numbers", "onto_grid", "order_slices"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLANE = ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
PLANE_TOLERANCE = 0.1  # of a voxel: how far a grid may lie from another one that is taken for the same
_STEP_TOLERANCE = 0.05  # of the distance of slices: scanners round positions
_LINE_TOLERANCE = 0.25  # of a pixel, or of the distance of slices: how far a slice may lie from where its row puts it
_LENGTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "ImagerPixelSpacing": 2}


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
    _check_line(ordered, positions, step, np.asarray(first.PixelSpacing, dtype=np.float64).min(), normal)
    return ordered, _affine(first, positions[0], step)


def _check_line(
    ordered: list[Path],
    positions: NDArray[np.float64],
    step: NDArray[np.float64],
    pixel: float,
    normal: NDArray[np.float64],
) -> None:
    """Refuse slices that do not lie in a row, at even distances: one affine would put them where they are not."""
    off = positions - (positions[0] + np.arange(len(ordered))[:, None] * step)
    along = off @ normal
    sideways = np.linalg.norm(off - along[:, None] * normal, axis=1)
    if sideways.max() > _LINE_TOLERANCE * pixel or np.abs(along).max() > _LINE_TOLERANCE * np.linalg.norm(step):
        # The one without which the others lie best on a line.
        numbers = np.stack([np.ones(len(ordered)), np.arange(len(ordered))], axis=1)
        hat = numbers @ np.linalg.pinv(numbers)
        at = int((((positions - hat @ positions) ** 2).sum(axis=1) / (1 - hat.diagonal())).argmax())
        raise ValueError(
            f"{ordered[at]} does not lie in a row with the other slices (off by {np.abs(off).max():.3g} "
            "mm); is it of another scan? Take it away, or export the series again"
        )


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
        check_numbers(file, header)
        for tag in PLANE:
            if not np.allclose(header[tag].value, first[tag].value, atol=1e-4):
                raise ValueError(
                    f"{file} has {tag} {header[tag].value}, but {names[0]} has {first[tag].value}; "
                    "keep slices of one orientation and size only"
                )


def check_numbers(file: Path, header: Any) -> None:
    """Refuse a place in space, as far as there is one, that is not made of as many numbers as DICOM has it.

    Raises:
        ValueError: naming the file.
    """
    for tag, length in _LENGTHS.items():
        try:
            found = header.get(tag)
            if found is None:
                continue
            values = np.atleast_1d(np.asarray(found, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file} has a {tag} that is no {length} numbers; export the series again") from error
        if values.shape != (length,) or not np.isfinite(values).all():
            raise ValueError(f"{file} has {tag} {values.tolist()}, not {length} numbers; export the series again")
        if tag.endswith("PixelSpacing") and values.min() <= 0:
            raise ValueError(f"{file} has {tag} {values.tolist()}, which is no size; export the series again")
        if tag == "ImageOrientationPatient" and not np.allclose(
            values.reshape(2, 3) @ values.reshape(2, 3).T, np.eye(2), atol=1e-2
        ):
            raise ValueError(
                f"{file} has {tag} {values.tolist()}, not two directions at a right angle; export the series again"
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
    slice_distance: float | None = None,
) -> None:
    """Mark the voxels of a mask on another grid: turned, mirrored, padded or cut to it, but never resampled.

    Args:
        mask: (X, Y, Z), Z across its slices.
        affine: (4, 4), its index to RAS mm.
        target: (X, Y, Z), changed in place.
        target_affine: (4, 4), its index to RAS mm.
        what: names the mask in messages.
        slice_distance: in mm, of the grid that the mask was drawn on. Where it is that of the target, the mask's own
            slices may lie some of these distances apart, as empty ones between them were left out.

    Raises:
        ValueError: if the voxels of the two grids do not coincide, or a voxel of the mask lies outside the target.
    """
    low, high = _extent(mask)
    if not len(low):
        return
    between = np.linalg.inv(target_affine) @ affine
    # With one slice the step from slice to slice says nothing.
    axes, sizes = _axes(between[:3, :3], target_affine, mask.shape[2] > 1, what, slice_distance)
    turn = np.zeros((3, 3))
    turn[axes, [0, 1, 2]] = sizes
    corners = np.array([low, high], dtype=np.float64).T
    start = np.round(between[:3, 3] + between[:3, :3] @ low) - turn @ low
    drift = np.abs(between[:3, :3] @ corners + between[:3, 3:] - (turn @ corners + start[:, None])).max()
    if drift > PLANE_TOLERANCE:
        raise ValueError(
            f"{what} lies on another grid than the images that it is to lie on (off by up to {drift:.2g} voxels); "
            "give the series that it was drawn on"
        )
    places = (turn @ corners + start[:, None]).round().astype(int)  # of the two corners
    if (places < 0).any() or (places >= np.array(target.shape)[:, None]).any():
        used = np.argwhere(mask) @ turn.T + start
        outside = ((used < 0) | (used >= target.shape)).any(axis=1).sum()
        raise ValueError(
            f"{what} has {outside} of its {len(used)} voxels outside the images that it is to lie on; "
            "give the whole series that it was drawn on"
        )
    box = mask[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    box = np.flip(box, [axis for axis in range(3) if sizes[axis] < 0]).transpose(np.argsort(axes))
    step = np.abs(sizes)[np.argsort(axes)]
    target[tuple(slice(a, b + 1, s) for a, b, s in zip(places.min(1), places.max(1), step, strict=True))] |= box


def _extent(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest index of what is marked, along each axis; nothing if nothing is."""
    used = [np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    if not len(used[0]):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.array([axis[0] for axis in used]), np.array([axis[-1] for axis in used])


def _axes(
    between: NDArray[np.float64],
    target_affine: NDArray[np.float64],
    stacked: bool,
    what: str,
    slice_distance: float | None,
) -> tuple[list[int], NDArray[np.int64]]:
    """Which axis of the target each axis of the mask runs along, and its step in the target's voxels, with its sign."""
    axes = [int(np.abs(between[:, axis]).argmax()) for axis in (0, 1)]
    axes.append(3 - sum(axes))
    steps = between[axes, [0, 1, 2]] if axes[0] != axes[1] else np.zeros(3)
    if not stacked:
        steps[2] = 1
    sizes = np.round(steps).astype(int)
    allowed = np.array([1, 1, 1])
    drawn_on = np.linalg.norm(target_affine[:3, axes[2]]) if axes[0] != axes[1] else 0
    if slice_distance is not None and abs(slice_distance - drawn_on) <= PLANE_TOLERANCE * drawn_on:
        allowed[2] = max(1, abs(sizes[2]))
    if (np.abs(sizes) != allowed).any() or np.abs(steps - sizes).max() > PLANE_TOLERANCE:
        lengths = np.linalg.norm(between, axis=0)[: 3 if stacked else 2]
        raise ValueError(
            f"{what} lies on another grid than the images that it is to lie on: it has voxels of "
            f"{' x '.join(f'{length:.3g}' for length in lengths)} of theirs (columns x rows"
            f"{' x slices' if stacked else ''}); nothing is resampled: give the series that it was drawn on"
        )
    return axes, sizes

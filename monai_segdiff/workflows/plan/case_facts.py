"""What one case of a data set shows: size, spacing, orientation, intensities, and where its classes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from monai_segdiff.data import Case, load_label_map
from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.load import is_raster, spacing_of
from monai_segdiff.data.preparation.resample import body_mask, remap_labels

__all__ = ["BODY_HU", "CaseFacts", "PERCENTILES", "facts_of"]

PERCENTILES = (0.0, 0.5, 50.0, 99.5, 100.0)
"""Percentiles of intensities that are looked at."""

BODY_HU = -300.0
"""Between air and tissue, in HU."""

_AIR_HU = -500.0
_MOST_VALUES = 200_000  # intensities of a case that are looked at, evenly spaced
_MOST_SLICES = 64  # entries of a profile that are kept
_LONGEST_BODY = 128  # voxels of an image in which the body is looked for


@dataclass(frozen=True)
class CaseFacts:
    """One case, in the axes right, anterior, superior that every file is read in.

    Args:
        id: name.
        patient: whose it is.
        shape: voxels per axis.
        spacing: mm per axis; 1 for pictures, which have none.
        orientation: of the file's own axes, such as "LPS"; empty for pictures.
        whole_numbers: whether all intensities are whole numbers.
        intensities: for each channel its :data:`PERCENTILES`.
        labelled: 0.5 and 99.5 percentile of the labelled voxels in the first channel; None without any.
        air: share of voxels below -500.
        volumes: class name to mm^3, or mm^2 in 2D, of the classes that are there.
        box: lower and upper end in mm, from the rim of the field of view, of what is labelled, per axis; or None.
        body: the same of the body, where the image looks like CT; or None.
        profiles: for each axis the labelled mm^2 of its slices, at most 64 of them, evenly spaced.
        borders: class name to the name of what lies around it, with how many voxels of its outer border it is;
            background is "".
    """

    id: str
    patient: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str
    whole_numbers: bool
    intensities: tuple[tuple[float, ...], ...]
    labelled: tuple[float, float] | None
    air: float
    volumes: dict[str, float]
    box: tuple[tuple[float, float], ...] | None
    body: tuple[tuple[float, float], ...] | None
    profiles: tuple[tuple[float, ...], ...]
    borders: dict[str, dict[str, int]]

    @property
    def extent(self) -> tuple[float, ...]:
        """Field of view in mm per axis."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    def labelled_slices(self, axis: int, least: float) -> int:
        """How many slices across an axis have at least so many labelled mm^2."""
        profile = self.profiles[axis]
        return round(self.shape[axis] * float(np.mean(np.asarray(profile) >= max(least, 1e-9))))


def facts_of(case: Case, classes: Mapping[str, int | Sequence[int]], channels: Sequence[str] = ()) -> CaseFacts:
    """Read a case and describe it.

    Args:
        case: with image and label map.
        classes: class name to label id or ids.
        channels: names of the image's channels; none for one without a name.

    Raises:
        ValueError: if a file cannot be read, or both differ in size; names it and the remedy.
    """
    if case.image is None or case.label is None:
        missing = "image" if case.image is None else "label"
        raise ValueError(f"{case.label or case.image} has no {missing}; add it, or leave the case out")
    image, label = load_case_image(case, channels), load_label_map(case.label)
    if image.shape[1:] != label.shape[1:]:
        raise ValueError(
            f"{case.label} has size {tuple(label.shape[1:])}, its image {tuple(image.shape[1:])}: restore the one that "
            "is wrong"
        )
    ids = remap_labels(np.asarray(label)[0], classes)
    raster = is_raster(str(case.image))
    spacing = np.ones(ids.ndim) if raster else spacing_of(np.asarray(image.affine), ids.ndim)
    pixels = np.asarray(image)
    first = pixels[0]
    inside = first[ids > 0]
    air = float((_some(first) < _AIR_HU).mean())
    return CaseFacts(
        id=case.id,
        patient=case.patient,
        shape=tuple(ids.shape),
        spacing=tuple(round(float(s), 4) for s in spacing),
        orientation="" if raster else _orientation(image),
        whole_numbers=bool(np.equal(np.mod(_some(pixels), 1), 0).all()),
        intensities=tuple(_percentiles(channel, PERCENTILES) for channel in pixels),
        labelled=_percentiles(inside, (0.5, 99.5)) if inside.size else None,  # type: ignore[arg-type]
        air=air,
        volumes=_volumes(ids, list(classes), float(np.prod(spacing))),
        box=_box(ids > 0, spacing),
        body=_body_box(first, spacing) if air > 0 else None,
        profiles=tuple(_profile(ids > 0, axis, spacing) for axis in range(ids.ndim)),
        borders=_borders(ids, list(classes)),
    )


def _some(values: NDArray[Any]) -> NDArray[Any]:
    return values.ravel()[:: max(1, values.size // _MOST_VALUES)]


def _percentiles(values: NDArray[Any], wanted: Sequence[float]) -> tuple[float, ...]:
    some = _some(values)
    found = np.percentile(some[np.isfinite(some)], wanted) if np.isfinite(some).any() else np.zeros(len(wanted))
    return tuple(float(f"{value:.6g}") for value in found)


def _orientation(image: MetaTensor) -> str:
    original = image.meta.get("original_affine", image.affine)
    return "".join(str(code) for code in nib.orientations.aff2axcodes(torch.as_tensor(original).numpy()))


def _volumes(ids: NDArray[np.uint8], names: Sequence[str], voxel: float) -> dict[str, float]:
    counts = np.bincount(ids.ravel(), minlength=len(names) + 1)[1:]
    return {name: float(f"{count * voxel:.6g}") for name, count in zip(names, counts, strict=True) if count}


def _box(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[tuple[float, float], ...] | None:
    if not inside.any():
        return None
    ends = []
    for axis in range(inside.ndim):
        held = np.flatnonzero(inside.any(axis=tuple(i for i in range(inside.ndim) if i != axis)))
        ends.append((round(float(held[0] * spacing[axis]), 3), round(float((held[-1] + 1) * spacing[axis]), 3)))
    return tuple(ends)


def _body_box(image: NDArray[Any], spacing: NDArray[np.float64]) -> tuple[tuple[float, float], ...] | None:
    strides = [max(1, n // _LONGEST_BODY) for n in image.shape]
    coarse = image[tuple(slice(None, None, stride) for stride in strides)]
    return _box(body_mask(coarse, BODY_HU), spacing * strides)


def _profile(inside: NDArray[np.bool_], axis: int, spacing: NDArray[np.float64]) -> tuple[float, ...]:
    others = tuple(i for i in range(inside.ndim) if i != axis)
    areas = inside.sum(axis=others) * float(np.prod([spacing[i] for i in others]))
    chosen = np.unique(np.linspace(0, len(areas) - 1, min(len(areas), _MOST_SLICES)).round().astype(int))
    return tuple(float(f"{area:.5g}") for area in areas[chosen])


def _borders(ids: NDArray[np.uint8], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """What the voxels belong to that share a face with a class and are not of it."""
    found: dict[str, dict[str, int]] = {}
    around = ["", *names]
    for index, place in enumerate(ndimage.find_objects(ids, max_label=len(names)), start=1):
        if place is None:
            continue
        wider = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in place)
        part = ids[wider]
        own = part == index
        border = part[ndimage.binary_dilation(own) & ~own]
        counts = np.bincount(border, minlength=len(around))
        found[names[index - 1]] = {around[i]: int(counts[i]) for i in np.flatnonzero(counts)}
    return found

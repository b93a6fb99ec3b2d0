"""What can be wrong with one image, its label map, and what is said to be found in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.cases import Case
from monai_segdiff.data.channels import image_files_of, load_channels
from monai_segdiff.data.description.channel_names import is_color
from monai_segdiff.data.grid_offset import AFFINE_TOLERANCE, largest_offset, smallest_spacing
from monai_segdiff.data.load import is_raster, label_counts, label_ids, load_label_map, spacing_of
from monai_segdiff.data.readers.palettes import Seen

__all__ = ["Issue", "case_issues"]


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong with a data set.

    Args:
        severity: "error" (training or generation would fail or be wrong) or "warning".
        file: the file or folder.
        message: what is wrong.
        remedy: what to do.
    """

    severity: str
    file: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.file}: {self.message}; {self.remedy}"


def case_issues(
    case: Case,
    known_ids: Collection[int] | None = None,
    spatial_dims: int | None = None,
    names: Sequence[str] = (),
    seen: Seen | None = None,
    channels: Sequence[str] = (),
) -> Iterator[Issue]:
    """Look at the files of one case.

    Args:
        case: the case; a file that it does not have is not looked at.
        known_ids: label ids that may occur beside 0, or None to allow all.
        spatial_dims: 2 or 3 where files must have so many axes, or None.
        names: the data set's vocabulary of what is found in an image.
        seen: is told what the label map holds, where one is given.
        channels: the data set's channels.

    Yields:
        Findings, errors of reading and geometry before those of content.
    """
    files = {"image": case.image, "label": case.label, "region": case.region}
    loaded: dict[str, MetaTensor] = {}
    for key, file in files.items():
        if file is None:
            continue
        try:
            if key == "image":
                loaded[key] = load_channels(image_files_of(case), channels, case.id)
            else:
                loaded[key] = load_label_map(file)
        except FileNotFoundError as error:
            remedy = "restore it, or remove the case from dataset.json"
            missing = str(error).partition("; ")[0] if case.channel_files else f"{key} file is missing"
            yield Issue("error", str(file), missing, remedy)
        except (ValueError, OSError, ImportError) as error:
            message, _, remedy = str(error).removeprefix(str(file)).strip(": ").partition("; ")
            yield Issue("error", str(file), message, remedy or "restore it, or remove the case")
    for key in ("label", "region"):
        if {"image", key} <= loaded.keys():
            yield from _geometry_issues(files["image"], loaded["image"], files[key], loaded[key])
    for key, volume in loaded.items():
        axes = volume.ndim - 1
        if spatial_dims is not None and axes != spatial_dims:
            remedy = "convert the data set with the prepare command" if axes > spatial_dims else "configure 2D"
            yield Issue("error", str(files[key]), f"has {axes} dimensions where {spatial_dims}D is configured", remedy)
    if "image" in loaded:
        yield from _image_issues(case, np.asarray(loaded["image"]), channels)
    if "label" in loaded:
        ids = label_ids(np.asarray(loaded["label"]))
        if seen is not None:
            _tell(seen, loaded["label"], ids)
        yield from _label_issues(str(case.label), ids, known_ids)
    unknown = [name for name in case.findings or () if name not in names]
    if unknown:
        remedy = f'add it to "findings" in dataset.json (now {", ".join(names) or "none"}), or correct its name'
        yield Issue("error", str(case.image or case.label), f"is said to show unknown findings {unknown}", remedy)
    if "region" in loaded:
        yield from _region_issues(case, np.asarray(loaded["region"]), names)


def _tell(seen: Seen, label: MetaTensor, ids: NDArray[np.int64]) -> None:
    """Say what a label map holds."""
    seen.ids.update(ids.tolist())
    seen.palette = label.meta.get("palette", {})
    if seen.count:
        seen.voxels = label_counts(np.asarray(label), ids)
        if label.ndim == 4 and not is_raster(str(label.meta["filename_or_obj"])):
            seen.voxel_volume = float(np.prod(spacing_of(np.asarray(label.affine), 3)))


def _geometry_issues(
    image_file: Path | None, image: MetaTensor, file: Path | None, label: MetaTensor
) -> Iterator[Issue]:
    shapes = tuple(image.shape[1:]), tuple(label.shape[1:])
    remedy = "resample the label map to the image"
    if shapes[0] != shapes[1]:
        message = f"shape {shapes[1]} differs from its image's {shapes[0]} ({image_file})"
        yield Issue("error", str(file), message, remedy)
        return
    offset, voxel = largest_offset(image, label), smallest_spacing(image)
    if not offset <= AFFINE_TOLERANCE * voxel:
        message = (
            f"affine differs from its image's by up to {offset:.3g} mm, {offset / voxel:.3g} voxels ({image_file})"
        )
        yield Issue("error", str(file), message, f"{remedy}, or copy the image's header if they do overlap")


def _image_issues(case: Case, image: NDArray[np.generic], channels: Sequence[str]) -> Iterator[Issue]:
    for index, layer in enumerate(image):
        file = str(case.channel_files[index] if case.channel_files else case.image)
        what = "image" if len(image) == 1 else f"channel {channels[index]!r} of the image"
        bad = int(layer.size - np.isfinite(layer).sum())
        if bad:
            yield Issue("error", file, f"{what} holds {bad} NaN or infinite values", "repair it or remove the case")
        elif layer.min() == layer.max() and not (is_color(channels) and image.min() < image.max()):
            remedy = "export it again or remove the case"
            yield Issue("error", file, f"{what} is constant ({float(layer.min()):g})", remedy)


def _label_issues(file: str, ids: NDArray[np.int64], known_ids: Collection[int] | None) -> Iterator[Issue]:
    unknown = [int(i) for i in ids if i != 0 and known_ids is not None and i not in known_ids]
    if unknown:
        known = ", ".join(str(i) for i in sorted(known_ids or ())[:20]) + (", ..." if len(known_ids or ()) > 20 else "")
        remedy = f"add them to the classes (now {known}), or make them background (prepare --drop-other-labels)"
        yield Issue("error", file, f"label map holds unknown ids {unknown}", remedy)
    if not ids.any():
        yield Issue("warning", file, "label map is empty", "remove the case if its image does show a class")


def _region_issues(case: Case, region: NDArray[np.generic], names: Sequence[str]) -> Iterator[Issue]:
    """A region map is one of ids 1 + k of the vocabulary, and shows nothing but what the case is said to hold."""
    file = str(case.region)
    ids = [int(i) for i in label_ids(region) if i != 0]
    unknown = [i for i in ids if not 1 <= i <= len(names)]
    if unknown:
        listed = ", ".join(f"{i} {name}" for i, name in enumerate(names, start=1)) or "none"
        yield Issue("error", file, f"region map holds unknown ids {unknown}", f"the findings are {listed}")
    shown = [names[i - 1] for i in ids if i not in unknown]
    unsaid = [name for name in shown if case.findings is not None and name not in case.findings]
    if unsaid:
        message = f"region map shows {unsaid}, which are not among the case's findings {list(case.findings or ())}"
        yield Issue("error", file, message, "add them to the case's findings, or take them out of the region map")
    if not ids:
        yield Issue("warning", file, "region map is empty", "leave the region out where no place is known")

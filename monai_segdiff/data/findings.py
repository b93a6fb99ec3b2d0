"""What can be wrong with one image and its label map."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.layout import Case
from monai_segdiff.data.load import load_image

__all__ = ["AFFINE_TOLERANCE", "Finding", "case_findings", "label_ids"]

AFFINE_TOLERANCE = 1e-3  # mm


@dataclass(frozen=True)
class Finding:
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


def case_findings(
    case: Case, known_ids: Collection[int] | None = None, spatial_dims: int | None = None
) -> Iterator[Finding]:
    """Look at the files of one case.

    Args:
        case: the case; a file that it does not have is not looked at.
        known_ids: label ids that may occur beside 0, or None to allow all.
        spatial_dims: 2 or 3 where files must have so many axes, or None.

    Yields:
        Findings, errors of reading and geometry before those of content.
    """
    loaded: dict[str, MetaTensor] = {}
    for key, file in (("image", case.image), ("label", case.label)):
        if file is None:
            continue
        try:
            loaded[key] = load_image(file)
        except FileNotFoundError:
            yield Finding("error", str(file), f"{key} file is missing", "restore it or remove the case")
        except ValueError as error:
            message, _, remedy = str(error).removeprefix(str(file)).strip().partition("; ")
            yield Finding("error", str(file), message, remedy)
    if len(loaded) == 2:
        yield from _geometry_findings(case, loaded["image"], loaded["label"])
    for key, file in (("image", case.image), ("label", case.label)):
        if key not in loaded:
            continue
        axes = loaded[key].ndim - 1
        if spatial_dims is not None and axes != spatial_dims:
            remedy = "convert the data set with the prepare command" if axes > spatial_dims else "configure 2D"
            yield Finding("error", str(file), f"has {axes} dimensions where {spatial_dims}D is configured", remedy)
        array = np.asarray(loaded[key])
        yield from (_image_findings if key == "image" else _label_findings)(str(file), array, known_ids)


def label_ids(array: NDArray[np.generic]) -> NDArray[np.int64]:
    """Distinct ids of a label map.

    Raises:
        ValueError: if a value is not a whole number (also NaN and infinity).
    """
    values = np.unique(array)
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        raise ValueError(f"holds values that are no whole numbers, e.g. {float(values[~whole][0]):g}")
    return values.astype(np.int64)


def _geometry_findings(case: Case, image: MetaTensor, label: MetaTensor) -> Iterator[Finding]:
    shapes = tuple(image.shape[1:]), tuple(label.shape[1:])
    remedy = "resample the label map to the image"
    if shapes[0] != shapes[1]:
        message = f"shape {shapes[1]} differs from its image's {shapes[0]} ({case.image})"
        yield Finding("error", str(case.label), message, remedy)
        return
    difference = float(np.abs(np.asarray(image.affine) - np.asarray(label.affine)).max())
    if not difference <= AFFINE_TOLERANCE:
        message = f"affine differs from its image's by {difference:.3g} mm ({case.image})"
        yield Finding("error", str(case.label), message, f"{remedy}, or copy the image's header if they do overlap")


def _image_findings(file: str, image: NDArray[np.generic], _: Collection[int] | None) -> Iterator[Finding]:
    bad = int(image.size - np.isfinite(image).sum())
    if bad:
        yield Finding("error", file, f"image holds {bad} NaN or infinite values", "repair it or remove the case")
    elif image.min() == image.max():
        yield Finding(
            "error", file, f"image is constant ({float(image.min()):g})", "export it again or remove the case"
        )


def _label_findings(file: str, label: NDArray[np.generic], known_ids: Collection[int] | None) -> Iterator[Finding]:
    try:
        ids = label_ids(label)
    except ValueError as error:
        yield Finding("error", file, f"label map {error}", "resample label maps with nearest neighbor interpolation")
        return
    unknown = [int(i) for i in ids if i != 0 and known_ids is not None and i not in known_ids]
    if unknown:
        known = ", ".join(str(i) for i in sorted(known_ids or ()))
        remedy = f"add them to the classes (now {known}), or drop them with the prepare command"
        yield Finding("error", file, f"label map holds unknown ids {unknown}", remedy)
    if not ids.any():
        yield Finding("warning", file, "label map is empty", "remove the case if its image does show a class")

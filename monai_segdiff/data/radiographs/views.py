"""Radiographs of one CT volume on disk: views, their label maps, and the geometry that they were made with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.layout import Case
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.digests import digests_of
from monai_segdiff.documents import read_json
from monai_segdiff.errors import reading
from monai_segdiff.files import atomic_file, inside
from monai_segdiff.transforms import ProjectBone, ProjectDRR, SegmentContour

__all__ = ["DRR_CLASSES", "DRR_PARENTS", "DRR_RANGE", "read_geometry", "view_cases", "view_files", "write_views"]

DRR_CLASSES = {"contour": 1, "bone": 2}
"""Label ids: inside the body's contour, and bone, painted over it."""
DRR_PARENTS = {"bone": "contour"}
DRR_RANGE = (0.0, 1.0)

_SAFE_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)


def write_views(
    root: str | Path,
    volume: MetaTensor,
    name: str,
    projector: ProjectDRR,
    *,
    patient: str | None = None,
    contour_threshold: float = 0.1,
    bone_threshold: float = 200.0,
    min_bone_length: float = 2.0,
    details: Mapping[str, Any] | None = None,
) -> list[Case]:
    """Project a volume and write its views, label maps and geometry into a data set's folder.

    Views are float32 in [0, 1] (`imagesTr/<name>_view000.nii.gz`), label maps uint8 with the ids of `DRR_CLASSES`
    (`labelsTr`); both are 2D with axes (U, V) and an affine of the detector's pixels in mm around its center.
    `geometry/<name>.json` is written last and atomically: where it is, all of the volume is. It says, among the rest,
    what the files of the views hold (`sha256`).

    Args:
        root: the data set's folder.
        volume: CT in HU with its affine, (1, X, Y, Z).
        name: the volume's name.
        projector: makes the views; with `normalize="volume"` or `"view"`.
        patient: whose volume it is; by default `name`.
        contour_threshold: what is above it in a view lies inside the contour.
        bone_threshold: lowest HU of bone.
        min_bone_length: length in mm of the path through bone from which on a pixel is bone.
        details: more entries for the JSON file; of JSON types.

    Returns:
        The cases written, in the order of the views.

    Raises:
        ValueError: if the volume cannot be projected, or the name is no file name.
        OSError: if a file cannot be written; names it.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name files; use letters, digits, '.', '_', '+' and '-'")
    file = _geometry_file(root, name)
    file.unlink(missing_ok=True)
    views = projector(volume)
    bone = ProjectBone(projector, bone_threshold, 1.0, min_bone_length)(volume)
    labels = _label_maps(views, bone, contour_threshold)
    geometry = {**views.meta["drr"], "volume": name, **(details or {})}
    geometry |= {
        "contour_threshold": contour_threshold,
        "bone_threshold": bone_threshold,
        "min_bone_length": min_bone_length,
    }
    affine = np.asarray(views.affine, dtype=np.float64)
    cases = view_cases(root, name, len(views), patient)
    for case, view, label in zip(cases, np.asarray(views.cpu(), dtype=np.float32), labels, strict=True):
        assert case.image is not None
        assert case.label is not None
        save_nifti(case.image, view, affine)
        save_nifti(case.label, label, affine)
    geometry["sha256"] = digests_of(root, view_files(cases))
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(geometry, indent=1) + "\n")
    return cases


def view_cases(
    root: str | Path, volume: str, number: int, patient: str | None = None, patient_known: bool = True
) -> list[Case]:
    """The cases of a volume's views, whether their files are there or not.

    Args:
        root: the data set's folder.
        volume: the volume's name.
        number: number of views.
        patient: whose volume it is; by default `volume`.
        patient_known: whether something says so.
    """
    names = [f"{volume}_view{index:03d}" for index in range(number)]
    images, labels = (Path(root) / part for part in ("imagesTr", "labelsTr"))
    return [
        Case(n, images / f"{n}.nii.gz", labels / f"{n}.nii.gz", patient or volume, patient_known=patient_known)
        for n in names
    ]


def view_files(cases: Iterable[Case]) -> list[Path]:
    """The files of views, images and label maps."""
    return [file for case in cases for file in (case.image, case.label) if file is not None]


def read_geometry(root: str | Path, volume: str) -> dict[str, Any]:
    """Read how the views of a volume were made.

    Line integrals are `offset[i] + scale[i] * view`. `views` has one entry a view: `angle` in degrees, and in mm (RAS)
    `source`, `detector_center`, and the directions `u_axis` and `v_axis`.

    Args:
        root: the data set's folder.
        volume: the volume's name.

    Raises:
        FileNotFoundError: if the data set has no such volume.
        ValueError: if the file cannot be understood; names it.
    """
    file = _geometry_file(root, volume)
    if not file.is_file():
        known = sorted(path.stem for path in file.parent.glob("*.json"))
        held = f"it holds {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}" if known else "it holds none"
        raise FileNotFoundError(f"{file} does not exist: {root} has no geometry of {volume!r}; {held}")
    kind, remedy = "the geometry of a volume's views", "make the volume's views again"
    content = read_json(file, kind, remedy=remedy)
    with reading(file, kind, remedy):
        lengths = {len(content[key]) for key in ("views", "offset", "scale")}
        if len(lengths) != 1:
            raise ValueError("its lists have different lengths")
    return content


def _geometry_file(root: str | Path, volume: str) -> Path:
    return inside(Path(root) / "geometry", f"{volume}.json")


def _label_maps(views: torch.Tensor, bone: torch.Tensor, contour_threshold: float) -> NDArray[np.uint8]:
    """Ids of `DRR_CLASSES`, (views, U, V)."""
    inside = SegmentContour(contour_threshold, value=float(DRR_CLASSES["contour"]))(views)
    labels = np.where(np.asarray(bone.cpu()) > 0, DRR_CLASSES["bone"], np.asarray(inside.cpu()))
    return labels.astype(np.uint8)

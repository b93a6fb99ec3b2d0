"""Label maps to generate for, read from DICOM segmentations."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation

from monai_segdiff.data import Case, dicom_files, is_dicom, read_dicom_seg
from monai_segdiff.data.dicom_files import read_headers
from monai_segdiff.data.dicom_studies import upright
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.generation.generator import TrainedGenerator

__all__ = ["holds_dicom_masks", "open_dicom_masks"]

_OTHERS = (".nii.gz", ".nii", ".png")


def holds_dicom_masks(path: str | os.PathLike[str]) -> bool:
    """Whether masks are given as DICOM: a file, or a folder that holds DICOM files and no label maps of another kind.

    Args:
        path: what was given.
    """
    root = Path(path)
    if root.is_file():
        return not root.name.lower().endswith(_OTHERS) and is_dicom(root)
    if not root.is_dir() or (root / "dataset.json").is_file():
        return False
    if any(file.name.lower().endswith(_OTHERS) for file in root.iterdir()):
        return False
    return any(is_dicom(file) for file in root.rglob("*") if file.is_file())


@contextmanager
def open_dicom_masks(
    path: str | os.PathLike[str], generator: TrainedGenerator
) -> Iterator[tuple[list[Case], dict[str, Path]]]:
    """Label map files of a generator's classes from DICOM segmentations, for as long as the block lasts.

    Segments are the classes of their name, in any case of letters. Volumes are turned to RAS; where the generator makes
    slices, each axial slice in which something is labeled is a mask of its own. Slices lie as ``prepare`` leaves them.

    Args:
        path: a DICOM file, or a folder that is searched at any depth; what is no SEG object is passed over.
        generator: whose classes the label maps hold.

    Yields:
        One case for each label map, and the SEG file that each was read from, by the case's name.

    Raises:
        ImportError: if highdicom is missing.
        ValueError: if there is no SEG object, one is damaged, or its segments are unknown or overlap; names the file.
    """
    with TemporaryDirectory() as folder:
        cases, sources = _collect(Path(path), generator, Path(folder))
        try:
            yield cases, sources
        except ValueError as error:  # the user knows the segmentation, not the file made of it
            for case in cases:
                if str(case.label) in str(error):
                    raise ValueError(str(error).replace(str(case.label), str(sources[case.id]))) from error
            raise


def _collect(root: Path, generator: TrainedGenerator, folder: Path) -> tuple[list[Case], dict[str, Path]]:
    files = dicom_files(root)
    headers = read_headers(files, ["Modality", "PatientID"])
    segs = [file for file, header in headers.items() if header.get("Modality") == "SEG"]
    if not segs:
        raise ValueError(
            f"{root} holds no DICOM segmentation (SEG), but {len(files)} other DICOM files; check the path"
        )
    classes = {name: ids if isinstance(ids, int) else int(ids[0]) for name, ids in generator.classes.items()}
    repeated = {stem for stem, count in Counter(file.stem for file in segs).items() if count > 1}
    cases: list[Case] = []
    sources: dict[str, Path] = {}
    patients: dict[str, str] = {}
    for file in segs:
        parts = file.relative_to(root).with_suffix("").parts if file.stem in repeated else (file.stem,)
        name = re.sub(r"[^A-Za-z0-9._+-]", "_", "_".join(parts)).lstrip("._+-") or "mask"
        patient = patients.setdefault(str(headers[file].get("PatientID") or name), name)
        label, _ = read_dicom_seg(file, classes)
        for mask, array, affine in _masks(name, label, len(generator.image_size)):
            target = save_nifti(folder / f"{mask}.nii.gz", array, affine)
            cases.append(Case(mask, None, target, patient))
            sources[mask] = file.resolve()
    if twice := next((case.id for case in cases if sum(c.id == case.id for c in cases) > 1), None):
        raise ValueError(f"{root} has several masks named {twice!r}: names must differ, rename one of them")
    return cases, sources


def _masks(name: str, label: MetaTensor, dims: int) -> Iterator[tuple[str, Any, Any]]:
    """Name, array and affine of each mask that a segmentation gives."""
    if label.ndim == 3:
        yield (name, *upright(label))
        return
    label = Orientation(axcodes="RAS", labels=None)(label)
    array, affine = np.asarray(label)[0], np.asarray(label.affine, dtype=np.float64)
    if dims == 3:
        yield name, array, affine
        return
    for index in range(array.shape[2]):
        if array[:, :, index].any():
            place = affine.copy()
            place[:3, 3] += index * affine[:3, 2]
            yield f"{name}_slice{index:03d}", array[:, :, index], place

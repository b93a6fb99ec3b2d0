"""Label maps to generate for, read from DICOM segmentations."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from tqdm.auto import tqdm

from monai_segdiff.data import Case, dicom_files, is_dicom, read_dicom_seg
from monai_segdiff.data.dicom.files import is_study_file, read_headers
from monai_segdiff.data.dicom.labels import segment_names
from monai_segdiff.data.dicom.seg import segment_labels
from monai_segdiff.data.dicom.studies import along_patient_axes
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.files import safe_name
from monai_segdiff.generation.generator import TrainedGenerator

__all__ = ["holds_dicom_masks", "open_dicom_masks"]

_SUFFIX = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)  # others are part of a name, as of a UID's
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
    return any(is_study_file(file, root) for file in root.rglob("*"))


@contextmanager
def open_dicom_masks(
    path: str | os.PathLike[str],
    generator: TrainedGenerator,
    *,
    segments: Mapping[str, Sequence[str]] | None = None,
    precedence: Sequence[str] = (),
    drop_others: bool = False,
    progress: bool = True,
) -> Iterator[tuple[list[Case], dict[str, Path]]]:
    """Label map files of a generator's classes from DICOM segmentations, for as long as the block lasts.

    Segments are the classes of their name, in any case of letters. Volumes are turned to RAS; where the generator makes
    slices, each axial slice in which something is labeled is a mask of its own. Slices lie as ``prepare`` leaves them.

    Args:
        path: a DICOM file, or a folder that is searched at any depth; what is no SEG object is passed over.
        generator: whose classes the label maps hold.
        segments: class name to the names of the segments that it consists of, where they differ.
        precedence: classes in their order; where segments overlap, the class named first is kept.
        drop_others: whether segments of no class become background rather than an error.
        progress: whether to show a progress bar.

    Yields:
        One case for each label map, and the SEG file that each was read from, by the case's name.

    Raises:
        ImportError: if highdicom is missing.
        ValueError: if there is no SEG object, one is damaged, or its segments are unknown or overlap; names the file.
    """
    root = Path(path)
    files = _seg_files(root)
    options: dict[str, Any] = {
        "names": segment_names(segments, [label for file in files for label in segment_labels(file)]),
        "precedence": precedence,
        "drop_others": drop_others,
    }
    with TemporaryDirectory() as folder:
        cases, sources = _collect(root, files, generator, Path(folder), options, progress)
        try:
            yield cases, sources
        except ValueError as error:  # the user knows the segmentation, not the file made of it
            for case in cases:
                if str(case.label) in str(error):
                    raise ValueError(str(error).replace(str(case.label), str(sources[case.id]))) from error
            raise


def _seg_files(root: Path) -> dict[Path, str]:
    """The SEG objects, each with its patient."""
    files = dicom_files(root)
    headers = read_headers(files, ["Modality", "PatientID"])
    segs = {
        file: str(header.get("PatientID") or "") for file, header in headers.items() if header.get("Modality") == "SEG"
    }
    if not segs:
        raise ValueError(
            f"{root} holds no DICOM segmentation (SEG), but {len(files)} other DICOM files; check the path"
        )
    return segs


def _collect(
    root: Path,
    segs: Mapping[Path, str],
    generator: TrainedGenerator,
    folder: Path,
    options: Mapping[str, Any],
    progress: bool,
) -> tuple[list[Case], dict[str, Path]]:
    classes = {name: ids if isinstance(ids, int) else int(ids[0]) for name, ids in generator.classes.items()}
    stems = {file: _SUFFIX.sub("", file.name) for file in segs}
    repeated = {stem for stem, count in Counter(stems.values()).items() if count > 1}
    cases: list[Case] = []
    sources: dict[str, Path] = {}
    patients: dict[str, str] = {}
    for file in tqdm(segs, desc="reading segmentations", unit="file", disable=not progress):
        folders = file.relative_to(root).parent.parts if stems[file] in repeated else ()
        name = safe_name("_".join((*folders, stems[file])), "mask")
        patient = patients.setdefault(segs[file] or name, name)
        label, _ = read_dicom_seg(file, classes, **options)
        for mask, array, affine in _masks(name, label, len(generator.image_size)):
            if mask in sources:
                raise ValueError(
                    f"{sources[mask]} and {file} both give a mask named {mask!r}: names must differ, rename one of them"
                )
            target = save_nifti(folder / f"{mask}.nii.gz", array, affine)
            cases.append(Case(mask, None, target, patient, patient_known=bool(segs[file])))
            sources[mask] = file.resolve()
    return cases, sources


def _masks(name: str, label: MetaTensor, dims: int) -> Iterator[tuple[str, Any, Any]]:
    """Name, array and affine of each mask that a segmentation gives."""
    if label.ndim == 3:
        yield (name, *along_patient_axes(label))
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

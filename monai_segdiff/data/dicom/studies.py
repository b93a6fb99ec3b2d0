"""A folder of DICOM studies, each with images and their segmentation or structure set, as cases to prepare from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from monai.data import MetaTensor
from tqdm.auto import tqdm

from monai_segdiff.data.cases import Case
from monai_segdiff.data.description.classes import check_name
from monai_segdiff.data.dicom.files import is_study_file, naming_dicom, read_headers
from monai_segdiff.data.dicom.labels import segment_names, vocabulary
from monai_segdiff.data.dicom.rtstruct import read_rtstruct, referenced_series, roi_names
from monai_segdiff.data.dicom.seg import read_dicom_seg, segment_labels
from monai_segdiff.data.dicom.series import MODALITIES, read_dicom_series
from monai_segdiff.data.dicom.tags import check_tags, read_tags
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.files import safe_name
from monai_segdiff.transforms.covariates import CovariateValue

__all__ = ["DicomStudies", "DicomStudy", "find_studies", "holds_dicom", "along_patient_axes"]

_HEADER = (
    "Modality",
    "PatientID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImageType",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
)
_LABELS = ("SEG", "RTSTRUCT")
_SHOWN = 3


@dataclass(frozen=True)
class DicomStudy:
    """An image series with what was drawn on it.

    Args:
        name: unique, fit for file names.
        folder: where it is.
        images: files of the series.
        labels: the SEG objects, or the one RTSTRUCT.
        patient: name of the first study of the same patient; of the folder, where the files do not say whose it is.
        patient_known: whether they say so.
        others: images beside them that are of other series.
    """

    name: str
    folder: Path
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    patient: str
    patient_known: bool = True
    others: tuple[Path, ...] = ()


class DicomStudies:
    """Studies with one vocabulary.

    Args:
        studies: from `find_studies`.
        classes: class name to label id; by default the names of all segments, sorted and numbered from 1.
        segments: class name to the names of the segments that it consists of, and no others; by default segments are
            named as classes.
        precedence: classes in their order; where they overlap, the first is kept.
        drop_others: whether segments of no class become background rather than an error.

    Raises:
        ValueError: if a segment is of no class, or named in two, or one that is named is in no file, or a file has no
            segments, or one that no class can be named after; names the file.
    """

    def __init__(
        self,
        studies: Sequence[DicomStudy],
        classes: Mapping[str, int | Sequence[int]] | None = None,
        segments: Mapping[str, Sequence[str]] | None = None,
        precedence: Sequence[str] = (),
        drop_others: bool = False,
    ) -> None:
        self.studies = {study.name: study for study in studies}
        found = {file: _names(file) for study in studies for file in study.labels}
        every = sorted({label for labels in found.values() for label in labels})
        self.names = segment_names(segments, every)
        if classes is None and segments is not None:
            classes = {name: index for index, name in enumerate(segments, start=1)}
        if classes is None:
            for file, labels in found.items():
                for label in labels:
                    check_name(label, f"{file}: segment")
            classes = {name: index for index, name in enumerate(every, start=1)}
        if several := [name for name, ids in classes.items() if not isinstance(ids, int)]:
            raise ValueError(f"DICOM segments have names, not ids: give {several[0]!r} its segments instead (segments)")
        self.classes: dict[str, int] = dict(classes)  # type: ignore[arg-type]
        self.precedence, self.drop_others = tuple(precedence), drop_others
        for file, labels in found.items():
            vocabulary(labels, self.classes, self.names, drop_others, file)

    @classmethod
    def open(
        cls,
        source: str | Path,
        classes: Mapping[str, int | Sequence[int]] | None = None,
        segments: Mapping[str, str | Sequence[str]] | None = None,
        precedence: Sequence[str] = (),
        drop_others: bool = False,
        progress: bool = False,
    ) -> DicomStudies | None:
        """The studies of a folder; None where it holds no DICOM file.

        Args:
            source: the folder, see `find_studies`.
            classes: class name to label id.
            segments: class name to the name or names of its segments.
            precedence: classes in their order.
            drop_others: whether segments of no class become background rather than an error.
            progress: whether to show a progress bar.

        Raises:
            ValueError: if a study is unsound, or the names do not fit its segments; names the file.
        """
        if not holds_dicom(Path(source).expanduser()):
            return None
        parts = {name: [own] if isinstance(own, str) else list(own) for name, own in (segments or {}).items()}
        return cls(find_studies(source, progress), classes, parts or None, precedence, drop_others)

    @property
    def cases(self) -> list[Case]:
        """A case for each study; its files are made by `files_of`."""
        return [
            Case(study.name, study.folder, study.labels[0], study.patient, patient_known=study.patient_known)
            for study in self.studies.values()
        ]

    def tags(self, keywords: Sequence[str]) -> list[dict[str, CovariateValue]]:
        """Attributes of each study's images, in the order of `cases`, see `read_tags`.

        Args:
            keywords: of the attributes.

        Raises:
            ValueError: if one cannot be a covariate, or cannot be read; names it.
        """
        check_tags(keywords)
        return [read_tags(study.images[0], keywords) for study in self.studies.values()]

    def fingerprint(self, cases: Sequence[Case] = ()) -> str:
        """Digest of the files' names, sizes and times, of the vocabulary, and of what is known of the cases.

        Args:
            cases: those of `cases`, with their findings and covariates where these are known.
        """
        digest = hashlib.sha256(repr((self.classes, sorted(self.names.items()), self.precedence)).encode())
        for study in self.studies.values():
            digest.update(f"\n{study.name} {study.patient}".encode())
            for file in (*study.images, *study.labels):
                status = file.stat()
                digest.update(f"\n{file.name} {status.st_size} {status.st_mtime_ns}".encode())
        for case in cases:
            if case.findings is not None:
                digest.update(f"\n{case.id} findings {sorted(case.findings)}".encode())
            if case.covariates:
                digest.update(f"\n{case.id} covariates {case.covariates}".encode())
        return digest.hexdigest()

    @contextmanager
    def files_of(self, case: Case) -> Iterator[Case]:
        """Image and label map of a case as files, for as long as the block lasts.

        Raises:
            ValueError: if a DICOM file is unsound; names it and the remedy.
        """
        image, label = self.read(case.id)
        with TemporaryDirectory() as folder:
            files = {}
            for part, tensor in (("image", image), ("label", label)):
                array, affine = along_patient_axes(tensor)
                files[part] = save_nifti(Path(folder) / f"{case.id}_{part}.nii.gz", array, affine)
            try:
                yield replace(case, image=files["image"], label=files["label"])
            except ValueError as error:  # the user knows the study, not the files made of it
                text = str(error).replace(str(files["image"]), str(case.image))
                raise ValueError(text.replace(str(files["label"]), str(case.label))) from error

    def read(self, name: str) -> tuple[MetaTensor, MetaTensor]:
        """Image and label map of a study."""
        study = self.studies[name]
        options: dict[str, Any] = {
            "names": self.names,
            "precedence": self.precedence,
            "drop_others": self.drop_others,
        }
        try:
            image = read_dicom_series(study.images)
            if _modality(study.labels[0]) == "SEG":
                return image, read_dicom_seg(study.labels, self.classes, like=image, **options)[0]
            return image, read_rtstruct(study.labels, image, self.classes, **options)[0]
        except ValueError as error:
            if not study.others:
                raise
            named = ", ".join(file.name for file in study.others[:_SHOWN])
            more = ", ..." if len(study.others) > _SHOWN else ""
            raise ValueError(f"{error} (not of its series, though beside it: {named}{more})") from error


def holds_dicom(root: Path) -> bool:
    """Whether a folder holds DICOM files, at any depth."""
    return any(is_study_file(file, root) for file in root.rglob("*"))


def find_studies(source: str | Path, progress: bool = False) -> list[DicomStudy]:
    """Find image series with a DICOM segmentation or structure set.

    Args:
        source: folder with a sub-folder for each study, in which the files lie at any depth; or the folder of one
            study.
        progress: whether to show a progress bar.

    Returns:
        Studies sorted by name, which is that of the sub-folder, with a number where several of its series were drawn
        on. Series that nothing refers to are passed over.

    Raises:
        FileNotFoundError: if the folder is missing or holds no DICOM file.
        ValueError: if a study has no images or nothing that was drawn on them; names its folder.
    """
    root = Path(source).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the folder that holds the DICOM studies")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    alone = any(is_study_file(entry, root) for entry in entries)
    folders = [root] if alone else [entry for entry in entries if entry.is_dir()]
    first_of: dict[str, str] = {}
    studies: list[DicomStudy] = []
    for folder in tqdm(folders, desc="looking through studies", unit="study", disable=not progress):
        files = [file for file in sorted(folder.rglob("*")) if is_study_file(file, folder)]
        if files:
            with naming_dicom(folder, "a study"):
                studies.extend(_studies_in(folder, read_headers(files, _HEADER), first_of))
    if not studies:
        raise FileNotFoundError(f"{root} holds no DICOM files; check the path")
    names = [study.name.casefold() for study in studies]
    if twice := next((study for study in studies if names.count(study.name.casefold()) > 1), None):
        raise ValueError(f"{twice.folder}: another study is named {twice.name!r}, too; rename the folder")
    return studies


def _studies_in(folder: Path, headers: Mapping[Path, Any], first_of: dict[str, str]) -> list[DicomStudy]:
    series: dict[str, list[Path]] = {}
    drawn: dict[str, list[Path]] = {}
    for file, header in headers.items():
        if header.get("Modality") in MODALITIES and "LOCALIZER" not in list(header.get("ImageType") or []):
            series.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append(file)
    if len(series) > 1 and "" in series:
        raise ValueError(
            f"{series[''][0]} has no SeriesInstanceUID, but other images beside it have one; copy it again, or move it "
            "away"
        )
    objects = [file for file, header in headers.items() if header.get("Modality") in _LABELS]
    if not series:
        raise ValueError(
            f"{folder} holds no CT, MR, CR or DX images; add those that its {len(objects)} objects refer to"
        )
    if not objects:
        raise ValueError(
            f"{folder} holds images, but no segmentation (SEG) or structure set (RTSTRUCT); add it, or move the study "
            "away"
        )
    for file in objects:
        drawn.setdefault(_series_of(file, headers, series), []).append(file)
    base = safe_name(folder.name, "study")
    patients = {_patient(headers[files[0]]) for files in series.values()} - {""}
    alone = patients.pop() if len(patients) == 1 else ""  # whose the folder's other series are, too
    found = []
    for number, (uid, labels) in enumerate(sorted(drawn.items()), start=1):
        kinds = {headers[file].Modality for file in labels}
        if len(kinds) > 1 or (kinds == {"RTSTRUCT"} and len(labels) > 1):
            listed = ", ".join(file.name for file in labels)
            raise ValueError(f"{folder}: {listed} were drawn on one series; keep SEG objects, or one structure set")
        name = base if len(drawn) == 1 else f"{base}_{number}"
        identity = _patient(headers[series[uid][0]]) or alone
        patient = first_of.setdefault(identity, name) if identity else base
        others = tuple(file for other, files in series.items() if other not in drawn for file in files)
        found.append(DicomStudy(name, folder, tuple(series[uid]), tuple(labels), patient, bool(identity), others))
    return found


def _patient(header: Any) -> str:
    return str(header.get("PatientID") or "").strip()


def _series_of(file: Path, headers: Mapping[Path, Any], series: Mapping[str, Sequence[Path]]) -> str:
    """UID of the series that an object was drawn on."""
    header = headers[file]
    if header.Modality == "SEG":
        wanted = [str(item.get("SeriesInstanceUID") or "") for item in header.get("ReferencedSeriesSequence") or []]
        wanted = [uid for uid in wanted if uid]
    else:
        wanted = referenced_series(header)
    named = [uid for uid in wanted if uid in series]
    if named:
        return named[0]
    frame = str(header.get("FrameOfReferenceUID") or "")
    same = [uid for uid, files in series.items() if frame and headers[files[0]].get("FrameOfReferenceUID") == frame]
    if len(same) == 1:
        return same[0]
    if len(series) == 1 and (not wanted or "" in series):
        return next(iter(series))
    raise ValueError(
        f"{file} refers to the series {', '.join(wanted) or 'without UID'}, which is not among those beside it "
        f"({', '.join(uid or 'without UID' for uid in series)}); add its images, or move it away"
    )


def _modality(file: Path) -> str:
    return str(read_headers([file], ["Modality"])[file].get("Modality"))


def _names(file: Path) -> list[str]:
    names = segment_labels(file) if _modality(file) == "SEG" else roi_names(file)
    if not names:
        raise ValueError(f"{file} has no segments, and no regions with closed contours; draw some, or take it away")
    return names


def along_patient_axes(tensor: MetaTensor) -> tuple[Any, Any]:
    """Array and affine of a tensor; that of two axes turned as pictures are prepared: to the right and up."""
    array, affine = np.asarray(tensor)[0], np.asarray(tensor.affine, dtype=np.float64).copy()
    for axis in range(2) if array.ndim == 2 else ():
        if affine[np.abs(affine[:3, axis]).argmax(), axis] < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += (array.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
    return np.ascontiguousarray(array), affine

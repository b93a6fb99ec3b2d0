"""Volumes in a folder as people lay them out: one file each, or a sub-folder each with a file or a DICOM series."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from monai_segdiff.data.dicom.files import is_study_file
from monai_segdiff.data.dicom.series import read_ct_series
from monai_segdiff.data.layout import case_name, read_dataset
from monai_segdiff.data.load import load_image
from monai_segdiff.data.patients import read_patients
from monai_segdiff.files import safe_name

__all__ = ["VolumeSource", "find_volumes", "read_volume"]

_VOLUMES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_MISTAKES = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), "is a picture, not a volume; move it away"),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".7z", ".rar"), "is an archive; unpack it"),
}


@dataclass(frozen=True)
class VolumeSource:
    """Where a volume comes from.

    Args:
        name: unique among the volumes, fit for file names.
        path: its file, or its folder where it is a DICOM series.
        files: the file, or the DICOM files.
        patient: whose volume it is.
        patient_known: whether something says whose it is; False where `patient` is nothing but the volume's name.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    patient: str
    patient_known: bool = True

    @property
    def fingerprint(self) -> str:
        """Digest of the files' names, sizes and times, which tells a changed source from the same one."""
        digest = hashlib.sha256(self.patient.encode())
        for file in self.files:
            status = file.stat()
            digest.update(f"\n{file.name} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def find_volumes(source: str | Path, *, patients: str | Path | None = None, labels: bool = False) -> list[VolumeSource]:
    """Find the volumes of a folder; opens none of them.

    Args:
        source: folder of NIfTI, NRRD or MetaImage files, or of sub-folders that each hold one such file or, at any
            depth, the DICOM files of one series; or a data set (see `read_dataset`), whose images are taken.
        patients: CSV file with a header line, volume names in the first column and patients in the second, or in one
            named `patient`. By default each volume is a patient of its own, or a data set's as that says.
        labels: take a data set's label maps instead of its images.

    Returns:
        Volumes sorted by name. The name is that of the file without extension, or of the sub-folder, with characters
        that do not suit a file name replaced by `_`.

    Raises:
        FileNotFoundError: if the folder is missing or holds no volume.
        ValueError: if a file is no volume, a sub-folder holds several, two have one name, or the table lacks a volume.
    """
    root = Path(source).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the folder that holds the volumes")
    if (root / "dataset.json").is_file() or any((root / part).is_dir() for part in ("images", "imagesTr")):
        found = _in_dataset(root, labels)
    else:
        found = [volume for entry in sorted(root.iterdir()) if (volume := _volume(entry)) is not None]
    if not found:
        raise FileNotFoundError(
            f"{root} holds no volumes: put NIfTI, NRRD or MHA files into it, or sub-folders with a DICOM series each"
        )
    first: dict[str, VolumeSource] = {}
    for volume in found:
        other = first.setdefault(volume.name.casefold(), volume)
        if other is not volume:
            raise ValueError(f"{other.path} and {volume.path} have the same name {volume.name!r}; rename one of them")
    if patients is not None:
        owner = read_patients(patients, [volume.name for volume in found])
        found = [VolumeSource(v.name, v.path, v.files, owner[v.name]) for v in found]
    return sorted(found, key=lambda volume: volume.name)


def read_volume(source: VolumeSource) -> MetaTensor:
    """Read a volume with its affine.

    Args:
        source: what `find_volumes` gave.

    Returns:
        float32 tensor (1, X, Y, Z); its metadata name the file.

    Raises:
        ImportError: if a package that reads the format is missing; says which.
        ValueError: if the file is damaged, is no volume, does not say where it lies, or holds NaN.
    """
    if source.path.is_dir():
        return read_ct_series(source.files, source.path)
    volume = load_image(source.path)
    if volume.ndim != 4 or min(volume.shape[1:]) < 2:
        shape = "x".join(str(n) for n in volume.shape[1:])
        raise ValueError(f"{source.path} is not a volume but of size {shape}; move it away")
    codes = [int(np.asarray(volume.meta[key])) for key in ("qform_code", "sform_code") if key in volume.meta]
    if codes and not any(codes):
        raise ValueError(
            f"{source.path} has neither a qform nor an sform (both codes are 0), so its orientation is unknown; "
            "convert it again from its source"
        )
    bad = int((~torch.isfinite(volume.as_tensor())).sum())
    if bad:
        raise ValueError(f"{source.path} holds {bad} NaN or infinite values; repair it or move it away")
    return volume.to(torch.float32)


def _in_dataset(root: Path, labels: bool) -> list[VolumeSource]:
    cases = [case for members in read_dataset(root).splits.values() for case in members]
    pairs = [(case, case.label if labels else case.image) for case in cases]
    return [
        VolumeSource(safe_name(case.id, "volume"), file, (file,), case.patient, case.patient_known)
        for case, file in pairs
        if file is not None
    ]


def _volume(entry: Path) -> VolumeSource | None:
    """The volume that a file or sub-folder is, if it is one."""
    if entry.name.startswith("."):
        return None
    if entry.is_file():
        _check_kind(entry)
        return _as_source(case_name(entry), entry, [entry]) if _is_volume(entry) else None
    inside = sorted(file for file in entry.iterdir() if file.is_file() and not file.name.startswith("."))
    volumes = [file for file in inside if _is_volume(file)]
    if len(volumes) > 1:
        raise ValueError(
            f"{entry} holds {len(volumes)} volumes ({', '.join(file.name for file in volumes[:5])}); keep one in each "
            "sub-folder"
        )
    if volumes:
        return _as_source(entry.name, volumes[0], volumes)
    slices = sorted(file for file in entry.rglob("*") if is_study_file(file, entry))
    return _as_source(entry.name, entry, slices) if slices else None


def _as_source(name: str, path: Path, files: Sequence[Path]) -> VolumeSource:
    return VolumeSource(safe_name(name, "volume"), path, tuple(files), safe_name(name, "volume"), patient_known=False)


def _is_volume(file: Path) -> bool:
    return file.name.lower().endswith(_VOLUMES)


def _check_kind(file: Path) -> None:
    if _is_volume(file):
        return
    mistake = _MISTAKES.get(file.suffix.lower())
    if mistake is not None:
        raise ValueError(f"{file} {mistake}")
    if is_study_file(file, file.parent):
        raise ValueError(f"{file} is a DICOM file beside the volumes; put each series into a sub-folder of its own")

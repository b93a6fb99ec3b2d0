"""DICOM files found and opened; what is missing or damaged is named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

__all__ = [
    "DECODERS",
    "INSTALL",
    "DicomSource",
    "dicom_files",
    "import_highdicom",
    "import_pydicom",
    "is_dicom",
    "read_dataset_of",
    "read_headers",
    "reason",
]

INSTALL = "python -m pip install 'monai-segdiff[dicom]'"
DECODERS = f"{INSTALL}, and for JPEG other than JPEG 2000 python -m pip install pylibjpeg-libjpeg"

DicomSource: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def is_dicom(file: Path) -> bool:
    """Whether a file is a DICOM file, by its content or its name."""
    if file.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with open(file, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def dicom_files(source: DicomSource) -> list[Path]:
    """List DICOM files.

    Args:
        source: a file, a folder, which is searched at any depth, or several files.

    Returns:
        Files, sorted.

    Raises:
        FileNotFoundError: if a file or folder does not exist, or a folder holds no DICOM file.
    """
    if not isinstance(source, str | os.PathLike):
        return sorted(file for entry in source for file in dicom_files(entry))
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give a DICOM file, or a folder of them")
    found = sorted(file for file in path.rglob("*") if file.is_file() and is_dicom(file))
    if not found:
        raise FileNotFoundError(f"{path} holds no DICOM files; check the path")
    return found


def read_headers(files: Iterable[Path], keywords: Sequence[str] | None = None) -> dict[Path, Any]:
    """Read what comes before the pixels.

    Args:
        files: DICOM files.
        keywords: attributes that are wanted; all by default.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: if a file is damaged; names it.
    """
    pydicom = import_pydicom()
    wanted = None if keywords is None else list(keywords)
    headers = {}
    for file in sorted(files):
        try:
            headers[file] = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=wanted)
        except Exception as error:
            raise ValueError(f"{file} cannot be read as DICOM ({reason(error)}); copy it again") from error
    return headers


def read_dataset_of(file: Path) -> Any:
    """Read a whole DICOM file.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: if it is damaged; names it.
    """
    pydicom = import_pydicom()
    try:
        return pydicom.dcmread(file)
    except Exception as error:
        raise ValueError(f"{file} cannot be read as DICOM ({reason(error)}); copy it again") from error


def import_pydicom() -> Any:
    """The module, or an error that says how to install it."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(f"DICOM needs pydicom: {INSTALL}") from error
    return pydicom


def import_highdicom() -> Any:
    """The module, or an error that says how to install it."""
    try:
        import highdicom
    except ImportError as error:
        raise ImportError(f"DICOM segmentations need highdicom: {INSTALL}") from error
    return highdicom


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

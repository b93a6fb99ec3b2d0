"""DICOM files found and opened; what is missing or damaged is named."""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from monai_segdiff.errors import UnreadableFileError, one_line, reading

__all__ = [
    "DECODERS",
    "INSTALL",
    "DicomSource",
    "dicom_files",
    "import_highdicom",
    "import_pydicom",
    "is_dicom",
    "is_study_file",
    "naming_dicom",
    "read_dataset_of",
    "read_headers",
    "reason",
]

INSTALL = "python -m pip install 'monai-segdiff[dicom]'"
DECODERS = f"{INSTALL}, and for JPEG other than JPEG 2000 python -m pip install pylibjpeg-libjpeg"

DicomSource: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_CODE = re.compile("[A-Z0-9 _]{1,16}")  # value representation CS
_SUFFIXES = (".dcm", ".dicom", ".ima")
_INFLATED = 2**27  # bytes that a deflated file may become, whatever its size, and how often its own size beyond them
_INFLATION = 20
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_UNDEFINED = 0xFFFFFFFF  # length of an element that ends with a mark


def is_dicom(file: Path) -> bool:
    """Whether a file is a DICOM file, by its content or its name."""
    if file.suffix.lower() in _SUFFIXES:
        return True
    with open(file, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def is_study_file(file: Path, root: Path) -> bool:
    """Whether a file is one of a study: a DICOM file, but no hidden one and no table of contents.

    macOS leaves files such as ``._IM0001.dcm`` beside the others, which hold no DICOM, and discs have a ``DICOMDIR``.

    Args:
        file: anything in the folder.
        root: the folder that is searched.
    """
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    if hidden or file.name.upper() == "DICOMDIR":
        return False
    if file.suffix.lower() in _SUFFIXES:
        return not file.is_dir()  # what is no file, such as a link to nothing, is named by whoever reads it
    return file.is_file() and is_dicom(file)


def dicom_files(source: DicomSource) -> list[Path]:
    """List DICOM files.

    Args:
        source: a file, a folder, which is searched at any depth, or several files. In folders, hidden files and tables
            of contents (DICOMDIR) are passed over.

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
    found = sorted(file for file in path.rglob("*") if is_study_file(file, path))
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
        ValueError: if a file is damaged, or has no modality where that is wanted; names it.
    """
    wanted = None if keywords is None else list(keywords)
    headers = {}
    for file in sorted(files):
        header = _read(file, stop_before_pixels=True, specific_tags=wanted)
        for keyword in wanted or ():
            _decode(file, header, keyword)
        if "Modality" in (wanted or ()):
            _check_modality(file, header)
        headers[file] = header
    return headers


def _check_modality(file: Path, header: Any) -> None:
    """Refuse what does not say what it is: passed over, a damaged slice would be a gap in its series."""
    modality = header.get("Modality")
    if not modality:
        raise ValueError(f"{file} says no Modality, as everything in a study does; copy it again, or move it away")
    if not _CODE.fullmatch(str(modality)):
        raise ValueError(f"{file} gives the Modality {str(modality)[:20]!r}, which is no code; copy it again")


def read_dataset_of(file: Path) -> Any:
    """Read a whole DICOM file.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: if it is damaged; names it.
    """
    return _read(file)


@contextmanager
def naming_dicom(where: object, kind: str = "DICOM") -> Iterator[None]:
    """Turn whatever is raised while DICOM objects are made sense of into one line that names them.

    Args:
        where: the file, or the folder of the files; errors of values that name it already stay as they are.
        kind: what is read, for messages.

    Raises:
        ValueError: from anything else but a missing extra and files that are missing or cannot be opened.
    """
    try:
        with reading(where, kind, "export it again"):
            yield
    except UnreadableFileError as error:
        cause = error.__cause__
        if isinstance(cause, ValueError) and str(where) in str(cause):
            raise cause from cause.__cause__
        raise


class _Source(io.BufferedReader):
    """An open file that takes memory for no more than is there, whatever lengths and compressed data in it claim."""

    def __init__(self, file: Path) -> None:
        super().__init__(io.FileIO(file))
        self._end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            return super().read(min(size, max(0, self._end - self.tell())))
        rest = super().read()  # which pydicom asks for to inflate it
        inflate, length, data = zlib.decompressobj(-zlib.MAX_WBITS), 0, rest
        most = max(_INFLATED, _INFLATION * len(rest))
        while data and not inflate.eof:
            length += len(inflate.decompress(data, 2**20))
            data = inflate.unconsumed_tail
            if length > most:
                raise ValueError(
                    f"its {len(rest)} bytes inflate to more than {most // 2**20} MiB: store it without deflating it"
                )
        return rest


def _read(file: Path, **options: Any) -> Any:
    pydicom = import_pydicom()
    if file.is_symlink() and not file.exists():
        raise UnreadableFileError(f"{file} is a link to a file that is not there; restore that")
    if file.exists() and not file.is_file():
        raise UnreadableFileError(f"{file} is no file but a folder, a pipe or a device; restore it, or move it away")
    with reading(file, "DICOM", "copy it again"):
        try:
            with _Source(file) as source:
                dataset = pydicom.dcmread(source, **options)
        except pydicom.errors.InvalidDicomError:
            raise ValueError("it does not begin as DICOM files do") from None
        for tag in dataset.keys() - _PIXELS:  # of which the decoder says more
            # pydicom takes what is there where a file ends within an element.
            element = dataset.get_item(tag)
            value, length = getattr(element, "value", None), getattr(element, "length", 0)
            if isinstance(value, bytes) and len(value) < length != _UNDEFINED:
                raise ValueError(f"it ends in the midst of {pydicom.datadict.keyword_for_tag(tag) or tag}")
    return dataset


def _decode(file: Path, header: Any, keyword: str) -> None:
    """Have an attribute decoded, which pydicom does when it is asked for."""
    try:
        header.get(keyword)
    except Exception as error:
        raise UnreadableFileError(
            f"{file} has a {keyword} that cannot be read ({reason(error)}); export it again"
        ) from error


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


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    return one_line(error)

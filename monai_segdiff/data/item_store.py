"""Items of a data set as their deterministic transforms leave them, on disk, where several processes share them."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import torch

from monai_segdiff._version import __version__
from monai_segdiff.files import atomic_file

__all__ = ["ItemStore", "bytes_of"]

_SIGN = b"segdiff1"
_RESERVE = 2**30  # bytes of the disk that are left to checkpoints and others


class ItemStore:
    """A file for each item, written when it is first asked for.

    A file is read only if its checksum is right, so one that a killed run or a power cut has left half-written is made
    anew. Runs that write the same one do each other no harm. What the system keeps of the files in memory serves all
    processes. The folder may be removed whenever no training runs.

    Args:
        folder: where they lie; several data sets and trainings may share it.
        transforms: what was done to the items; those of other ones are kept apart.
        first: an item that they gave.

    Raises:
        OSError: if nothing can be written there.
        TypeError: if items or transforms cannot be stored.
    """

    def __init__(self, folder: str | Path, transforms: Sequence[Callable], first: Any) -> None:
        try:
            packed = _packed(first)
            same = _unpacked(packed) is not None
            made_by = pickle.dumps(list(transforms))
        except Exception as error:  # pickle raises all there is
            raise TypeError(f"they cannot be stored ({type(error).__name__})") from error
        if not same:
            raise TypeError("what was stored cannot be read again")
        versions = f"{__version__} {monai.__version__} {torch.__version__}"
        key = hashlib.sha256(b"\n".join([versions.encode(), made_by, packed])).hexdigest()
        self.folder = Path(folder) / key[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(f"{self.folder} cannot be written to")
        self._writes = True

    def get(self, item: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """What the transforms make of an item.

        Args:
            item: what is known of it, with the paths of its files.
            make: makes it where it is not there yet.
        """
        name = _name(item)
        file = self.folder / name[:2] / name[2:]
        try:
            found = _unpacked(file.read_bytes())
        except OSError:
            found = None
        if found is None:
            found = make()
            self._write(file, found)
        return found

    def _write(self, file: Path, item: Any) -> None:
        if not self._writes:
            return
        packed = _packed(item)
        try:
            if shutil.disk_usage(self.folder).free < _RESERVE + len(packed):
                raise OSError(f"less than {_RESERVE / 2**30:g} GiB of the disk of {self.folder} are free")
            with atomic_file(file, durable=False) as temporary:
                temporary.write_bytes(packed)
        except OSError as error:
            self._writes = False
            warnings.warn(
                f"no more images are cached, so each is read from its own file again ({error}); free some space, or "
                "choose another folder (cache_dir)",
                stacklevel=2,
            )


def bytes_of(item: Any) -> int:
    """How much memory the tensors and arrays of an item take."""
    values = item.values() if isinstance(item, Mapping) else [item]
    return sum(int(getattr(value, "nbytes", 0)) for value in values)


def _name(item: Mapping[str, Any]) -> str:
    """The same for an item whose files are the same."""
    known = []
    for key in sorted(item):
        value = item[key]
        status = os.stat(value) if isinstance(value, str) and os.path.isfile(value) else None
        known.append((key, repr(value), None if status is None else (status.st_size, status.st_mtime_ns)))
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _packed(item: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(item, buffer)
    content = buffer.getvalue()
    return _sign(content) + content


def _unpacked(packed: bytes) -> Any:
    """The item; None where it is not whole."""
    content = packed[len(_SIGN) + 4 :]
    if not content or packed[: len(_SIGN) + 4] != _sign(content):
        return None
    return torch.load(io.BytesIO(content), weights_only=True)


def _sign(content: bytes) -> bytes:
    return _SIGN + zlib.crc32(content).to_bytes(4, "big")

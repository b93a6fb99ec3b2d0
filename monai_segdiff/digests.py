"""What the files of a folder hold, by their SHA-256: a list beside them, which ``sha256sum -c`` reads, too."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.files import atomic_file

__all__ = ["DIGESTS", "digest_of", "digests_of", "read_digests", "write_digests"]

DIGESTS = "SHA256SUMS"
"""Name of the list."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)", re.DOTALL)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_BLOCK = 2**20
_MOST_BYTES = 2**30


def digest_of(file: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: if it cannot be read.
    """
    if os.path.exists(file) and not os.path.isfile(file):  # a pipe would be waited for
        raise OSError(errno.EINVAL, "is no file", os.fspath(file))
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digests_of(root: str | os.PathLike[str], files: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """SHA-256 of files, by their paths relative to a folder.

    Args:
        root: the folder.
        files: files in it, absolute or relative to it, or below it as it was given; for a folder, all that it holds.

    Raises:
        OSError: if one cannot be read.
    """
    root = Path(root)
    found: dict[str, str] = {}
    for path in (Path(file) if Path(file).is_relative_to(root) else root / file for file in files):
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            name = file.relative_to(root).as_posix()
            if name not in found:
                found[name] = digest_of(file)
    return found


def write_digests(root: str | os.PathLike[str], digests: Mapping[str, str]) -> Path:
    """Write the list of a folder; last, as it says that the folder is complete.

    Args:
        root: the folder.
        digests: SHA-256 by path relative to it.

    Returns:
        The file.

    Raises:
        OSError: if it cannot be written.
    """
    file = Path(root) / DIGESTS
    with atomic_file(file) as temporary:
        temporary.write_bytes(b"".join(os.fsencode(_line(name, digests[name])) for name in sorted(digests)))
    return file


def read_digests(root: str | os.PathLike[str]) -> dict[str, str]:
    """Read the list of a folder.

    Args:
        root: the folder.

    Returns:
        SHA-256 by path relative to it.

    Raises:
        FileNotFoundError: if it has none.
        UnreadableFileError: if it is damaged, or names a file outside the folder.
    """
    file = Path(root) / DIGESTS
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there, or no file; restore it from its source")
    if file.stat().st_size > _MOST_BYTES:
        raise UnreadableFileError(f"{file} is too large for a list of SHA-256; restore it from its source")
    found: dict[str, str] = {}
    for number, line in enumerate(os.fsdecode(file.read_bytes()).split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise UnreadableFileError(f"{file}: line {number} is no SHA-256 with a name; restore it from its source")
        name = re.sub(r"\\([\\nr])", _unescaped, match[3]) if match[1] else match[3]
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise UnreadableFileError(f"{file}: line {number} names {name!r}, which lies outside; take the line out")
        if found.setdefault(path.as_posix(), match[2]) != match[2]:
            raise UnreadableFileError(f"{file}: line {number} names {name!r} again; restore it from its source")
    return found


def _line(name: str, digest: str) -> str:
    escaped = "".join(_ESCAPES.get(character, character) for character in name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _unescaped(match: re.Match[str]) -> str:
    return {"\\": "\\", "n": "\n", "r": "\r"}[match[1]]

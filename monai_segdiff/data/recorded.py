"""What is known of a data set's files from when it was written, so that none need be read to know it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from monai_segdiff.digests import DIGESTS, read_digests

__all__ = ["recorded_digests"]


def recorded_digests(root: Path) -> dict[Path, str]:
    """SHA-256 of the files of a data set that its list (`SHA256SUMS`) names, and that were not changed since.

    Changed is what has a time of change that is not before the list's: `verify` reads the files themselves.

    Args:
        root: the data set's folder.

    Returns:
        SHA-256 by path; nothing where there is no list, or one that cannot be read.
    """
    try:
        listed = read_digests(root)
        written = (root / DIGESTS).stat().st_mtime_ns
    except (OSError, ValueError):
        return {}
    found: dict[Path, str] = {}
    for name, digest in listed.items():
        with suppress(OSError):
            if os.stat(os.path.join(root, name)).st_mtime_ns < written:
                found[root / name] = digest
    return found

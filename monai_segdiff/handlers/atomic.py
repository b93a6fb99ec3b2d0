"""Files that are either complete or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete.

    The bytes go to ``<name>.tmp`` beside it, reach the disk, and the file is then renamed, so a process that is killed
    at any moment leaves the file as it was before. The temporary name is fixed: what a killed process left behind is
    overwritten by the next attempt and does not pile up.

    Args:
        path: the file; its folder is made if need be.

    Yields:
        A binary file object.

    Raises:
        OSError: if the file cannot be written, naming it; what stood there before is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # the reason of the failure counts, not that of a failed removal
            temporary.unlink()
        # torch.save reports a full disk as a RuntimeError of its zip writer
        if isinstance(error, (OSError, RuntimeError)):
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise OSError(
                f"cannot write '{path}': {reason}. Nothing that was there before has changed; "
                "free space on that disk or choose another, writable folder, then run again"
            ) from error
        raise

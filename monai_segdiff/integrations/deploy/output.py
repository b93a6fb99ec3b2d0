"""The output of a run, which no other run may write to meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from monai_segdiff.files import claim_folder

__all__ = ["claim_output"]

_REMEDY = "name another folder with -o"


@contextmanager
def claim_output(target: Path) -> Iterator[None]:
    """Keep other runs away from a folder that is to be written, for as long as the block lasts.

    The lock is on its parent folder, see :func:`~monai_segdiff.files.claim_folder`.

    Args:
        target: the folder, which must not exist. What runs that were killed have left beside it is removed.

    Raises:
        FileExistsError: if the folder exists, or another run is writing it.
        OSError: if there is no place to write it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(claim_folder(target.parent))
        except FileExistsError:
            raise FileExistsError(f"another run is writing {target}: wait for it, or {_REMEDY}") from None
        except OSError as error:
            raise OSError(f"cannot write {target}: {error}; {_REMEDY}") from error
        if target.exists():
            raise FileExistsError(f"{target} holds the results of another run: {_REMEDY}")
        yield

"""The application's folder, which MONAI Label starts from and writes its models and logs to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from monai_segdiff.files import atomic_file, claim_folder, inside, names_in

__all__ = ["make_label_app"]

_TEMPLATE = Path(__file__).parent / "template"
_SIGN = "SegDiffApp"


def make_label_app(path: str | os.PathLike[str]) -> Path:
    """Make a folder for ``monailabel start_server --app``.

    MONAI Label keeps logs and trained models in its application's folder, so that is no place in the installed package.

    Args:
        path: folder to make. One that was made before keeps what was trained in it.

    Returns:
        The folder, absolute.

    Raises:
        ValueError: if the folder holds something else.
        FileExistsError: if another run is writing to it.
        OSError: if it cannot be written.
    """
    root = Path(path).expanduser().resolve()
    main = root / "main.py"
    if names_in(root) and not (main.is_file() and _SIGN in main.read_text(errors="replace")):
        raise ValueError(f"{root} holds other files than this application: give a new folder")
    with claim_folder(root):
        # What tells the folder comes first: a run that was killed in between is gone on with.
        for source in sorted(_TEMPLATE.rglob("*.py"), key=lambda file: (file.name != main.name, file)):
            with atomic_file(inside(root, source.relative_to(_TEMPLATE))) as temporary:
                shutil.copyfile(source, temporary)
    return root

"""The application's folder, which MONAI Label starts from and writes its models and logs to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

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
        OSError: if it cannot be written.
    """
    root = Path(path).expanduser().resolve()
    main = root / "main.py"
    if root.is_dir() and any(root.iterdir()) and not (main.is_file() and _SIGN in main.read_text()):
        raise ValueError(f"{root} holds something else than this application: give a new folder")
    shutil.copytree(_TEMPLATE, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return root

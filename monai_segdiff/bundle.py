"""Where the bundles are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["bundle_path", "copy_bundle"]

# An installed wheel carries the bundles inside the package; a checkout has them beside it.
_PLACES = (Path(__file__).parent / "bundles", Path(__file__).parents[1] / "bundles")


def bundle_path(name: str | os.PathLike[str]) -> Path:
    """Find a bundle.

    Args:
        name: name of a bundle that comes with the package, such as ``"ct_organ"``, or the path of any bundle's folder.

    Returns:
        The bundle's folder, absolute.

    Raises:
        FileNotFoundError: if there is no such bundle, naming those that there are.
    """
    for folder in (Path(name).expanduser(), *(place / name for place in _PLACES)):
        if (folder / "configs" / "metadata.json").is_file():
            return folder.resolve()
    known = sorted({path.parents[1].name for place in _PLACES for path in place.glob("*/configs/metadata.json")})
    raise FileNotFoundError(
        f"no bundle {str(name)!r}: give one of {', '.join(known)}, or a folder that holds configs/metadata.json"
    )


def copy_bundle(name: str | os.PathLike[str], target: str | os.PathLike[str], trained: bool = False) -> Path:
    """Copy a bundle to where it can be trained or used, without what else earlier runs left in it.

    Args:
        name: as for :func:`bundle_path`.
        target: folder to make; one that exists gets the bundle's files anew and keeps what it holds besides.
        trained: whether to copy its weights and their card, too.

    Returns:
        The folder, absolute.
    """
    left = ("eval", "cache", "phantoms*", "checkpoint*", "__pycache__", *(() if trained else ("models",)))
    shutil.copytree(bundle_path(name), target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*left))
    return Path(target).resolve()

"""Trained bundles for MONAI Label's own `monaibundle` application.

Command line: `python -m monai_segdiff.integrations.label.stock BUNDLE APP`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_segdiff.bundle import bundle_path, copy_bundle
from monai_segdiff.files import atomic_folder
from monai_segdiff.generation import load_generator

__all__ = ["add_stock_bundle", "main", "parser"]


def add_stock_bundle(bundle: str | os.PathLike[str], app: str | os.PathLike[str]) -> Path:
    """Copy a trained bundle to where the ``monaibundle`` application looks for it.

    The application reads ``inference.yaml``, which opens the card, and does not check whether the weights fit. So they
    are loaded here once.

    Args:
        bundle: name or folder of a trained bundle.
        app: the application's folder.

    Returns:
        The copy; ``--conf models`` takes its name.

    Raises:
        FileNotFoundError: if there is no such bundle, or it was not trained, or there is no such application.
        FileExistsError: if the application has a model of that name.
        ValueError: if the weights do not fit the bundle or their card.
        OSError: if the copy cannot be written; nothing is left of it then.
    """
    root = bundle_path(bundle)
    weights = root / "models" / "model.pt"
    card = weights.with_suffix(".yaml")
    for file in (weights, card):
        if not file.is_file():
            raise FileNotFoundError(f"there is no {file}: train the bundle first")
    if not (Path(app) / "main.py").is_file():
        raise FileNotFoundError(
            f"{app} is no MONAI Label application: make it by monailabel apps --download --name monaibundle"
        )
    target = Path(app) / "model" / root.name
    if target.exists():
        raise FileExistsError(f"{target} exists: remove it to add the bundle anew")
    load_generator(root, weights)
    with atomic_folder(target) as temporary:
        copy_bundle(root, temporary, trained=True)
    return target


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m monai_segdiff.integrations.label.stock",
        description="Copy a trained bundle into MONAI Label's application monaibundle.",
    )
    found.add_argument("bundle", help="name or folder of a trained bundle")
    found.add_argument("app", help="the application's folder")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; those of the process by default.

    Returns:
        The exit code: 0 if all is well, 2 if the bundle was refused.
    """
    given = parser().parse_args(argv)
    try:
        print(f"wrote {add_stock_bundle(given.bundle, given.app)}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

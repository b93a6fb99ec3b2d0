"""Trained bundles for MONAI Label's own `monaibundle` application."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import yaml

from monai_segdiff.bundle import bundle_path
from monai_segdiff.data.atomic import atomic_file

__all__ = ["add_stock_bundle"]


def add_stock_bundle(bundle: str | os.PathLike[str], app: str | os.PathLike[str]) -> Path:
    """Copy a trained bundle to where the ``monaibundle`` application looks for it.

    That application reads one configuration and no card, and loads weights that do not fit without a word. So the copy
    gets ``configs/inference.json``, which is read first: ``inference.yaml`` with what the card says was trained.

    Args:
        bundle: name or folder of a trained bundle.
        app: the application's folder.

    Returns:
        The copy; ``--conf models`` takes its name.

    Raises:
        FileNotFoundError: if there is no such bundle, or it was not trained.
    """
    root = bundle_path(bundle)
    card = root / "models" / "model.yaml"
    if not card.is_file():
        raise FileNotFoundError(f"no card at {card}: train the bundle first")
    target = Path(app) / "model" / root.name
    shutil.copytree(root, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("eval", "phantoms*", "checkpoint*"))
    merged = {**yaml.safe_load((root / "configs" / "inference.yaml").read_text()), **yaml.safe_load(card.read_text())}
    with atomic_file(target / "configs" / "inference.json") as temporary:
        temporary.write_text(json.dumps(merged, indent=1))
    return target

"""The training of a bundle, from Python and from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from monai_segdiff.bundle import bundle_path
from monai_segdiff.errors import unwrapped_errors

__all__ = ["train_bundle"]


def train_bundle(
    bundle: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    plan: str | os.PathLike[str] | None = None,
    images: int | None = None,
    device: str | None = None,
    quiet: bool = True,
) -> Path:
    """Train a bundle, or go on where its training was stopped.

    Args:
        bundle: the folder of a copy of a bundle.
        dataset: the prepared data set.
        plan: overlay of ``configs/train.yaml``.
        images: length in images seen.
        device: where to train.
        quiet: whether to leave out what only developers read.

    Returns:
        The weights.
    """
    import logging

    from monai.bundle import run

    if quiet:
        logging.getLogger("ignite").setLevel(logging.WARNING)
    root = bundle_path(bundle)
    files = [str(root / "configs" / "train.yaml"), *([] if plan is None else [str(plan)])]
    given = {"dataset_dir": dataset and str(dataset), "max_images": images, "device": device}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with unwrapped_errors():
        run("training", config_file=files, bundle_root=str(root), **values)
    return root / "models" / "model.pt"

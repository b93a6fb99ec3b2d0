"""Data sets that are built once: complete or absent, and found again by the settings that made them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.data.layout import SegmentationDataset, read_dataset, write_dataset
from monai_segdiff.digests import digests_of, write_digests
from monai_segdiff.files import atomic_folder

__all__ = ["build_once"]


def build_once(
    root: str | Path, settings: Mapping[str, Any], build: Callable[[Path], SegmentationDataset]
) -> SegmentationDataset:
    """Build a data set in a temporary folder and rename it, unless one with the same settings is there.

    Several processes may call it at once: the first to finish wins, the others take its result.

    Args:
        root: the data set's folder.
        settings: everything the content depends on; of JSON types.
        build: fills the folder it is given and returns the data set there, `settings` included.

    Returns:
        The data set at `root`.

    Raises:
        FileExistsError: if the folder holds something made otherwise.
        OSError: if it cannot be written.
    """
    root = Path(root).expanduser().resolve()
    found = _find(root, settings)
    if found is not None:
        return found
    try:
        with atomic_folder(root) as folder:
            write_dataset(folder, build(folder))
            write_digests(folder, digests_of(folder, [folder]))
    except OSError:
        found = _find(root, settings)
        if found is not None:
            return found
        raise
    return read_dataset(root)


def _find(root: Path, settings: Mapping[str, Any]) -> SegmentationDataset | None:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        dataset = read_dataset(root)
    except (FileNotFoundError, ValueError) as error:
        raise FileExistsError(f"{root} is not empty and holds no data set; choose another folder ({error})") from error
    if dataset.settings != json.loads(json.dumps(settings)):
        raise FileExistsError(
            f"{root} holds a data set that was made with other settings; remove it, or choose another folder"
        )
    return dataset

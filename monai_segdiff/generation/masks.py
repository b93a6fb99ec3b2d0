"""The label maps that images are generated for."""

from __future__ import annotations

import os
from pathlib import Path

from monai_segdiff.data import Case, case_name, read_dataset
from monai_segdiff.data.layout import default_patient

__all__ = ["collect_masks"]

_ENDINGS = (".nii.gz", ".nii", ".png")


def collect_masks(path: str | os.PathLike[str], split: str = "test") -> list[Case]:
    """List the label maps of a data set's split, or those that lie in a folder.

    Args:
        path: a data set's folder, or a folder that holds label maps and nothing else.
        split: split of a data set; a plain folder has none.

    Returns:
        One case for each label map, in a fixed order; their images, if any, are not used.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there is no label map, or two have the same name.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of masks at {root}")
    files = sorted(file for file in root.iterdir() if file.name.lower().endswith(_ENDINGS))
    if files and not (root / "dataset.json").is_file():
        cases = [Case(case_name(file), None, file, default_patient(case_name(file))) for file in files]
    else:
        dataset = read_dataset(root)
        cases = [case for case in dataset.splits.get(split, []) if case.label is not None]
        if not cases:
            held = ", ".join(name for name, cases in dataset.splits.items() if cases)
            raise ValueError(f"{root} has no label maps in split {split!r}; choose another with --split: {held}")
    names = [case.id for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{root} has several masks named {twice[0]!r}: names must differ, rename one of them")
    return cases

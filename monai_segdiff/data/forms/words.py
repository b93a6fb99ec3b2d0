"""What names of folders and files mean: images, label maps, splits, sequences."""

from __future__ import annotations

import re

__all__ = ["IMAGE_WORDS", "MASK_WORDS", "SEQUENCES", "SPLIT_WORDS", "tokens", "without"]

IMAGE_WORDS = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "scan",
        "scans",
        "volume",
        "volumes",
        "vol",
        "raw",
        "orig",
        "original",
        "img_dir",
        "image_dir",
        "images_dir",
    ]
)
MASK_WORDS = frozenset(
    [
        "label",
        "labels",
        "mask",
        "masks",
        "seg",
        "segs",
        "segmentation",
        "segmentations",
        "annotation",
        "annotations",
        "gt",
        "groundtruth",
        "ground_truth",
        "seg_dir",
        "label_dir",
        "labels_dir",
        "mask_dir",
        "masks_dir",
    ]
)
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "tr"), "training"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
#: What stands for a channel in the name of a file, as in `BraTS_001_t1.nii.gz`.
SEQUENCES = frozenset(
    [
        "t1",
        "t1c",
        "t1ce",
        "t1gd",
        "t1n",
        "t1w",
        "t1post",
        "t1pre",
        "t2",
        "t2w",
        "t2f",
        "t2star",
        "flair",
        "dwi",
        "adc",
        "swi",
        "pd",
        "pdw",
        "dce",
        "perf",
        "asl",
        "cbf",
        "cbv",
        "mra",
        "ct",
        "cta",
        "cbct",
        "pet",
        "suv",
        "mr",
        "mri",
        "mrt",
        "us",
        "dx",
        "cr",
        "xray",
    ]
)

_APART = re.compile(r"[_\-. ()\[\]]+")


def tokens(name: str) -> tuple[str, ...]:
    """Parts of a name in lower case, between blanks, dots and hyphens."""
    return tuple(part for part in _APART.split(name.casefold()) if part)


def without(parts: tuple[str, ...], words: frozenset[str]) -> tuple[str, ...]:
    """Parts of a name that are none of some words."""
    return tuple(part for part in parts if part not in words)

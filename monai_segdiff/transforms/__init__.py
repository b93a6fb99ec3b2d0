"""Transforms from label maps to conditions: class ablation, mask encoding, mask concatenation."""

from __future__ import annotations

from monai_segdiff.transforms.ablation import (
    RandClassAblation,
    RandClassAblationD,
    RandClassAblationd,
    RandClassAblationDict,
    ablate_classes,
)
from monai_segdiff.transforms.concat import ConcatMask, ConcatMaskD, ConcatMaskd, ConcatMaskDict
from monai_segdiff.transforms.encoding import EncodeMask, EncodeMaskD, EncodeMaskd, EncodeMaskDict
from monai_segdiff.transforms.vocabulary import ClassVocabulary

__all__ = [
    "ClassVocabulary",
    "ConcatMask",
    "ConcatMaskD",
    "ConcatMaskDict",
    "ConcatMaskd",
    "EncodeMask",
    "EncodeMaskD",
    "EncodeMaskDict",
    "EncodeMaskd",
    "RandClassAblation",
    "RandClassAblationD",
    "RandClassAblationDict",
    "RandClassAblationd",
    "ablate_classes",
]

"""Transforms from label maps to conditions: class ablation, mask encoding, mask concatenation."""

from __future__ import annotations

from monai_segdiff.transforms.ablation import (
    RandClassAblation,
    RandClassAblationD,
    RandClassAblationd,
    RandClassAblationDict,
    ablate_classes,
)
from monai_segdiff.transforms.bone import ProjectBone, ProjectBoneD, ProjectBoned, ProjectBoneDict
from monai_segdiff.transforms.concat import ConcatMask, ConcatMaskD, ConcatMaskd, ConcatMaskDict
from monai_segdiff.transforms.contour import SegmentContour, SegmentContourD, SegmentContourd, SegmentContourDict
from monai_segdiff.transforms.drr import ProjectDRR, ProjectDRRD, ProjectDRRd, ProjectDRRDict
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
    "ProjectBone",
    "ProjectBoneD",
    "ProjectBoneDict",
    "ProjectBoned",
    "ProjectDRR",
    "ProjectDRRD",
    "ProjectDRRDict",
    "ProjectDRRd",
    "RandClassAblation",
    "RandClassAblationD",
    "RandClassAblationDict",
    "RandClassAblationd",
    "SegmentContour",
    "SegmentContourD",
    "SegmentContourDict",
    "SegmentContourd",
    "ablate_classes",
]

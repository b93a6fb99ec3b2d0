"""Transforms from label maps to conditions: class ablation, mask encoding, mask concatenation, findings as prompts."""

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
from monai_segdiff.transforms.covariate_ablation import (
    RandCovariateAblation,
    RandCovariateAblationD,
    RandCovariateAblationd,
    RandCovariateAblationDict,
)
from monai_segdiff.transforms.covariates import CovariateValue, EncodeCovariates, check_covariates
from monai_segdiff.transforms.drr import ProjectDRR, ProjectDRRD, ProjectDRRd, ProjectDRRDict
from monai_segdiff.transforms.encoding import EncodeMask, EncodeMaskD, EncodeMaskd, EncodeMaskDict
from monai_segdiff.transforms.findings import (
    EncodeFindings,
    EncodeFindingsD,
    EncodeFindingsd,
    EncodeFindingsDict,
    PromptEncoder,
)
from monai_segdiff.transforms.intensities import (
    IntensityRange,
    ScaleFromRange,
    ScaleFromRangeD,
    ScaleFromRanged,
    ScaleFromRangeDict,
    ScaleToRange,
    ScaleToRangeD,
    ScaleToRanged,
    ScaleToRangeDict,
    channel_ranges,
    clamp_channels,
    clamp_to_range,
    range_ends,
    scale_channels,
)
from monai_segdiff.transforms.levels import mask_levels
from monai_segdiff.transforms.mask_or_image import (
    RandMaskOrImage,
    RandMaskOrImageD,
    RandMaskOrImaged,
    RandMaskOrImageDict,
)
from monai_segdiff.transforms.prompts import RandDropPrompt, RandDropPromptD, RandDropPromptd, RandDropPromptDict
from monai_segdiff.transforms.vocabulary import ClassVocabulary

__all__ = [
    "ClassVocabulary",
    "ConcatMask",
    "ConcatMaskD",
    "ConcatMaskDict",
    "ConcatMaskd",
    "CovariateValue",
    "EncodeCovariates",
    "EncodeFindings",
    "EncodeFindingsD",
    "EncodeFindingsDict",
    "EncodeFindingsd",
    "IntensityRange",
    "PromptEncoder",
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
    "RandCovariateAblation",
    "RandCovariateAblationD",
    "RandCovariateAblationDict",
    "RandCovariateAblationd",
    "RandDropPrompt",
    "RandDropPromptD",
    "RandDropPromptDict",
    "RandDropPromptd",
    "RandMaskOrImage",
    "RandMaskOrImageD",
    "RandMaskOrImageDict",
    "RandMaskOrImaged",
    "ScaleFromRange",
    "ScaleFromRangeD",
    "ScaleFromRangeDict",
    "ScaleFromRanged",
    "ScaleToRange",
    "ScaleToRangeD",
    "ScaleToRangeDict",
    "ScaleToRanged",
    "SegmentContour",
    "SegmentContourD",
    "SegmentContourDict",
    "SegmentContourd",
    "ablate_classes",
    "channel_ranges",
    "check_covariates",
    "clamp_channels",
    "clamp_to_range",
    "mask_levels",
    "range_ends",
    "scale_channels",
]

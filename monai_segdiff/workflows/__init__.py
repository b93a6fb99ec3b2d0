"""Training, studies of a user's data, and what needs generation and evaluation together."""

from __future__ import annotations

from monai_segdiff.workflows.accept_by_dice import accept_by_dice
from monai_segdiff.workflows.choose_guidance import GuidanceFigures, choose_guidance
from monai_segdiff.workflows.compare_variants import compare_variants, generate_variants, load_variants
from monai_segdiff.workflows.demo import run_demo
from monai_segdiff.workflows.study import make_plan, run_study
from monai_segdiff.workflows.study_folder import Study
from monai_segdiff.workflows.train import train_bundle, tune_bundle

__all__ = [
    "GuidanceFigures",
    "Study",
    "accept_by_dice",
    "choose_guidance",
    "compare_variants",
    "generate_variants",
    "load_variants",
    "make_plan",
    "run_demo",
    "run_study",
    "train_bundle",
    "tune_bundle",
]

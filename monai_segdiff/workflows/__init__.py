"""What needs generation and evaluation together: the demo, samples judged by a segmenter, and variants compared."""

from __future__ import annotations

from monai_segdiff.workflows.accept_by_dice import accept_by_dice
from monai_segdiff.workflows.compare_variants import compare_variants, generate_variants, load_variants
from monai_segdiff.workflows.demo import run_demo

__all__ = ["accept_by_dice", "compare_variants", "generate_variants", "load_variants", "run_demo"]

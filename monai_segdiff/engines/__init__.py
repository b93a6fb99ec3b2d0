from __future__ import annotations

from monai_segdiff.engines.prepare_batch import SegDiffusionPrepareBatch

__all__ = ["SegDiffusionPrepareBatch"]

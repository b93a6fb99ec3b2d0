"""Whether what was written is still whole: data sets, bundles, weights and checkpoints."""

from __future__ import annotations

from monai_segdiff.verification.verdict import Verdict
from monai_segdiff.verification.verify import record, verify

__all__ = ["Verdict", "record", "verify"]

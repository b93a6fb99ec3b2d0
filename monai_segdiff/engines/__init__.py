from __future__ import annotations

from monai_segdiff.engines.autoencoder import AutoencoderUpdate
from monai_segdiff.engines.consistency import ConsistencyPrepareBatch
from monai_segdiff.engines.prepare_batch import SegDiffusionPrepareBatch
from monai_segdiff.engines.regression import RegressionPrepareBatch

__all__ = ["AutoencoderUpdate", "ConsistencyPrepareBatch", "RegressionPrepareBatch", "SegDiffusionPrepareBatch"]

"""Segmentation-guided diffusion for medical images on MONAI."""

from __future__ import annotations

from monai_segdiff._version import __version__
from monai_segdiff.bundle import bundle_path, copy_bundle

__all__ = ["__version__", "bundle_path", "copy_bundle"]

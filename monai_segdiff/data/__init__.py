"""Data sets, splits, phantoms, and what reads, checks, prepares and writes them."""

from __future__ import annotations

from .check import check_dataset
from .findings import Finding
from .layout import Case, SegmentationDataset, case_name, file_extension, read_dataset, write_dataset
from .load import load_image
from .pairing import pair_folders
from .phantoms import make_ct_phantoms
from .phantoms_ct import CT_PHANTOM_CLASSES, CT_PHANTOM_RANGE, CTPhantom
from .prepare import prepare_dataset
from .seeded import EpochSampler, SeededCacheDataset
from .splits import split_cases
from .writers import write_like

__all__ = [
    "CT_PHANTOM_CLASSES",
    "CT_PHANTOM_RANGE",
    "CTPhantom",
    "Case",
    "EpochSampler",
    "Finding",
    "SeededCacheDataset",
    "SegmentationDataset",
    "case_name",
    "check_dataset",
    "file_extension",
    "load_image",
    "make_ct_phantoms",
    "pair_folders",
    "prepare_dataset",
    "read_dataset",
    "split_cases",
    "write_dataset",
    "write_like",
]

"""Data sets, splits, phantoms, and what reads, checks, prepares and writes them."""

from __future__ import annotations

from .check import check_dataset
from .findings import Finding
from .label_files import CheckSpatialSizeD, CheckSpatialSized, CheckSpatialSizeDict, SaveLikeD, SaveLiked, SaveLikeDict
from .layout import Case, SegmentationDataset, case_name, default_patient, file_extension, read_dataset, write_dataset
from .load import load_image
from .opening import measure_sigma_data, open_dataset
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
    "CheckSpatialSizeD",
    "CheckSpatialSizeDict",
    "CheckSpatialSized",
    "EpochSampler",
    "Finding",
    "SeededCacheDataset",
    "SaveLikeD",
    "SaveLikeDict",
    "SaveLiked",
    "SegmentationDataset",
    "case_name",
    "check_dataset",
    "default_patient",
    "file_extension",
    "load_image",
    "make_ct_phantoms",
    "measure_sigma_data",
    "open_dataset",
    "pair_folders",
    "prepare_dataset",
    "read_dataset",
    "split_cases",
    "write_dataset",
    "write_like",
]

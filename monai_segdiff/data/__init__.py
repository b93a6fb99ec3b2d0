"""Data sets, splits, phantoms, and what reads, checks, prepares and writes them."""

from __future__ import annotations

from monai_segdiff.data.check import check_dataset
from monai_segdiff.data.content_digest import content_digest
from monai_segdiff.data.dicom.files import dicom_files, is_dicom
from monai_segdiff.data.dicom.rtstruct import read_rtstruct
from monai_segdiff.data.dicom.seg import read_dicom_seg
from monai_segdiff.data.dicom.series import read_dicom_series
from monai_segdiff.data.dicom.synthetic import SyntheticInfo
from monai_segdiff.data.dicom.write_seg import write_dicom_pair, write_dicom_seg
from monai_segdiff.data.dicom.write_series import write_dicom_series
from monai_segdiff.data.issues import Issue
from monai_segdiff.data.label_files import (
    CheckSpatialSizeD,
    CheckSpatialSized,
    CheckSpatialSizeDict,
    LoadCanonicalD,
    LoadCanonicald,
    LoadCanonicalDict,
    SaveLikeD,
    SaveLiked,
    SaveLikeDict,
)
from monai_segdiff.data.label_volumes import LabelVolumes
from monai_segdiff.data.layout import (
    Case,
    Choices,
    SegmentationDataset,
    case_name,
    default_patient,
    describe,
    file_extension,
    read_dataset,
    read_source,
    write_dataset,
)
from monai_segdiff.data.load import load_image, load_label_map
from monai_segdiff.data.opening import measure_sigma_data, open_dataset
from monai_segdiff.data.phantoms.breast import (
    BREAST_PHANTOM_CLASSES,
    BREAST_PHANTOM_PARENTS,
    BREAST_PHANTOM_RANGE,
    BreastPhantom,
)
from monai_segdiff.data.phantoms.chest import CHEST_PHANTOM_CLASSES, CHEST_PHANTOM_RANGE, ChestPhantom
from monai_segdiff.data.phantoms.chest_findings import CHEST_PHANTOM_FINDINGS, ChestFinding
from monai_segdiff.data.phantoms.ct import CT_PHANTOM_CLASSES, CT_PHANTOM_RANGE, CTPhantom
from monai_segdiff.data.phantoms.datasets import make_breast_phantoms, make_ct_phantoms
from monai_segdiff.data.phantoms.datasets_chest import make_chest_phantoms
from monai_segdiff.data.phantoms.datasets_knee import make_knee_phantoms, make_knee_volumes
from monai_segdiff.data.phantoms.knee import KNEE_PHANTOM_CLASSES, KneePhantom
from monai_segdiff.data.preparation.findings_table import read_findings
from monai_segdiff.data.preparation.pairing import pair_folders
from monai_segdiff.data.preparation.prepare import prepare_dataset
from monai_segdiff.data.radiographs.labels_to_ct import labels_to_ct
from monai_segdiff.data.radiographs.make_drr import make_drr_dataset
from monai_segdiff.data.radiographs.tissues import TISSUE_KINDS, Tissue, read_tissues, tissue_file
from monai_segdiff.data.radiographs.views import DRR_CLASSES, DRR_PARENTS, DRR_RANGE, read_geometry, write_views
from monai_segdiff.data.radiographs.volumes import VolumeSource, find_volumes, read_volume
from monai_segdiff.data.seeded import EpochSampler, SeededCacheDataset
from monai_segdiff.data.splits import split_cases
from monai_segdiff.data.training_grid import training_grid
from monai_segdiff.data.writers import write_like

__all__ = [
    "BREAST_PHANTOM_CLASSES",
    "BREAST_PHANTOM_PARENTS",
    "BREAST_PHANTOM_RANGE",
    "BreastPhantom",
    "CHEST_PHANTOM_CLASSES",
    "CHEST_PHANTOM_FINDINGS",
    "CHEST_PHANTOM_RANGE",
    "CT_PHANTOM_CLASSES",
    "CT_PHANTOM_RANGE",
    "CTPhantom",
    "Case",
    "ChestFinding",
    "ChestPhantom",
    "CheckSpatialSizeD",
    "CheckSpatialSizeDict",
    "LoadCanonicalD",
    "LoadCanonicalDict",
    "LoadCanonicald",
    "CheckSpatialSized",
    "Choices",
    "DRR_CLASSES",
    "DRR_PARENTS",
    "DRR_RANGE",
    "EpochSampler",
    "Issue",
    "KNEE_PHANTOM_CLASSES",
    "KneePhantom",
    "LabelVolumes",
    "SaveLikeD",
    "SaveLikeDict",
    "SaveLiked",
    "SeededCacheDataset",
    "SegmentationDataset",
    "SyntheticInfo",
    "VolumeSource",
    "case_name",
    "check_dataset",
    "content_digest",
    "default_patient",
    "describe",
    "dicom_files",
    "file_extension",
    "find_volumes",
    "is_dicom",
    "load_image",
    "load_label_map",
    "make_breast_phantoms",
    "make_chest_phantoms",
    "make_ct_phantoms",
    "make_drr_dataset",
    "make_knee_phantoms",
    "make_knee_volumes",
    "measure_sigma_data",
    "open_dataset",
    "pair_folders",
    "prepare_dataset",
    "read_dataset",
    "read_dicom_seg",
    "read_dicom_series",
    "read_source",
    "read_findings",
    "read_geometry",
    "read_rtstruct",
    "read_volume",
    "split_cases",
    "training_grid",
    "write_dataset",
    "write_dicom_pair",
    "write_dicom_seg",
    "write_dicom_series",
    "write_like",
    "write_views",
    "labels_to_ct",
    "TISSUE_KINDS",
    "Tissue",
    "read_tissues",
    "tissue_file",
]

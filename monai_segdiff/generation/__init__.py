"""Paired synthetic data sets from label maps."""

from __future__ import annotations

from monai_segdiff.generation.acceptance import Acceptance
from monai_segdiff.generation.covariates import Covariates, told_items
from monai_segdiff.generation.dicom import DicomOutput, default_modality
from monai_segdiff.generation.dicom_masks import holds_dicom_masks, open_dicom_masks
from monai_segdiff.generation.edit import EditSettings, edit_dataset, edit_images
from monai_segdiff.generation.edits import Edit, collect_edits
from monai_segdiff.generation.generate import generate_dataset
from monai_segdiff.generation.generator import TrainedGenerator, load_generator
from monai_segdiff.generation.manifest import Manifest
from monai_segdiff.generation.masks import collect_masks, collect_pairs
from monai_segdiff.generation.pathology import Pathology
from monai_segdiff.generation.similarity import Similarity

__all__ = [
    "Acceptance",
    "Covariates",
    "DicomOutput",
    "Edit",
    "EditSettings",
    "Manifest",
    "Pathology",
    "Similarity",
    "TrainedGenerator",
    "collect_edits",
    "collect_masks",
    "collect_pairs",
    "default_modality",
    "edit_dataset",
    "edit_images",
    "generate_dataset",
    "holds_dicom_masks",
    "load_generator",
    "open_dicom_masks",
    "told_items",
]

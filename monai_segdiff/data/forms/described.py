"""`dataset.json` that lists its cases: this project's own, and the Medical Segmentation Decathlon's."""

from __future__ import annotations

import os

from monai_segdiff.data.cases import SegmentationDataset
from monai_segdiff.data.description.dataset_json import DESCRIPTION, read_description
from monai_segdiff.data.forms.folders import read_folders, unread_in
from monai_segdiff.data.forms.form import Choices, Form, Look

__all__ = ["DESCRIBED"]

_OWN = ("settings", "patients_known", "split", "intensity_range")


def _holds(look: Look, choices: Choices) -> bool:
    return os.path.lexists(look.root / DESCRIPTION)


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    found = read_description(look.root, choices.classes, look.description)
    dataset = found.dataset
    if not found.lists_cases:
        dataset.splits = read_folders(look.root, dataset.channels, described=True)
    dataset.form = "Medical Segmentation Decathlon folder" if look.says("modality") else "data set with dataset.json"
    if look.says(*_OWN):
        dataset.form = "prepared data set"
    dataset.remarks = unread_in(look.root)
    return dataset


DESCRIBED = Form("data set with dataset.json", _holds, _read)

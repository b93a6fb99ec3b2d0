"""nnU-Net's raw folders: images end in their channel; version 2 lists no cases, or names their files in `dataset`."""

from __future__ import annotations

from monai_segdiff.data.cases import SegmentationDataset
from monai_segdiff.data.description.dataset_json import read_description
from monai_segdiff.data.forms.folders import read_folders, unread_in
from monai_segdiff.data.forms.form import Choices, Form, Look

__all__ = ["NNUNET"]


def _holds(look: Look, choices: Choices) -> bool:
    return look.says("channel_names", "file_ending")


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    found = read_description(look.root, choices.classes, look.description)
    dataset = found.dataset
    if not found.lists_cases:
        dataset.splits = read_folders(look.root, dataset.channels, described=True, channel_endings=True)
    dataset.form = "nnU-Net v2 raw folder"
    dataset.remarks = unread_in(look.root) + _other_number(look, dataset)
    return dataset


def _other_number(look: Look, dataset: SegmentationDataset) -> tuple[str, ...]:
    """Say that there are more or fewer cases than the description has counted."""
    said, there = look.description.get("numTraining"), len(dataset.splits.get("training", []))
    if not isinstance(said, int) or said == there:
        return ()
    return (
        f"{look.root} has {there} training cases, and its dataset.json says numTraining {said}; add those that are "
        "missing, or correct the number",
    )


NNUNET = Form("nnU-Net v2 raw folder", _holds, _read)

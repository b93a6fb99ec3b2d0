"""A folder of DICOM studies: image series with their segmentations or structure sets."""

from __future__ import annotations

from monai_segdiff.data.cases import SegmentationDataset
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.dicom.studies import DicomStudies, holds_dicom
from monai_segdiff.data.forms.form import Choices, Form, Look

__all__ = ["DICOM"]


def _holds(look: Look, choices: Choices) -> bool:
    return holds_dicom(look.root)


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    studies = DicomStudies.open(
        look.root, choices.classes, choices.parts, choices.precedence, choices.drop_others, choices.progress
    )
    if studies is None:
        raise FileNotFoundError(f"{look.root} holds no DICOM files; check the path")
    return SegmentationDataset(
        root=look.root,
        name=look.root.name,
        classes=check_classes(studies.classes),
        splits={"training": studies.cases},
        form="DICOM studies",
        maker=studies,
    )


DICOM = Form("DICOM studies", _holds, _read, frozenset({"segments", "precedence", "drop_others"}))

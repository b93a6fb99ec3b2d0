"""A folder of DICOM as an archive holds it: a patient's series and its segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from monai_segdiff.data import load_image
from monai_segdiff.data.dicom.write_seg import write_dicom_pair

AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])


def write_archive(case: Any, classes: dict[str, int], folder: Path) -> str:
    """One patient's slice as CT and SEG, as a scanner would have written them, and the UID of the series."""
    image, label = load_image(case.image).numpy()[0], load_image(case.label).numpy()[0]
    files, seg = write_dicom_pair(image[..., None], label[..., None], AFFINE, classes, folder, "CT")
    for file in (*files, seg):
        change(file, SyntheticData=None)
    return str(pydicom.dcmread(files[0]).SeriesInstanceUID)


def change(file: Path, **attributes: str | None) -> None:
    """Set attributes of a file; None takes one out."""
    content = pydicom.dcmread(file)
    for name, value in attributes.items():
        if value is None:
            delattr(content, name)
        else:
            setattr(content, name, value)
    if "SOPInstanceUID" in attributes:
        content.file_meta.MediaStorageSOPInstanceUID = attributes["SOPInstanceUID"]
    content.save_as(file)

"""Cases from an image folder, a label folder and a table of patients."""

from __future__ import annotations

import warnings
from pathlib import Path

from monai_segdiff.data.case_files import default_patient, list_images, one_channel_each, unread
from monai_segdiff.data.cases import Case
from monai_segdiff.data.patients import guess_patients, with_patients

__all__ = ["pair_folders"]


def pair_folders(images: str | Path, labels: str | Path, patients: str | Path | None = None) -> list[Case]:
    """Pair images and label maps of two folders by file name.

    Args:
        images: folder of images.
        labels: folder of label maps of the same names; extensions may differ, and images end in a channel (`_0000`).
        patients: CSV file with a header line, case names in the first column and patients in the second, or in one
            named `patient`. By default each case is a patient of its own, apart from slices named alike
            (`p1_slice003`).

    Returns:
        Cases, sorted by name.

    Warns:
        UserWarning: of what lies in the folders and is not read.

    Raises:
        FileNotFoundError: if an image or label map has no partner, a folder is missing or empty.
        ValueError: if files of a folder have one name, or the table lacks a case.
    """
    found = []
    for folder in (Path(images).expanduser().resolve(), Path(labels).expanduser().resolve()):
        found.append(list_images(folder))
        if not found[-1]:
            raise FileNotFoundError(f"{folder} holds no images (.nii.gz, .png, ...); check the path")
        if left_out := unread(folder):
            warnings.warn(left_out, stacklevel=2)
    by_label = found[1]
    by_image = one_channel_each(found[0], by_label.keys())
    single = sorted(by_image.keys() ^ by_label.keys())
    if single:
        file = by_image.get(single[0]) or by_label[single[0]]
        raise FileNotFoundError(
            f"{file} has no partner of the same name ({len(single)} such files); add it, or move the file away"
        )
    cases = [
        Case(name, by_image[name], by_label[name], default_patient(name), patient_known=False)
        for name in sorted(by_image)
    ]
    return guess_patients(cases) if patients is None else with_patients(cases, patients)

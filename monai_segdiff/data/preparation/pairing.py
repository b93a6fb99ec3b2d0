"""Cases from an image folder, a label folder and a table of patients."""

from __future__ import annotations

import warnings
from pathlib import Path

from monai_segdiff.data.case_files import image_files, unread
from monai_segdiff.data.cases import Case
from monai_segdiff.data.channels import check_channel_files
from monai_segdiff.data.forms.folders import paired
from monai_segdiff.data.layout import Choices, is_dataset
from monai_segdiff.data.patients import guess_patients, with_patients

__all__ = ["pair_folders", "pair_source"]


def pair_folders(images: str | Path, labels: str | Path, patients: str | Path | None = None) -> list[Case]:
    """Pair images and label maps of two folders by file name.

    Args:
        images: folder of images.
        labels: folder of label maps of the same names; extensions may differ, and images end in a channel (`_0000`), or
            lie in a file for each (`_0000`, `_0001`, ...).
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
    folders = Path(images).expanduser().resolve(), Path(labels).expanduser().resolve()
    for folder in folders:
        if not image_files(folder):
            raise FileNotFoundError(f"{folder} holds no images (.nii.gz, .png, ...); check the path")
        if left_out := unread(folder):
            warnings.warn(left_out, stacklevel=2)
    cases = paired(*folders)
    single = [case for case in cases if case.image is None or case.label is None]
    if single:
        raise FileNotFoundError(
            f"{single[0].image or single[0].label} has no partner of the same name ({len(single)} such files); add it, "
            "or move the file away"
        )
    for case in cases:
        check_channel_files(case, ())
    return guess_patients(cases) if patients is None else with_patients(cases, patients)


def pair_source(source: str | Path, labels: str | Path, choices: Choices | None = None) -> list[Case]:
    """Pair a plain folder of images with one of label maps, in place of a data set's folder; see `pair_folders`.

    Args:
        source: folder of images.
        labels: folder of label maps.
        choices: what else was said of the data.

    Raises:
        FileNotFoundError: as `pair_folders` does.
        ValueError: as `pair_folders` does, and if the source has its label maps itself, or a choice has no effect.
    """
    choices = choices or Choices()
    if is_dataset(source):
        raise ValueError(
            f"--labels is for a plain folder of images, but {source} is a data set with its own label maps: leave "
            "--labels out, or give the folder that holds the images"
        )
    if choices.image or choices.label or choices.fold is not None:
        raise ValueError(
            "--image-name, --label-name and --fold are for a data set's folder, and --labels gives the folder of label "
            "maps: leave them out"
        )
    return pair_folders(source, labels)

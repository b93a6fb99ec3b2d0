"""Data sets on disk, read in whichever form they have; see `forms`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data.case_files import case_name, default_patient, file_extension, list_images
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.channels import check_channel_files
from monai_segdiff.data.description.dataset_json import DESCRIPTION, SPLITS, write_dataset
from monai_segdiff.data.forms.form import Choices, Look
from monai_segdiff.data.forms.in_words import in_words
from monai_segdiff.data.forms.listing import is_list, is_plain_form, read_form
from monai_segdiff.data.patients import guess_patients, with_patients

__all__ = [
    "Case",
    "Choices",
    "NoDatasetError",
    "SPLITS",
    "SegmentationDataset",
    "case_name",
    "default_patient",
    "describe",
    "file_extension",
    "is_dataset",
    "list_images",
    "read_dataset",
    "read_labeled",
    "read_source",
    "write_dataset",
]

_PATIENTS = "patients.csv"


class NoDatasetError(FileNotFoundError):
    """A folder has none of the forms that data sets come in."""


def read_dataset(
    path: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    *,
    check_files: bool = True,
    choices: Choices | None = None,
) -> SegmentationDataset:
    """Read a data set whose images and label maps are files as they lie there; opens no image.

    Args:
        path: its folder, in any of the forms that docs/data.md lists: with a `dataset.json` that lists cases (entries
            `{"image", "label", "patient"}`, and `findings`, a list of names, and `region`, a path, where they are
            known; or bare image paths under `test`), or with `images`/`labels`, `imagesTr`/`labelsTr`,
            `imagesVal`/`labelsVal`, `imagesTs`/`labelsTs`, whose image files may end in a channel (`_0000`), as
            nnU-Net has them, or with a folder for each patient; or a list of cases, MONAI's `datalist.json`.
        classes: class name to label id or ids, where the folder does not say or another naming is wanted.
        check_files: whether every file must exist and every image have its label map.
        choices: what decides where the folder alone does not; its classes are those given here.

    Raises:
        FileNotFoundError: if the folder or a file is missing, or the folder has no data set's form
            (`NoDatasetError`).
        ValueError: if `dataset.json` cannot be understood, the data set is empty, files of one name are in a folder,
            several files may be meant, or label maps have to be made first, as those of DICOM studies.
    """
    dataset = read_source(path, replace(choices or Choices(), classes=classes), check_files=check_files)
    if dataset.maker is not None:
        raise ValueError(
            f"{path} holds {dataset.form}, whose label maps are not files as they are needed here; prepare it "
            "(python -m "
            f"monai_segdiff prepare {path} OUTPUT), and give OUTPUT"
        )
    return dataset


def read_source(path: str | Path, choices: Choices | None = None, *, check_files: bool = True) -> SegmentationDataset:
    """Read a data set in any form, those of which files have to be made included; opens no image.

    Args:
        path: as for `read_dataset`, or a folder of DICOM studies, or of TotalSegmentator's subjects.
        choices: what decides where the folder alone does not.
        check_files: whether every file must exist and every image have its label map.

    Returns:
        The data set, whose cases are to be read through `SegmentationDataset.opened`.

    Raises:
        FileNotFoundError: as for `read_dataset`.
        ValueError: as for `read_dataset`, but for label maps that have to be made.
    """
    root = Path(path).expanduser().resolve()
    if is_list(root):
        look = Look(root.parent, root)
    elif root.is_dir():
        look = Look(root)
    else:
        raise FileNotFoundError(f"data set folder {root} does not exist")
    dataset = read_form(look, choices or Choices())
    if dataset is None:
        raise _no_dataset(look)
    if not any(dataset.splits.values()):
        also = "".join(f" ({text})" for text in dataset.remarks[:1])
        raise ValueError(
            f"data set {root} is empty: put cases into its images*/labels* folders or into dataset.json{also}"
        )
    if not look.says_that_patients_are_unknown:
        _name_patients(dataset)
    if check_files and dataset.maker is None:
        described = (root / DESCRIPTION).is_file()
        _check_files(dataset, look.file or (root / DESCRIPTION if described else root))
    return dataset


def read_labeled(
    path: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    choices: Choices | None = None,
) -> tuple[SegmentationDataset, list[str]]:
    """Read the cases of a data set of any form that have a label map; opens no image.

    Args:
        path: as for `read_source`.
        classes: as for `read_dataset`.
        choices: as for `read_source`; its classes are those given here.

    Returns:
        The data set with these cases in their splits, and what is left out, in words.

    Raises:
        FileNotFoundError: as for `read_dataset`.
        ValueError: as for `read_source`, and if there are no label maps, or one has no image.
    """
    dataset = read_source(path, replace(choices or Choices(), classes=classes))
    every = [case for members in dataset.splits.values() for case in members]
    splits = {split: [case for case in cases if case.label is not None] for split, cases in dataset.splits.items()}
    if alone := next((case for cases in splits.values() for case in cases if case.image is None), None):
        raise ValueError(f"{alone.label} has no image; add it, or leave the case out")
    if not any(splits.values()):
        raise ValueError(f"{path} holds no label maps; add them, or say which folder holds them (--labels)")
    left_out = list(dataset.remarks)
    if without := [case for case in every if case.label is None]:
        left_out.append(f"{len(without)} cases have no label map and are left out, such as {without[0].image}")
    return replace(dataset, splits={split: cases for split, cases in splits.items() if cases}), left_out


def describe(path: str | Path, choices: Choices | None = None) -> str:
    """Say in one line what a folder holds: its form, channels, cases by split, classes and patients.

    Args:
        path: as for `read_source`.
        choices: what decides where the folder alone does not.

    Raises:
        FileNotFoundError: if the folder is missing, or has no data set's form.
        ValueError: if it cannot be understood.
    """
    return in_words(read_source(path, choices, check_files=False))


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has a data set's form, sound or not; DICOM files alone are none."""
    return is_plain_form(path)


def _no_dataset(look: Look) -> NoDatasetError:
    """Say that a folder holds no data set, and where one is, if it is one folder further in."""
    inner = [name for name, folder in look.folders.items() if is_dataset(folder)]
    where = f"; its folder {inner[0]} does: give that one" if len(inner) == 1 else ""
    return NoDatasetError(
        f"{look.root} holds no data set: it has neither dataset.json nor folders named images*/labels* (images and "
        "labels, "
        "imagesTr and labelsTr, images and masks, ...), nor a folder for each patient with an image and a label "
        f"map{where}; "
        "check the path, or say which folders hold images and label maps (prepare IMAGES OUTPUT --labels LABELS), or "
        "how "
        "label maps are named (--label-name)"
    )


def _name_patients(dataset: SegmentationDataset) -> None:
    """Say whose the cases are where the data set does not: by a table beside them, else as far as names tell."""
    every = [case for members in dataset.splits.values() for case in members]
    if all(case.patient_known for case in every):
        return
    file = dataset.root / _PATIENTS
    named = None
    if file.is_file() and not any(case.patient_known for case in every):
        try:
            named = with_patients(every, file)
            dataset.form += f" with {_PATIENTS}"
        except ValueError as error:
            dataset.remarks = (*dataset.remarks, f"{file} is not used: {str(error).removeprefix(f'{file}: ')}")
    if named is None:  # a folder of several cases keeps them together
        by_name = [case.patient == default_patient(case.id) for case in every]
        guessed = iter(guess_patients([case for case, alone in zip(every, by_name, strict=True) if alone]))
        named = [next(guessed) if alone else case for case, alone in zip(every, by_name, strict=True)]
    rest = iter(named)
    dataset.splits = {split: [next(rest) for _ in members] for split, members in dataset.splits.items()}


def _check_files(dataset: SegmentationDataset, where: Path) -> None:
    for split, cases in dataset.splits.items():
        wanted = [key for key in ("image", "label") if any(getattr(case, key) for case in cases)]
        for case in cases:
            check_channel_files(case, dataset.channels)
            for key in (*wanted, "region"):
                file = getattr(case, key)
                if file is None and split != "test" and key != "region":
                    raise FileNotFoundError(
                        f"case {case.id!r} in split {split!r} of {where} has no {key}: add the missing {key} "
                        "file, or remove the case (check-data lists every such case)"
                    )
                if file is not None and not file.is_file():
                    raise FileNotFoundError(
                        f"{key} file {file} of case {case.id!r} is missing: restore it, or remove the case from "
                        f"{where} (check-data lists every such file)"
                    )

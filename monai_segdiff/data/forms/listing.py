"""Which forms of data there are, in the order in which a folder is held against them."""

from __future__ import annotations

import os
from pathlib import Path

from monai_segdiff.data.cases import SegmentationDataset
from monai_segdiff.data.description.dataset_json import DESCRIPTION
from monai_segdiff.data.forms.datalist import DATALIST
from monai_segdiff.data.forms.described import DESCRIBED
from monai_segdiff.data.forms.dicom import DICOM
from monai_segdiff.data.forms.folders import FOLDERS
from monai_segdiff.data.forms.form import Choices, Form, Look
from monai_segdiff.data.forms.nnunet import NNUNET
from monai_segdiff.data.forms.patient_folders import PATIENT_FOLDERS
from monai_segdiff.data.forms.split_folders import SPLIT_FOLDERS
from monai_segdiff.data.forms.totalsegmentator import TOTALSEGMENTATOR

__all__ = ["FORMS", "PLAIN_FORMS", "find_form", "is_list", "is_plain_form", "read_form"]

#: Forms whose images are files; what says most of itself comes first.
PLAIN_FORMS = (NNUNET, DESCRIBED, DATALIST, TOTALSEGMENTATOR, SPLIT_FOLDERS, FOLDERS, PATIENT_FOLDERS)
#: All forms. DICOM files lie anywhere and have any names, so they are looked for last.
FORMS = (*PLAIN_FORMS, DICOM)

_OPTIONS = {
    "image": "the name of the image (--image-name)",
    "label": "the name of the label map (--label-name)",
    "segments": "segments (--segments)",
    "precedence": "precedence (--precedence)",
}


def find_form(look: Look, choices: Choices | None = None, forms: tuple[Form, ...] = FORMS) -> Form | None:
    """The form that a folder has; None if it has none.

    Args:
        look: the folder.
        choices: what decides where it alone does not.
        forms: those that come into question.
    """
    if look.file is not None:
        return DATALIST
    return next((form for form in forms if form.holds(look, choices or Choices())), None)


def read_form(look: Look, choices: Choices) -> SegmentationDataset | None:
    """Read a folder in the form that it has; None if it has none. Opens no image.

    Args:
        look: the folder.
        choices: what decides where it alone does not.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if something cannot be understood, several things may be meant, or a choice has no effect.
    """
    form = find_form(look, choices)
    if form is None:
        return None
    idle = [text for key, text in _OPTIONS.items() if getattr(choices, key) and key not in form.takes]
    if choices.fold is not None and "fold" not in form.takes:
        idle.append("fold (--fold)")
    if idle:
        many = "have" if len(idle) > 1 else "has"
        raise ValueError(f"{' and '.join(idle)} {many} no effect on {look.root} ({form.name}); leave it out")
    return form.read(look, choices)


def is_plain_form(path: str | os.PathLike[str]) -> bool:
    """Whether a folder, or a list of cases, has one of the forms whose images are files, sound or not."""
    root = Path(path)
    if is_list(root):
        return True
    return root.is_dir() and find_form(Look(root), forms=PLAIN_FORMS) is not None


def is_list(path: Path) -> bool:
    """Whether a file is a list of cases by its name, rather than the description of the folder it lies in."""
    return path.suffix.lower() == ".json" and path.name != DESCRIPTION and path.is_file()

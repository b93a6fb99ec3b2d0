"""A folder for each subject with an image and a folder of masks, a file for each structure, as TotalSegmentator's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from monai_segdiff.data.case_files import case_name, image_files
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.dicom.labels import segment_names, vocabulary
from monai_segdiff.data.forms.file_groups import grouped
from monai_segdiff.data.forms.form import Choices, Form, Look, sub_folders
from monai_segdiff.data.forms.mask_files import MaskFiles
from monai_segdiff.data.forms.patient_folders import folders_by_split
from monai_segdiff.data.forms.words import MASK_WORDS, SPLIT_WORDS
from monai_segdiff.data.patients import alike
from monai_segdiff.documents import read_table

__all__ = ["TOTALSEGMENTATOR"]

_TABLE = "meta.csv"  # which subjects are held out
_SHOWN = 5


def _masks_of(subject: Path) -> Path | None:
    """The folder of a subject's masks, beside whose image it lies."""
    for folder in sub_folders(subject):
        if folder.name.casefold() in MASK_WORDS and image_files(folder) and image_files(subject):
            return folder
    return None


def _subjects(root: Path) -> dict[str, list[Path]]:
    """Folders of subjects by split."""
    if _masks_of(root) is not None:
        return {"training": [root]}
    found = {
        split: [folder for folder in folders if _masks_of(folder)] for split, folders in folders_by_split(root).items()
    }
    return {split: folders for split, folders in found.items() if folders}


def _holds(look: Look, choices: Choices) -> bool:
    try:
        if _masks_of(look.root) is not None:
            return True
        return any(_masks_of(folder) for folders in folders_by_split(look.root).values() for folder in folders)
    except ValueError:  # a folder that is named like an image, which whoever reads it names
        return False


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    splits = {split: [_case(folder, choices) for folder in folders] for split, folders in _subjects(look.root).items()}
    cases = [case for members in splits.values() for case in members]
    files = {case.label: [case_name(file) for file in image_files(case.label)] for case in cases if case.label}
    every = sorted({name for names in files.values() for name in names})
    names = segment_names(choices.parts, every)
    classes = choices.classes
    if classes is None:
        classes = {name: i for i, name in enumerate(choices.segments or every, start=1)}
    ids = {name: i for name, i in check_classes(classes).items() if isinstance(i, int)}
    if several := next((name for name in classes if name not in ids), None):
        raise ValueError(
            f"masks in files of their own have names, not ids: give {several!r} its files instead (--segments "
            f"{several}=NAME,NAME)"
        )
    vocabulary(every, ids, names, choices.drop_others, look.root)
    unsure = {name for group in alike(case.patient for case in cases) for name in group}
    owned = {split: [_owned(case, unsure) for case in members] for split, members in splits.items()}
    told, remark = _by_table(look.root, owned)
    return SegmentationDataset(
        root=look.root,
        name=look.root.name,
        classes=dict(ids),
        splits=told,
        form=f"folder for each subject with a folder of masks (TotalSegmentator), {len(every)} structures",
        maker=MaskFiles(ids, names, tuple(choices.precedence), choices.drop_others),
        remarks=(*remark, *_lacking(files, every)),
    )


def _case(subject: Path, choices: Choices) -> Case:
    groups, _ = grouped(subject, image_files(subject), choices)
    images = [file for group in groups for file in group.images.values()]
    if len(images) != 1 or groups[0].label is not None:
        shown = ", ".join(repr(file.name) for file in image_files(subject))
        raise ValueError(
            f"{subject} holds {shown} beside its folder of masks, and which is the image is unknown: name it "
            "(--image-name NAME), or move the others away"
        )
    return Case(subject.name, images[0], _masks_of(subject), subject.name)


def _owned(case: Case, unsure: set[str]) -> Case:
    return Case(case.id, case.image, case.label, case.patient, patient_known=case.patient not in unsure)


def _lacking(files: Mapping[Path, list[str]], every: list[str]) -> Iterable[str]:
    """Say which subjects have no file for a structure that others have one for."""
    short = {folder: len(every) - len(names) for folder, names in files.items() if len(names) < len(every)}
    if short:
        folder = next(iter(short))
        absent = [name for name in every if name not in files[folder]]
        listed = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        yield (
            f"{len(short)} subjects have no mask for some of the {len(every)} structures, such as {folder} for {listed}, "
            "which then count as absent in them; add the masks where that is wrong"
        )


def _by_table(root: Path, splits: dict[str, list[Case]]) -> tuple[dict[str, list[Case]], list[str]]:
    """The cases by the split that the table beside them tells, where it tells one for each."""
    file = root / _TABLE
    if not file.is_file() or list(splits) != ["training"]:
        return splits, []
    try:
        table = read_table(file, "a table of subjects (CSV)")
        if not {"image_id", "split"} <= {*table.columns}:
            return splits, []
        told = {row["image_id"]: SPLIT_WORDS.get(row["split"].casefold()) for _, row in table}
    except ValueError as error:
        return splits, [f"the split of {file} is not used: {error}"]
    cases = splits["training"]
    if unknown := [case.id for case in cases if told.get(case.id) is None]:
        return splits, [f"the split of {file} is not used: it has none for {unknown[0]!r}; add a line for each subject"]
    found = {split: [case for case in cases if told[case.id] == split] for split in ("training", "validation", "test")}
    return {split: members for split, members in found.items() if members}, [
        f"the split is that of {file}; remove it if it is wrong"
    ]


TOTALSEGMENTATOR = Form(
    "folder for each subject with a folder of masks", _holds, _read, frozenset({"image", "segments", "precedence"})
)

"""A folder for each patient, with an image, or a file for each of its channels, and a label map in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai_segdiff.data.case_files import case_name, default_patient, file_extension, image_files
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.forms.file_groups import Group, grouped
from monai_segdiff.data.forms.form import Choices, Form, Look, sub_folders
from monai_segdiff.data.forms.split_folders import split_folders
from monai_segdiff.data.forms.words import tokens
from monai_segdiff.data.patients import alike

__all__ = ["PATIENT_FOLDERS", "folders_by_split"]

_DEEPEST = 3  # folders below a patient's: visits, series
_SHOWN = 5


def folders_by_split(root: Path) -> dict[str, list[Path]]:
    """Folders of patients by split, which is training where nothing says it.

    Args:
        root: folder that holds them, or folders named as splits that do.
    """
    by_split = split_folders(root)
    if not by_split:
        return {"training": sub_folders(root)}
    return {
        split: [patient for folder in folders for patient in sub_folders(folder)] for split, folders in by_split.items()
    }


def _places(folder: Path, depth: int = _DEEPEST) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and those in it that hold image files, with these."""
    if files := image_files(folder):
        yield folder, files
    if depth:
        for inner in sub_folders(folder):
            yield from _places(inner, depth - 1)


def _pairs_in(folder: Path, files: list[Path], choices: Choices, flat: bool = False) -> bool:
    """Whether there is an image with a label map, or several candidates for them.

    A folder of nothing but files is one of patients' only if their names leave no doubt: it may be one of label maps.
    """
    try:
        groups, _ = grouped(folder, files, choices)
    except ValueError:
        return not flat
    pairs = [group for group in groups if group.label is not None and group.images]
    if flat:
        pairs = [pair for pair in pairs if not pair.key or _label_has(pair)]
    return bool(pairs)


def _label_has(group: Group) -> bool:
    assert group.label is not None
    return {*group.key} <= {*tokens(case_name(group.label))}


def _holds(look: Look, choices: Choices) -> bool:
    try:
        if _pairs_in(look.root, image_files(look.root), choices, flat=True):
            return True
        patients = (patient for found in folders_by_split(look.root).values() for patient in found)
        return any(_pairs_in(*place, choices) for patient in patients for place in _places(patient))
    except ValueError:  # a folder named like an image, which is named where it is read
        return False


@dataclass
class _Gathering:
    """Cases as they are found, with the names of the channels that any of them has.

    Args:
        choices: which files are meant.
        groups: cases, with the files of their channels.
        left_out: files that belong to none.
    """

    choices: Choices
    groups: list[tuple[str, Case, Group]] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    def add(self, split: str, folder: Path, files: list[Path], patient: Path | None) -> None:
        """Take the files of a folder; without a patient's, each case is named after its image."""
        found, left_out = grouped(folder, files, self.choices)
        self.left_out += left_out
        for group in found:
            image = next(iter(group.images.values()), None)
            file = image or group.label
            assert file is not None
            if patient is None:
                name = folder.name if len(found) == 1 else case_name(file)
                case = Case(name, image, group.label, default_patient(name), patient_known=False)
            else:
                parts = [*folder.relative_to(patient.parent).parts, *(group.key if len(found) > 1 else ())]
                case = Case("_".join(parts), image, group.label, patient.name)
            self.groups.append((split, case, group))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels; none where every image has one."""
        if all(len(group.images) < 2 for _, _, group in self.groups):
            return ()
        every = [name for _, _, group in self.groups for name in group.images]
        if self.choices.image:
            return tuple(dict.fromkeys(every))
        return tuple(sorted(set(every)))

    def splits(self) -> dict[str, list[Case]]:
        """The cases, by split."""
        names, splits = self.channels, dict[str, list[Case]]()
        for split, case, group in self.groups:
            if names and group.images:
                files = tuple(group.images.get(name) or _missing(group, name) for name in names)
                case = replace(case, image=files[0], channel_files=files)
            splits.setdefault(split, []).append(case)
        return {split: splits[split] for split in ("training", "validation", "test") if split in splits}


def _missing(group: Group, channel: str) -> Path:
    """Where the file of a channel should be, by the name of one that is there."""
    known, file = next(iter(group.images.items()))
    stem = case_name(file)
    at = stem.casefold().rfind(known) if known else -1
    stem = stem[:at] + channel + stem[at + len(known) :] if at >= 0 else channel
    return file.with_name(f"{stem}{file_extension(file)}")


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    root = look.root
    found = _Gathering(choices)
    flat = image_files(root)
    alone = bool(flat) and _pairs_in(root, flat, choices, flat=True)
    if alone:
        found.add("training", root, flat, None)
    else:
        for split, patients in folders_by_split(root).items():
            for patient in patients:
                for folder, files in _places(patient):
                    found.add(split, folder, files, patient)
    splits = found.splits()
    if not alone:
        splits = _with_doubt(splits)
    form = "folder of images with their label maps" if alone else "folder for each patient"
    classes = {} if choices.classes is None else check_classes(choices.classes)
    return SegmentationDataset(
        root, root.name, classes, splits, form=form, channels=found.channels, remarks=_remarks(root, found.left_out)
    )


def _with_doubt(splits: dict[str, list[Case]]) -> dict[str, list[Case]]:
    """The cases, with patients unknown where folders are named like several exams of one patient."""
    unsure = {name for group in alike(case.patient for cases in splits.values() for case in cases) for name in group}
    return {
        split: [replace(case, patient_known=case.patient not in unsure) for case in cases]
        for split, cases in splits.items()
    }


def _remarks(root: Path, left_out: list[Path]) -> tuple[str, ...]:
    if not left_out:
        return ()
    shown = ", ".join(str(file.relative_to(root)) for file in left_out[:_SHOWN])
    more = ", ..." if len(left_out) > _SHOWN else ""
    return (
        f"{len(left_out)} files in {root} are not read: {shown}{more}; name those that are meant (--image-name, --label-name)",
    )


PATIENT_FOLDERS = Form("folder for each patient", _holds, _read, frozenset({"image", "label"}))

"""`dataset.json`: what a data set says of itself and of the files of its cases, in the layouts that people have."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from monai_segdiff.data.case_files import case_name, default_patient, file_extension, with_channels
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes, check_parents, named_ids
from monai_segdiff.data.description.covariates import case_covariates_of, covariates_of
from monai_segdiff.data.description.entries import (
    channels_of,
    classes_of,
    dims_of,
    modality_of,
    names_of,
    parents_of,
    range_of,
    region_parents,
    settings_of,
    text_of,
)
from monai_segdiff.digests import DIGESTS
from monai_segdiff.documents import read_json
from monai_segdiff.files import atomic_file

__all__ = [
    "DESCRIPTION",
    "SPLITS",
    "Description",
    "load_description",
    "read_cases",
    "read_description",
    "read_list_of_cases",
    "write_dataset",
]

DESCRIPTION = "dataset.json"
SPLITS = ("training", "validation", "test")
_FILES = ("label", "region")
_KIND = "the description of a data set (JSON)"
_REMEDY = "correct it, or restore it from its source"


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says.

    Args:
        dataset: the data set; without cases where the file lists none, as nnU-Net's do.
        lists_cases: whether it lists cases.
        channel_endings: whether image files end in their channel (`_0000`), as nnU-Net's do.
        patients_known: False where it says that the patients that it names are nothing but names of files.
    """

    dataset: SegmentationDataset
    lists_cases: bool
    channel_endings: bool
    patients_known: bool


def load_description(root: Path) -> Any:
    """What `dataset.json` holds, not yet understood.

    Args:
        root: its folder.

    Raises:
        ValueError: if it is no sound JSON; names the file.
    """
    return read_json(root / DESCRIPTION, _KIND, remedy=_REMEDY)


def read_list_of_cases(file: Path) -> dict[str, Any]:
    """What a list of cases holds, not yet understood: lists by split; a bare list is one of training cases.

    Args:
        file: the JSON file.

    Raises:
        ValueError: if it is no sound JSON, or no list; names the file.
    """
    content = read_json(file, "a list of cases (JSON)", remedy=_REMEDY)
    if isinstance(content, list):
        return {"training": content}
    if not isinstance(content, dict):
        raise ValueError(f'cannot understand {file}: it is no object; it must be like {{"training": [...]}}')
    return content


def read_description(
    root: Path, classes: Mapping[str, int | Sequence[int]] | None = None, content: Any = None
) -> Description:
    """Understand `dataset.json` of the Medical Segmentation Decathlon or of nnU-Net (versions 1 and 2); opens no image.

    Args:
        root: its folder.
        classes: class name to label id or ids, in place of the file's own, which are then not looked at.
        content: what `load_description` gave; read by default.

    Raises:
        ValueError: if it is no sound JSON, or an entry cannot be understood; names the file, the entry and the remedy.
    """
    content = load_description(root) if content is None else content
    try:
        if not isinstance(content, dict):
            raise ValueError('it is no object; it must be like {"labels": {"1": "liver"}, "training": [...]}')
        return _description(root, content, classes)
    except ValueError as error:
        raise ValueError(f"cannot understand {root / DESCRIPTION}: {error}") from error


def read_cases(
    entries: Any,
    root: Path,
    split: str,
    patients_known: bool = True,
    covariates: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Case]:
    """Cases from their entries.

    Args:
        entries: objects with `image`, `label`, `patient`, `findings`, `region`; or images' paths.
        root: folder that paths are relative to.
        split: name of the list, for messages.
        patients_known: whether the patients that are named are more than the files' names.
        covariates: definitions of the covariates; None for none.

    Raises:
        ValueError: if an entry cannot be understood; says which.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{split!r} must be a list of cases, got {str(entries)[:80]!r}")
    return [
        _case(entry, root, f"entry {number} of {split!r}", patients_known, covariates or {})
        for number, entry in enumerate(entries, 1)
    ]


def write_dataset(root: str | Path, dataset: SegmentationDataset) -> Path:
    """Write `dataset.json` into a folder, with paths relative to it, and return its path.

    A list of what the folder's files hold (`SHA256SUMS`) goes, as it is no longer true.

    Raises:
        OSError: if it cannot be written.
    """
    root = Path(root).expanduser().resolve()
    cases = [case for members in dataset.splits.values() for case in members]
    training, test = (len(dataset.splits.get(split, [])) for split in ("training", "test"))
    content: dict[str, Any] = {
        "name": dataset.name,
        "modality": {"0": dataset.modality} if dataset.modality else None,
        "licence": dataset.licence or None,
        "attribution": dataset.attribution or None,
        "tensorImageSize": f"{dataset.spatial_dims}D" if dataset.spatial_dims else None,
        "spatial_dims": dataset.spatial_dims,
        "channels": list(dataset.channels) or None,
        "intensity_range": list(dataset.intensity_range) if dataset.intensity_range else None,
        "split": dataset.split_kind,
        "patients_known": None if all(case.patient_known for case in cases) else False,
        "labels": {"0": "background", **{str(i): name for name, i in named_ids(dataset.classes)}},
        "parents": dataset.parents or None,
        "findings": list(dataset.findings) or None,
        "covariates": dataset.covariates or None,
        "settings": dataset.settings or None,
        "numTraining": training,
        "numTest": test,
        **{split: [_entry(case, root) for case in cases] for split, cases in dataset.splits.items()},
    }
    (root / DIGESTS).unlink(missing_ok=True)
    with atomic_file(root / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps({k: v for k, v in content.items() if v is not None}, indent=1) + "\n")
    return root / DESCRIPTION


def _entry(case: Case, root: Path) -> dict[str, Any]:
    paths = {"image": case.image, "label": case.label, "region": case.region}
    entry: dict[str, Any] = {key: _relative(path, root) for key, path in paths.items() if path is not None}
    if case.channel_files:
        entry["image"] = [_relative(path, root) for path in case.channel_files]
    entry["patient"] = case.patient
    if case.findings is not None:
        entry["findings"] = list(case.findings)
    if case.covariates:
        entry["covariates"] = dict(case.covariates)
    return entry


def _relative(path: Path, root: Path) -> str:
    return "./" + os.path.relpath(path, root).replace(os.sep, "/")


def _description(
    root: Path, content: Mapping[str, Any], classes: Mapping[str, int | Sequence[int]] | None
) -> Description:
    listed = {split: content[split] for split in SPLITS if content.get(split) is not None} or _by_name(content)
    known = content.get("patients_known", True)
    if not isinstance(known, bool):
        raise ValueError(f"'patients_known' must be true or false, got {known!r}")
    vocabulary = check_classes(classes) if classes is not None else classes_of(content.get("labels"))
    parents = parents_of(content.get("parents"))
    if classes is None:
        parents = parents or region_parents(content.get("labels"))
        check_parents(parents, list(vocabulary), "'parents'")
    channels, covariates = channels_of(content), covariates_of(content)
    dataset = SegmentationDataset(
        root=root,
        name=text_of(content, "name") or root.name,
        classes=vocabulary,
        splits={
            split: cases for split in listed if (cases := read_cases(listed[split], root, split, known, covariates))
        },
        intensity_range=range_of(content.get("intensity_range"), len(channels) or 1),
        spatial_dims=dims_of(content.get("spatial_dims")),
        split_kind=text_of(content, "split") or None,
        modality=modality_of(content),
        licence=text_of(content, "licence"),
        attribution=text_of(content, "attribution" if "attribution" in content else "reference"),
        settings=settings_of(content.get("settings")),
        parents=parents,
        findings=names_of(content.get("findings")) or (),
        channels=channels,
        covariates=covariates,
    )
    return Description(dataset, bool(listed), "channel_names" in content or "file_ending" in content, known)


def _by_name(content: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Entries of `dataset`, where nnU-Net's second version names the files of its training cases."""
    named = content.get("dataset")
    if named is None or isinstance(named, str):  # a text is the data set's title
        return {}
    if not isinstance(named, dict) or not all(isinstance(entry, dict) for entry in named.values()):
        raise ValueError(f"'dataset' must map names of cases to their images and label, got {str(named)[:80]!r}")
    return {"training": [{"image": entry.get("images"), **entry} for entry in named.values()]}


def _case(entry: Any, root: Path, what: str, patients_known: bool, covariates: Mapping[str, Mapping[str, Any]]) -> Case:
    """A case from its entry: an object with `image`, `label`, `patient` and more that is known; or an image's path.

    Args:
        entry: the entry.
        root: folder that its paths are relative to.
        what: which entry it is, for messages.
        patients_known: whether the patients that are named are more than the files' names.
        covariates: definitions of the covariates.

    Raises:
        ValueError: if it is neither, or a part of it is of another kind; says which entry.
    """
    if isinstance(entry, str):
        entry = {"image": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must be an object with image and label, got {str(entry)[:80]!r}")
    try:
        files = {key: _file(root, entry.get(key), key) for key in _FILES}
        images = _images(root, entry.get("image"))
        image = images[0] if images else None
        first = files["label"] or image
        if first is None:
            raise ValueError(f"it has neither image nor label: {str(entry)[:80]}")
        patient = text_of(entry, "patient")
        if entry.get("patient") is not None and not patient.strip():
            raise ValueError("its patient is blank; leave it out where it is not known")
        findings = names_of(entry.get("findings"))
        told = case_covariates_of(entry, covariates)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    name = case_name(first)
    known = bool(patient) and patients_known
    owner = patient or default_patient(name)
    several = tuple(images) if len(images) > 1 else ()
    return Case(name, image, files["label"], owner, findings, files["region"], known, several, told)


def _images(root: Path, paths: Any) -> list[Path]:
    """Absolute paths of the image of a case, or of its channels."""
    several = isinstance(paths, list) and len(paths) > 1
    files = [_file(root, path, "image") for path in (paths if several else [paths])]
    if several and None in files:
        raise ValueError(f"its image has a channel without a file: {str(paths)[:80]}")
    found = [file for file in files if file is not None]
    return found if several or not found or found[0].is_file() else _with_channels(found[0])


def _file(root: Path, path: Any, key: str) -> Path | None:
    """Absolute path of a file of a case."""
    if isinstance(path, list) and len(path) == 1:
        path = path[0]
    if path is None or path == "":
        return None
    if isinstance(path, list):
        raise ValueError(f"its {key} is in {len(path)} files: name one of them")
    if not isinstance(path, str) or not path.isprintable():
        raise ValueError(f"its {key} must be the path of a file, got {str(path)[:80]!r}")
    try:
        given = Path(os.path.abspath(os.path.join(root, path)))
        if "\\" in path and not given.is_file():  # as Windows writes it
            given = _absolute(root / path.replace("\\", "/"))
        given.is_file()
        return given
    except (OSError, RuntimeError) as error:  # a name that is too long, links that go round
        raise ValueError(f"its {key} cannot be looked for: {error}") from error


def _with_channels(image: Path) -> list[Path]:
    """The files that are there under the name with its channels, `_0000`, as nnU-Net's first version has them."""
    extension = file_extension(image)
    stem = image.name[: len(image.name) - len(extension)]
    found = sorted(image.parent.glob(f"{escape(stem)}_[0-9][0-9][0-9][0-9]{escape(image.name[len(stem) :])}"))
    by_number = {int(case_name(file)[-4:]): _absolute(file) for file in found}
    return list(with_channels(by_number, max(by_number) + 1) or by_number.values()) if by_number else [image]


def _absolute(path: Path) -> Path:
    """The path without `..`; links stay, as what they lead to may have another name (a hash, in an archive of data)."""
    return Path(os.path.abspath(path))

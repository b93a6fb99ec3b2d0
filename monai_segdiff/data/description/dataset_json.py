"""`dataset.json`: what a data set says of itself, every entry checked, in the layouts that people have."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes, check_parents, named_ids
from monai_segdiff.data.description.entries import case_of, names_of, text_of
from monai_segdiff.digests import DIGESTS
from monai_segdiff.documents import read_json
from monai_segdiff.files import atomic_file

__all__ = ["DESCRIPTION", "SPLITS", "Description", "read_description", "write_dataset"]

DESCRIPTION = "dataset.json"
SPLITS = ("training", "validation", "test")


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


def read_description(root: Path, classes: Mapping[str, int | Sequence[int]] | None = None) -> Description:
    """Read `dataset.json` of the Medical Segmentation Decathlon or of nnU-Net (versions 1 and 2); opens no image.

    Args:
        root: its folder.
        classes: class name to label id or ids, in place of the file's own, which are then not looked at.

    Raises:
        ValueError: if it is no sound JSON, or an entry cannot be understood; names the file, the entry and the remedy.
    """
    file = root / DESCRIPTION
    content = read_json(
        file, "the description of a data set (JSON)", remedy="correct it, or restore it from its source"
    )
    try:
        if not isinstance(content, dict):
            raise ValueError('it is no object; it must be like {"labels": {"1": "liver"}, "training": [...]}')
        return _description(root, content, classes)
    except ValueError as error:
        raise ValueError(f"cannot understand {file}: {error}") from error


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
        "intensity_range": list(dataset.intensity_range) if dataset.intensity_range else None,
        "split": dataset.split_kind,
        "patients_known": None if all(case.patient_known for case in cases) else False,
        "labels": {"0": "background", **{str(i): name for name, i in named_ids(dataset.classes)}},
        "parents": dataset.parents or None,
        "findings": list(dataset.findings) or None,
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
    relative = {key: os.path.relpath(path, root) for key, path in paths.items() if path is not None}
    entry: dict[str, Any] = {key: "./" + path.replace(os.sep, "/") for key, path in relative.items()}
    entry["patient"] = case.patient
    if case.findings is not None:
        entry["findings"] = list(case.findings)
    return entry


def _description(
    root: Path, content: Mapping[str, Any], classes: Mapping[str, int | Sequence[int]] | None
) -> Description:
    listed = [split for split in SPLITS if content.get(split) is not None]
    known = content.get("patients_known", True)
    if not isinstance(known, bool):
        raise ValueError(f"'patients_known' must be true or false, got {known!r}")
    vocabulary = check_classes(classes) if classes is not None else _classes(content.get("labels"))
    parents = _parents(content.get("parents"))
    if classes is None:
        check_parents(parents, list(vocabulary), "'parents'")
    dataset = SegmentationDataset(
        root=root,
        name=text_of(content, "name") or root.name,
        classes=vocabulary,
        splits={split: cases for split in listed if (cases := _cases(content[split], root, split, known))},
        intensity_range=_intensity_range(content.get("intensity_range")),
        spatial_dims=_spatial_dims(content.get("spatial_dims")),
        split_kind=text_of(content, "split") or None,
        modality=_modality(content),
        licence=text_of(content, "licence"),
        attribution=text_of(content, "attribution" if "attribution" in content else "reference"),
        settings=_settings(content.get("settings")),
        parents=parents,
        findings=names_of(content.get("findings")) or (),
    )
    return Description(dataset, bool(listed), "channel_names" in content or "file_ending" in content, known)


def _cases(entries: Any, root: Path, split: str, patients_known: bool) -> list[Case]:
    if not isinstance(entries, list):
        raise ValueError(f"{split!r} must be a list of cases, got {str(entries)[:80]!r}")
    return [
        case_of(entry, root, f"entry {number} of {split!r}", patients_known) for number, entry in enumerate(entries, 1)
    ]


def _classes(labels: Any) -> dict[str, int | list[int]]:
    """Classes from `labels`: id to name, as the Decathlon has them, or name to id or ids, as nnU-Net has them."""
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise ValueError(f'\'labels\' must map ids to names, like {{"1": "liver"}}, got {str(labels)[:80]!r}')
    by_name = bool(labels) and all(isinstance(i, int | list) and not isinstance(i, bool) for i in labels.values())
    pairs: list[tuple[str, int]] = []
    for key, value in labels.items():
        if by_name:
            pairs.extend((key, i) for i in (value if isinstance(value, list) else [value]))
        elif key.strip().isascii() and key.strip().isdigit() and isinstance(value, str):
            pairs.append((value, int(key) if len(key) < 20 else -1))
        else:
            raise ValueError(f"'labels' must map ids to names, or all names to ids; got {key!r}: {str(value)[:80]!r}")
    if not all(isinstance(i, int) and not isinstance(i, bool) for _, i in pairs):
        raise ValueError(f"'labels' must map names to ids that are whole numbers, got {str(labels)[:80]}")
    _check_regions(pairs)
    pairs = sorted((pair for pair in pairs if pair[1] != 0), key=lambda pair: pair[1])
    if ignored := next((pair for pair in pairs if pair[0].casefold() == "ignore"), None):
        raise ValueError(
            f"'labels' name {ignored[0]!r} (id {ignored[1]}), voxels that a training is to leave out, and there is no "
            "such thing here: give the other classes (--classes), and make these voxels background (prepare "
            "--drop-other-labels), or correct the label maps"
        )
    grouped: dict[str, list[int]] = {}
    for name, i in pairs:
        grouped.setdefault(name, []).append(i)
    return check_classes({name: ids[0] if len(ids) == 1 else ids for name, ids in grouped.items()}, "'labels'")


def _check_regions(pairs: Iterable[tuple[str, int]]) -> None:
    """Refuse nnU-Net's regions that overlap, such as a whole tumor and its core."""
    owners: dict[int, list[str]] = {}
    for name, i in pairs:
        owners.setdefault(i, []).append(name)
    shared = {i: names for i, names in owners.items() if len(set(names)) > 1}
    if shared:
        i, names = next(iter(shared.items()))
        raise ValueError(
            f"'labels' give the id {i} to {' and '.join(map(repr, names[:2]))}, and here a voxel is of one class: say "
            "what each id is (--classes NAME=ID)"
        )


def _parents(parents: Any) -> dict[str, str]:
    if parents is None:
        return {}
    if not isinstance(parents, dict) or not all(isinstance(name, str) for name in parents.values()):
        raise ValueError(f"'parents' must map class names to class names, got {str(parents)[:80]!r}")
    return dict(parents)


def _intensity_range(limits: Any) -> tuple[float, float] | None:
    if limits is None:
        return None
    numbers = isinstance(limits, list) and all(isinstance(i, int | float) and not isinstance(i, bool) for i in limits)
    if not numbers or len(limits) != 2 or not all(map(_is_finite, limits)) or not limits[0] < limits[1]:
        raise ValueError(f"'intensity_range' must be two numbers, the lower one first, got {str(limits)[:80]}")
    return float(limits[0]), float(limits[1])


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def _spatial_dims(dims: Any) -> int | None:
    if dims is None or (dims in (2, 3) and isinstance(dims, int)):
        return dims
    raise ValueError(f"'spatial_dims' must be 2 or 3, got {str(dims)[:80]!r}")


def _modality(content: Mapping[str, Any]) -> str:
    """The first of the channels, which the Decathlon calls modality."""
    found = content.get("modality", content.get("channel_names"))
    if isinstance(found, dict):
        found = next(iter(found.values()), "")
    return found if isinstance(found, str) else ""


def _settings(settings: Any) -> dict[str, Any]:
    if settings is None or isinstance(settings, dict):
        return settings or {}
    raise ValueError(f"'settings' must be an object, got {str(settings)[:80]!r}")

"""Data sets on disk: the Medical Segmentation Decathlon's `dataset.json`, or plain `images*`/`labels*` folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.digests import DIGESTS
from monai_segdiff.files import atomic_file

__all__ = [
    "Case",
    "SegmentationDataset",
    "case_name",
    "default_patient",
    "file_extension",
    "list_images",
    "read_dataset",
    "write_dataset",
]

SPLITS = ("training", "validation", "test")
_SUFFIXES = {"": "training", "Tr": "training", "Val": "validation", "Ts": "test"}
_EXTENSIONS = (".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".nrrd", ".mha")
_SLICE = re.compile(r"[_-](?:slice|sl|z)[_-]?\d+$", re.IGNORECASE)


def file_extension(path: str | Path) -> str:
    """Extension in lower case, .nii.gz in one piece."""
    name = Path(path).name.lower()
    return next((extension for extension in _EXTENSIONS if name.endswith(extension)), Path(name).suffix)


def case_name(path: str | Path) -> str:
    """File name without its extension."""
    name = Path(path).name
    return name[: len(name) - len(file_extension(name))]


def default_patient(case: str) -> str:
    """Patient that a case belongs to when nothing says so: its name without a slice ending such as `_slice012`."""
    return _SLICE.sub("", case)


def read_dataset(
    path: str | Path, classes: Mapping[str, int] | None = None, *, check_files: bool = True
) -> SegmentationDataset:
    """Read a data set's description; opens no image.

    Args:
        path: folder with `dataset.json` (entries `{"image", "label", "patient"}`, and `findings`, a list of names, and
            `region`, a path, where they are known; or bare image paths under `test`), or with `images`/`labels`,
            `imagesTr`/`labelsTr`, `imagesVal`/`labelsVal`, `imagesTs`/`labelsTs`.
        classes: class name to label id, where the folder does not say or another naming is wanted.
        check_files: whether every file must exist and every image have its label map.

    Raises:
        FileNotFoundError: if the folder or a file is missing, or the folder has no data set's layout.
        ValueError: if `dataset.json` cannot be understood, or the data set is empty.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"data set folder {root} does not exist")
    if (root / "dataset.json").is_file():
        dataset = _read_json(root)
    else:
        dataset = SegmentationDataset(root, root.name, {}, _read_folders(root))
    if classes is not None:
        dataset.classes = dict(classes)
    if not any(dataset.splits.values()):
        raise ValueError(f"data set {root} is empty: put cases into its images*/labels* folders or into dataset.json")
    if check_files:
        _check_files(dataset)
    return dataset


def write_dataset(root: str | Path, dataset: SegmentationDataset) -> Path:
    """Write `dataset.json` into a folder, with paths relative to it, and return its path.

    A list of what the folder's files hold (`SHA256SUMS`) goes, as it is no longer true.

    Raises:
        OSError: if it cannot be written.
    """
    root = Path(root).expanduser().resolve()
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
        "labels": {"0": "background", **{str(i): name for name, i in _ids(dataset.classes)}},
        "parents": dataset.parents or None,
        "findings": list(dataset.findings) or None,
        "settings": dataset.settings or None,
        "numTraining": training,
        "numTest": test,
        **{split: [_entry(case, root) for case in cases] for split, cases in dataset.splits.items()},
    }
    (root / DIGESTS).unlink(missing_ok=True)
    with atomic_file(root / "dataset.json") as temporary:
        temporary.write_text(json.dumps({k: v for k, v in content.items() if v is not None}, indent=1) + "\n")
    return root / "dataset.json"


def _entry(case: Case, root: Path) -> dict[str, Any]:
    paths = {"image": case.image, "label": case.label, "region": case.region}
    entry: dict[str, Any] = {k: "./" + os.path.relpath(path, root) for k, path in paths.items() if path is not None}
    entry["patient"] = case.patient
    if case.findings is not None:
        entry["findings"] = list(case.findings)
    return entry


def _read_json(root: Path) -> SegmentationDataset:
    file = root / "dataset.json"
    try:
        content = json.loads(file.read_text())
        if not isinstance(content, dict):
            raise TypeError("not a JSON object")
        # MSD maps id to name; the reverse is common too and cannot be confused with it.
        labels = content.get("labels", {})
        ids = labels.items() if _is_reversed(labels) else [(name, int(i)) for i, name in labels.items()]
        limits = content.get("intensity_range")
        return SegmentationDataset(
            root=root,
            name=str(content.get("name", root.name)),
            classes=_classes(sorted((pair for pair in ids if pair[1] != 0), key=lambda pair: pair[1])),
            splits={split: [_case(e, root, split) for e in content[split]] for split in SPLITS if content.get(split)},
            intensity_range=(float(limits[0]), float(limits[1])) if limits else None,
            spatial_dims=content.get("spatial_dims"),
            split_kind=content.get("split"),
            modality=str(next(iter(content.get("modality", {}).values()), "")),
            licence=str(content.get("licence", "")),
            attribution=str(content.get("attribution", content.get("reference", ""))),
            settings=content.get("settings", {}),
            parents={str(child): str(parent) for child, parent in content.get("parents", {}).items()},
            findings=_names(content.get("findings")) or (),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f'cannot understand {file}: {error}; expected {{"labels": {{"1": "liver"}}, '
            '"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}'
        ) from error


def _ids(classes: Mapping[str, int | Sequence[int]]) -> list[tuple[str, int]]:
    """Every class name with each of its ids."""
    return [(name, i) for name, ids in classes.items() for i in ([ids] if isinstance(ids, int) else ids)]


def _classes(pairs: Iterable[tuple[str, int]]) -> dict[str, int | list[int]]:
    """The reverse of `_ids`: a name that occurs more than once has several ids."""
    grouped: dict[str, list[int]] = {}
    for name, i in pairs:
        grouped.setdefault(name, []).append(i)
    return {name: ids[0] if len(ids) == 1 else ids for name, ids in grouped.items()}


def _is_reversed(labels: Mapping[str, Any]) -> bool:
    return bool(labels) and all(isinstance(value, int) for value in labels.values())


def _case(entry: Any, root: Path, split: str) -> Case:
    if isinstance(entry, str):
        entry = {"image": entry}
    files = {key: (root / entry[key]).resolve() if entry.get(key) else None for key in ("image", "label", "region")}
    first = files["label"] or files["image"]
    if first is None:
        raise ValueError(f"an entry of {split!r} has neither image nor label: {entry}")
    name = case_name(first)
    patient = str(entry.get("patient", default_patient(name)))
    return Case(name, files["image"], files["label"], patient, _names(entry.get("findings")), files["region"])


def _names(listed: Any) -> tuple[str, ...] | None:
    """Names of findings; None where nothing is said."""
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"findings must be a list of names, got {listed!r}")
    return tuple(listed)


def _read_folders(root: Path) -> dict[str, list[Case]]:
    splits: dict[str, list[Case]] = {}
    found = False
    for suffix, split in _SUFFIXES.items():
        images, labels = (root / f"{kind}{suffix}" for kind in ("images", "labels"))
        if not (images.is_dir() or labels.is_dir()):
            continue
        found = True
        by_image, by_label = list_images(images), list_images(labels)
        # A file of a multi-channel layout ends in its channel, _0000; its label map does not.
        by_image = {name.removesuffix("_0000") if name not in by_label else name: p for name, p in by_image.items()}
        for name in sorted(by_image.keys() | by_label.keys()):
            case = Case(name, by_image.get(name), by_label.get(name), default_patient(name))
            splits.setdefault(split, []).append(case)
    if not found:
        raise FileNotFoundError(
            f"{root} holds no data set: it has neither dataset.json nor folders named images*/labels* "
            "(images and labels, imagesTr and labelsTr, ...); check the path, or convert it with the prepare command"
        )
    return splits


def list_images(folder: Path) -> dict[str, Path]:
    """Image files of a folder by case name; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    files = (p for p in folder.iterdir() if p.name.lower().endswith(_EXTENSIONS) and not p.name.startswith("."))
    return {case_name(p): p for p in sorted(files)}


def _check_files(dataset: SegmentationDataset) -> None:
    for split, cases in dataset.splits.items():
        wanted = [key for key in ("image", "label") if any(getattr(case, key) for case in cases)]
        for case in cases:
            for key in (*wanted, "region"):
                file = getattr(case, key)
                if file is None and split != "test" and key != "region":
                    raise FileNotFoundError(
                        f"case {case.id!r} in split {split!r} of {dataset.root} has no {key}: add the missing {key} "
                        "file, or remove the case (check-data lists every such case)"
                    )
                if file is not None and not file.is_file():
                    raise FileNotFoundError(
                        f"{key} file {file} of case {case.id!r} is missing: restore it, or remove the case from "
                        f"{dataset.root} (check-data lists every such file)"
                    )

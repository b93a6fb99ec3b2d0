"""Data sets on disk: the Medical Segmentation Decathlon's `dataset.json`, or plain `images*`/`labels*` folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_segdiff.data.atomic import atomic_file

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


@dataclass(frozen=True)
class Case:
    """One image and its label map.

    Args:
        id: name, unique in its split.
        image: absolute path of the image, or None where there are label maps only.
        label: absolute path of the label map, or None (a test case without annotation).
        patient: whose image it is; splits never cut through a patient.
    """

    id: str
    image: Path | None
    label: Path | None
    patient: str


@dataclass
class SegmentationDataset:
    """A data set: where it is, what its labels mean, and its cases by split.

    Args:
        root: folder.
        name: title.
        classes: class name to label id or ids, background (0) left out; empty if the folder does not say.
        splits: split name ("training", "validation", "test") to cases.
        intensity_range: lowest and highest intensity that matters (e.g. HU), or None.
        spatial_dims: 2 or 3, or None if unknown.
        split_kind: "by patient", "within one patient", or None if unknown.
        modality: e.g. "CT".
        licence: terms of use.
        attribution: whom to credit.
        settings: what the data set was made with.
        parents: class name to the name of the class that encloses it; classes lie in the background otherwise.
    """

    root: Path
    name: str
    classes: dict[str, int | list[int]]
    splits: dict[str, list[Case]]
    intensity_range: tuple[float, float] | None = None
    spatial_dims: int | None = None
    split_kind: str | None = None
    modality: str = ""
    licence: str = ""
    attribution: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)

    def items(self, split: str) -> list[dict[str, Any]]:
        """Dictionaries for MONAI data sets: `image` and `label` (paths, where the case has them), `case`, `index`.

        Raises:
            ValueError: if the split is missing or empty.
        """
        cases = self.splits.get(split, [])
        if not cases:
            held = ", ".join(f"{name} ({len(cases)})" for name, cases in self.splits.items() if cases)
            raise ValueError(f"{self.root} has no cases in split {split!r}; it holds {held or 'nothing'}")
        items = []
        for index, case in enumerate(cases):
            paths = {"image": case.image, "label": case.label}
            present = {key: str(path) for key, path in paths.items() if path is not None}
            items.append({**present, "case": case.id, "index": index})
        return items


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
        path: folder with `dataset.json` (entries `{"image", "label", "patient"}`, or bare image paths under `test`), or
            with `images`/`labels`, `imagesTr`/`labelsTr`, `imagesVal`/`labelsVal`, `imagesTs`/`labelsTs`.
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
        "settings": dataset.settings or None,
        "numTraining": training,
        "numTest": test,
        **{split: [_entry(case, root) for case in cases] for split, cases in dataset.splits.items()},
    }
    with atomic_file(root / "dataset.json") as temporary:
        temporary.write_text(json.dumps({k: v for k, v in content.items() if v is not None}, indent=1) + "\n")
    return root / "dataset.json"


def _entry(case: Case, root: Path) -> dict[str, str]:
    paths = {"image": case.image, "label": case.label}
    relative = {key: "./" + os.path.relpath(path, root) for key, path in paths.items() if path is not None}
    return {**relative, "patient": case.patient}


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
    files = {key: (root / entry[key]).resolve() if entry.get(key) else None for key in ("image", "label")}
    first = files["label"] or files["image"]
    if first is None:
        raise ValueError(f"an entry of {split!r} has neither image nor label: {entry}")
    name = case_name(first)
    return Case(name, files["image"], files["label"], str(entry.get("patient", default_patient(name))))


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
            for key in wanted:
                file = getattr(case, key)
                if file is None and split != "test":
                    raise FileNotFoundError(
                        f"case {case.id!r} in split {split!r} of {dataset.root} has no {key}: add the missing {key} "
                        "file, or remove the case (check-data lists every such case)"
                    )
                if file is not None and not file.is_file():
                    raise FileNotFoundError(
                        f"{key} file {file} of case {case.id!r} is missing: restore it, or remove the case from "
                        f"{dataset.root} (check-data lists every such file)"
                    )

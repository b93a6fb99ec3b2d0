"""MONAI's `datalist.json`: cases by split, or with the number of their fold, and paths from the file's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.description.dataset_json import DESCRIPTION, read_cases, read_list_of_cases
from monai_segdiff.data.description.entries import channels_of, classes_of, modality_of, text_of
from monai_segdiff.data.forms.folders import numbered_channels
from monai_segdiff.data.forms.form import Choices, Form, Look
from monai_segdiff.data.forms.words import SPLIT_WORDS

__all__ = ["DATALIST"]

_PATTERN = "datalist*.json"


def _lists(look: Look) -> list[Path]:
    if look.file is not None:
        return [look.file]
    return sorted(file for file in look.root.glob(_PATTERN) if file.is_file())


def _holds(look: Look, choices: Choices) -> bool:
    return bool(_lists(look))


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    files = _lists(look)
    if len(files) > 1:
        raise ValueError(
            f"{look.root} holds {len(files)} lists of cases ({', '.join(file.name for file in files)}), and which is "
            f"meant is unknown: give the file itself, such as {files[0]}"
        )
    file = files[0]
    content = read_list_of_cases(file)
    try:
        return _dataset(file, content, choices)
    except ValueError as error:
        raise ValueError(f"cannot understand {file}: {error}") from error


def _dataset(file: Path, content: Mapping[str, Any], choices: Choices) -> SegmentationDataset:
    root = file.parent
    lists: dict[str, list[Any]] = {}
    for key, entries in content.items():
        if (split := SPLIT_WORDS.get(key.casefold())) is not None and entries is not None:
            if not isinstance(entries, list):
                raise ValueError(f"{key!r} must be a list of cases, got {str(entries)[:80]!r}")
            lists.setdefault(split, []).extend(entries)
    if not lists:
        raise ValueError(
            'it has no list of cases; it must be like {"training": [{"image": ..., "label": ..., "fold": 0}]}'
        )
    chosen = _check_fold(lists, choices.fold)
    splits: dict[str, list[Case]] = {}
    for split, entries in lists.items():
        for case, entry in zip(read_cases(entries, root, split), entries, strict=True):
            held_out = chosen is not None and split == "training" and _fold(entry) == chosen
            splits.setdefault("validation" if held_out else split, []).append(case)
    classes = classes_of(content.get("labels")) if choices.classes is None else check_classes(choices.classes)
    dataset = SegmentationDataset(
        root=root,
        name=text_of(content, "name") or root.name,
        classes=classes,
        splits={split: splits[split] for split in ("training", "validation", "test") if splits.get(split)},
        modality=modality_of(content),
        channels=channels_of(content) or numbered_channels(splits),
        form=f"MONAI's list of cases {file.name}",
    )
    if chosen is not None:
        dataset.form += f", fold {chosen} of {len(_folds(lists))} for validation"
    return dataset


def _check_fold(lists: Mapping[str, Sequence[Any]], asked: int | None) -> int | None:
    """The fold that is held out; None where the list has none.

    Raises:
        ValueError: if the fold that is asked for is none of those that there are, or entries lack theirs.
    """
    folds = _folds(lists)
    if not folds:
        if asked is not None:
            raise ValueError(f"its cases have no 'fold', so fold {asked} (--fold) cannot be held out; leave --fold out")
        return None
    without = sum(_fold(entry) is None for entry in lists["training"])
    if without:
        raise ValueError(f"{without} of its training cases have no 'fold', and the others have one; add it to each")
    if "validation" in lists:
        if asked is not None:
            raise ValueError("it lists validation cases, so no fold is held out; leave --fold out")
        return None
    if (asked or 0) not in folds:
        raise ValueError(f"it has no fold {asked or 0} (--fold); there are {', '.join(map(str, folds))}")
    return asked or 0


def _folds(lists: Mapping[str, Sequence[Any]]) -> list[int]:
    return sorted({fold for entry in lists.get("training", []) if (fold := _fold(entry)) is not None})


def _fold(entry: Any) -> int | None:
    fold = entry.get("fold") if isinstance(entry, dict) else None
    if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int)):
        raise ValueError(f"'fold' must be a whole number, got {str(fold)[:80]!r}")
    return fold


DATALIST = Form(f"MONAI's list of cases ({_PATTERN}), without {DESCRIPTION}", _holds, _read, frozenset({"fold"}))

"""What a study is made from: the folder of scans, and what was said of it, now or when it was begun."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.data.layout import Choices
from monai_segdiff.data.preparation.pairing import pair_source
from monai_segdiff.data.preparation.source import Asked, Source
from monai_segdiff.data.splits import check_kept_split

__all__ = ["PLANNED", "choices_of", "given_of", "open_source", "planned_of", "prepare_options", "with_recorded"]

PLANNED = ("fractions", "seed", "parents")
"""What is said of the plan rather than of the data, and stands in it."""

_FIRST = ("scans", "labels", "classes", "patients")  # in every study; what came later is named where it is given
_READ = ("image_name", "label_name", "fold", "segments", "precedence", "drop_other_labels")
_PREPARED = ("channels", "covariates", "covariates_table", "keep_split")
_PATHS = ("labels", "patients", "covariates_table")
_NAMES = (*_FIRST, *_READ, *_PREPARED, *PLANNED)


def given_of(
    scans: str | Path, options: Mapping[str, Any], choices: Choices | None, keep_split: bool
) -> dict[str, Any]:
    """What is said of the data by a call, by name, of JSON types; what is not said is left out.

    Args:
        scans: folder of the data.
        options: by name, None where one is not given.
        choices: names of files, the fold and the segments.
        keep_split: whether the source's own split is kept.
    """
    read = choices or Choices()
    every = {
        **options,
        "image_name": list(read.image),
        "label_name": read.label,
        "fold": read.fold,
        "segments": read.parts,
        "precedence": list(read.precedence),
        "drop_other_labels": read.drop_others,
        "keep_split": keep_split,
    }
    said = {name: every[name] for name in _NAMES if name in every and _is_said(every[name])}
    for name in _PATHS:
        if name in said:
            said[name] = _whole(said[name])
    for name in ("fractions", "channels", "covariates"):
        if name in said:
            said[name] = list(said[name])
    for name in ("classes", "parents"):
        if name in said:
            said[name] = dict(said[name])
    return {"scans": _whole(scans), **said}


def with_recorded(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What is said now, and what was said before of all else.

    Args:
        given: what is said now.
        recorded: what was said before.

    Raises:
        ValueError: if something has no effect beside something else; names both.
    """
    before = dict(recorded)
    if "keep_split" in given:  # what is said now ends what it excludes
        before.pop("fractions", None)
        before.pop("seed", None)
    elif {"fractions", "seed"} & {*given}:
        before.pop("keep_split", None)
    said = {**before, **given}
    kept = bool(said.get("keep_split")) or said.get("fold") is not None
    check_kept_split(kept, said.get("fractions"), said.get("seed"))
    values = {name: said.get(name) for name in _NAMES}
    return {name: value for name, value in values.items() if name in _FIRST or _is_said(value)}


def open_source(given: Mapping[str, Any], progress: bool) -> Source:
    """The data of a study, read once.

    Args:
        given: as :func:`with_recorded` gives it.
        progress: whether to show progress bars.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the data cannot be understood, or an option has no effect on them.
    """
    where: Any = given["scans"]
    if given["labels"] is not None:
        where = pair_source(where, given["labels"], choices_of(given))
    options = {**prepare_options(given), "progress": progress}
    options["drop_others"] = options.pop("drop_other_labels")
    options["keep_split"] = options["keep_split"] or given.get("fold") is not None
    return Source.open(where, Asked(**options))


def choices_of(given: Mapping[str, Any]) -> Choices:
    """What decides how a study's folder is read."""
    return Choices(
        image=tuple(given.get("image_name", ())),
        label=given.get("label_name"),
        fold=given.get("fold"),
        segments=given.get("segments"),
        precedence=tuple(given.get("precedence", ())),
        drop_others=given.get("drop_other_labels", False),
    )


def prepare_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a study's data are prepared with beside what its plan says: arguments of `prepare_dataset`."""
    return {
        "classes": given["classes"],
        "patients": given["patients"],
        "segments": given.get("segments"),
        "precedence": tuple(given.get("precedence", ())),
        "drop_other_labels": given.get("drop_other_labels", False),
        "channels": given.get("channels"),
        "covariates": given.get("covariates"),
        "covariates_table": given.get("covariates_table"),
        "choices": choices_of(given),
        "keep_split": given.get("keep_split", False),
    }


def planned_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of values of the plan, by their keys there."""
    return {f"prepare.{name}": given[name] for name in PLANNED if name in given}


def _is_said(value: Any) -> bool:
    return value is not None and value is not False and value != [] and value != ()


def _whole(path: str | Path) -> str:
    return str(Path(path).expanduser().resolve())

"""`plan.yaml`: the plan as a file that is read, edited, and read again by the training."""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import prepare_dataset
from monai_segdiff.documents import read_yaml
from monai_segdiff.evaluation import evaluate
from monai_segdiff.files import atomic_file
from monai_segdiff.workflows.plan.choices import Choices

__all__ = ["SECTIONS", "overlay_of", "read_plan", "training_values", "write_overlay", "write_plan"]

_WIDTH = 118
_KIND = "a plan (YAML)"
_REMEDY = "correct it, or remove it, and a new one is made"
_HEAD = (
    "The plan of a study, as `python -m monai_segdiff plan` made it. Every line can be edited: what is edited holds "
    "from the next run on, and what depends on it is done again. A line that is taken out is planned anew."
)
_TITLES = {
    "": "the training: ids of the bundle's configs/train.yaml",
    "prepare": "arguments of prepare_dataset; size and dimension are image_size and spatial_dims above",
    "guide": "how guidance is chosen, on validation masks",
    "generate": "the images for held-out masks",
    "evaluate": "the report",
}
_OURS = {"size", "spatial_dims", "progress", "name", "source", "output", "choices", "keep_split"}  # said elsewhere

SECTIONS: dict[str, frozenset[str]] = {
    "prepare": frozenset(set(inspect.signature(prepare_dataset).parameters) - _OURS),
    "guide": frozenset({"weights", "most_masks"}),
    "generate": frozenset({"split", "per_mask", "batch_size", "most_masks"}),
    "evaluate": frozenset(set(inspect.signature(evaluate).parameters) - {"real", "synthetic", "output", "progress"}),
}
"""Sections of a plan and what can stand in them."""


def write_plan(file: Path, choices: Choices) -> None:
    """Write a plan with the reasons beside its values.

    Args:
        file: where to.
        choices: the plan.

    Raises:
        OSError: if it cannot be written.
    """
    lines = [*_comment(_HEAD), "#", *(line for note in choices.notes for line in _comment(note, "#   "))]
    for section in ("", *SECTIONS):
        keys = [key for key in choices.made if key.rpartition(".")[0] == section]
        lines += ["", f"# {'-' * 60} {_TITLES[section]}", *([f"{section}:"] if section and keys else [])]
        indent = "  " if section else ""
        for key in keys:
            made = choices.made[key]
            line = f"{indent}{key.rpartition('.')[2]}: {_flow(made.value)}"
            reason = _plain(made.reason)
            if len(line) + len(reason) + 3 <= _WIDTH:
                lines.append(f"{line}  # {reason}")
            else:
                lines += [*(f"{indent}{part}" for part in _comment(reason)), line]
    with atomic_file(file) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_plan(file: Path) -> dict[str, Any]:
    """Read a plan.

    Args:
        file: the plan.

    Returns:
        Value by key; those of sections are called ``section.name``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no plan, or holds what no plan has; names the file, the line's key and the remedy.
    """
    content = read_yaml(file, _KIND, remedy=_REMEDY)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{file} is no plan, which is a mapping of names to values: {_REMEDY}")
    known = _ids(content.get("bundle", "ct_organ"), file)
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key not in SECTIONS:
            _check_name(file, key, key, known)
            _check_value(file, key, value)
            found[key] = value
            continue
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{file}: {key} must be a section, such as\n{key}:\n  name: value")
        for name, entry in (value or {}).items():
            _check_name(file, f"{key}: {name}", name, SECTIONS[key])
            found[f"{key}.{name}"] = entry
    return found


def training_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a plan is the training's: ids of the bundle's ``train.yaml`` with their values.

    Args:
        values: as :func:`read_plan` gives them.
    """
    return {key: value for key, value in values.items() if "." not in key and key != "bundle"}


def overlay_of(plan: Path, bundle: Path) -> Path:
    """The overlay that a training of a study reads: ``configs/plan.yaml`` in its bundle, made from the study's plan.

    Args:
        plan: the study's plan.
        bundle: folder of the study's bundle.

    Raises:
        ValueError: if the plan is none, or holds what no plan has.
        OSError: if the overlay cannot be written.
    """
    file = bundle / "configs" / "plan.yaml"
    write_overlay(file, training_values(read_plan(plan)))
    return file


def write_overlay(file: Path, values: Mapping[str, Any]) -> None:
    """Write the training's part of a plan as an overlay for ``python -m monai.bundle run``.

    Names from the data, of classes and patients, stay out of it: a configuration would take ``$`` in them for code.

    Args:
        file: where to.
        values: as :func:`training_values` gives them.

    Raises:
        OSError: if it cannot be written.
    """
    text = "".join(f"{key}: {_flow(value)}\n" for key, value in values.items())
    with atomic_file(file) as temporary:
        temporary.write_text(f"# Overlay: the training's part of the plan.\n{text}", encoding="utf-8")


def _ids(bundle: Any, file: Path) -> set[str]:
    """Ids that a training of the bundle has."""
    if not isinstance(bundle, str) or "/" in bundle:
        raise ValueError(f"{file}: bundle must be a name, such as ct_organ, not {bundle!r}")
    train = bundle_path(bundle) / "configs" / "train.yaml"
    if not train.is_file():
        raise ValueError(f"{file}: the bundle {bundle} has no single training that a plan could be for: take ct_organ")
    return {"bundle", *read_yaml(train, "a bundle's configuration")}


def _check_name(file: Path, shown: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(str(name), list(known), n=1)
        hint = f"did you mean {near[0]}?" if near else "take the line out"
        raise ValueError(f"{file}: {shown} is no name that a plan can have: {hint}")


def _check_value(file: Path, key: str, value: Any) -> None:
    """Refuse texts that a configuration would evaluate."""
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise ValueError(f"{file}: {key} is {value!r}, which a configuration would evaluate: give a plain value")
    for name, entry in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if name == "_target_":
            raise ValueError(f"{file}: {key} names a component, and a plan holds plain values: use an overlay for that")
        _check_value(file, key, entry)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n...\n").strip()


def _plain(text: str) -> str:
    """A text in one line that ends no comment, whatever names from data it holds."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _comment(text: str, later: str = "# ") -> list[str]:
    return textwrap.wrap(_plain(text), _WIDTH - 2, initial_indent="# ", subsequent_indent=later, break_long_words=False)

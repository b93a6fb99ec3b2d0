"""What may be set in a bundle's trainings, checked before anything is loaded: one line that names the id."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from monai_segdiff.errors import show_cause_last

__all__ = ["check_command_line", "check_export", "check_settings"]

_OF_MONAI = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
_OF_TRACKING = {"experiment_name", "is_not_rank0", "output_dir", "run_name", "save_execute_config", "tracking_uri"}


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuse overrides of ids that a configuration does not have, which MONAI takes in silence.

    Args:
        argv: the process's arguments; those of this one by default. Others than those of ``python -m monai.bundle run``
            are left alone.

    Raises:
        ValueError: naming the first override without an id.
    """
    arguments = list(sys.argv if argv is None else argv)
    if Path(arguments[0]).parts[-3:] != ("monai", "bundle", "__main__.py") or arguments[1:2] != ["run"]:
        return
    given = dict(_flags(arguments[2:]))
    if "config_file" not in given or "args_file" in given:
        return
    files = _listed(given["config_file"])
    parser = ConfigParser()
    parser.read_config(files)
    known = _OF_MONAI | (_OF_TRACKING if "tracking" in given else set())
    for name in given:
        if name in known or _exists(name, parser) or any(f"@{name}" in value for value in given.values()):
            continue
        near = difflib.get_close_matches(name, [str(key) for key in parser.get()], n=1)
        hint = f"; did you mean --{near[0]}?" if near else ": the ids are those of the file"
        raise ValueError(f"--{name} cannot be set, as {' and '.join(files)} has no such id{hint}")


def check_export(argv: Sequence[str] | None = None) -> None:
    """Say what ``python -m monai.bundle onnx_export`` needs, where it is not installed, in the last line.

    Args:
        argv: the process's arguments; those of this one by default. Others than those of the export are left alone.

    Raises:
        ImportError: naming what is missing, and the extra that brings it.
    """
    arguments = list(sys.argv if argv is None else argv)
    if Path(arguments[0]).parts[-3:] != ("monai", "bundle", "__main__.py") or arguments[1:2] != ["onnx_export"]:
        return
    show_cause_last()
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise ImportError(f"onnx_export needs {' and '.join(missing)}: pip install 'monai-segdiff[onnx]'")


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of the options, as Fire takes them."""
    for index, argument in enumerate(arguments):
        if argument == "--":
            return
        if argument.startswith("--"):
            name, found, value = argument[2:].partition("=")
            following = arguments[index + 1 : index + 2]
            if not found and following and not following[0].startswith("--"):
                value = following[0]
            yield name.replace("-", "_"), value


def _listed(value: str) -> list[str]:
    try:
        content = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        content = value
    return [content] if isinstance(content, str) else list(map(str, content))


def _exists(name: str, parser: ConfigParser) -> bool:
    parts = ReferenceResolver.normalize_id(name).split("::")
    if "::".join(parts) in parser:
        return True
    above = "::".join(parts[:-1])  # an argument that the file leaves at its default
    return bool(above) and above in parser and isinstance(parser[above], dict)


_Rule = tuple[Callable[[Any], bool], str]


def _whole(least: int) -> _Rule:
    return lambda value: type(value) is int and value >= least, f"a whole number of at least {least}"


def _number(least: float, most: float = math.inf, ends: bool = True) -> _Rule:
    def fits(value: Any) -> bool:
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        return least <= value <= most if ends else least < value < most

    if most == math.inf:
        return fits, "a number above 0" if not ends else f"a number of at least {least:g}"
    return fits, f"a number from {least:g} to {most:g}{'' if ends else ', the ends left out'}"


def _or_list(rule: _Rule) -> _Rule:
    def fits(value: Any) -> bool:
        many = isinstance(value, (list, tuple)) and len(value) > 0
        return all(map(rule[0], value)) if many else rule[0](value)

    return fits, f"{rule[1]}, or a list of them"


def _list_of(rule: _Rule, lengths: Sequence[int] = ()) -> _Rule:
    def fits(value: Any) -> bool:
        if not isinstance(value, (list, tuple)) or not value or (lengths and len(value) not in lengths):
            return False
        return all(map(rule[0], value))

    count = f"{' or '.join(map(str, lengths))} " if lengths else ""
    return fits, f"a list of {count}entries, each {rule[1]}"


_BOOL: _Rule = (lambda value: isinstance(value, bool), "true or false")
RULES: dict[str, _Rule] = {
    **dict.fromkeys(["batch_size", "images_per_epoch", "max_images", "num_steps", "context_dim"], _whole(1)),
    **dict.fromkeys(["val_interval", "preview_interval", "checkpoint_interval", "preview_images"], _whole(1)),
    **dict.fromkeys(["norm_num_groups", "phantom_patients", "phantom_slices", "phantom_views"], _whole(1)),
    **dict.fromkeys(["seed", "warmup_steps", "tuning_images", "num_workers", "adversarial_start"], _whole(0)),
    **dict.fromkeys(["learning_rate", "discriminator_learning_rate"], _number(0, ends=False)),
    **dict.fromkeys(["full_prob", "null_prob", "cooldown", "covariate_drop_prob"], _number(0, 1)),
    "max_grad_norm": _number(0, ends=False),
    "ema_momentum": _number(0, 1, ends=False),
    "spatial_dims": (lambda value: type(value) is int and value in (2, 3), "2 or 3"),
    "image_size": _list_of(_whole(1), (2, 3)),
    "channels": _list_of(_whole(1)),
    "num_res_blocks": _or_list(_whole(1)),
    "num_head_channels": _or_list(_whole(1)),
    "attention_levels": _list_of(_BOOL),
    "middle_attention": _BOOL,
    "verify_data": _BOOL,
}


def check_settings(values: Mapping[str, Any], within: str = "") -> None:
    """Refuse settings that no training can have.

    Args:
        values: value by id; of a mapping the entries are checked. An id without a rule may be anything.
        within: the id of the mapping, whose entries are called ``id#entry``.

    Raises:
        ValueError: naming the id, what it has to be, and what it is.
    """
    prefix = f"{within}#" if within else ""
    for name, value in values.items():
        if isinstance(value, Mapping):
            check_settings(value, f"{prefix}{name}")
        elif name in RULES:
            fits, meaning = RULES[name]
            if not fits(value):
                raise ValueError(f"{prefix}{name} must be {meaning}, not {value!r}{_hint(value)}")
    _check_together(values, prefix)


def _hint(value: Any) -> str:
    try:
        return f": YAML takes that for text, write {float(value):.1e}" if isinstance(value, str) else ""
    except ValueError:
        return ""


def _check_together(values: Mapping[str, Any], prefix: str) -> None:
    """What two ids say of each other."""
    channels, groups = values.get("channels"), values.get("norm_num_groups")
    if channels and groups and (odd := [number for number in channels if number % groups]):
        raise ValueError(
            f"{prefix}channels must be multiples of {prefix}norm_num_groups, which is {groups}: {odd[0]} is none"
        )
    for name in ("attention_levels", "num_res_blocks", "num_head_channels"):
        entries = values.get(name)
        if channels and isinstance(entries, (list, tuple)) and len(entries) != len(channels):
            raise ValueError(
                f"{prefix}{name} must have as many entries as {prefix}channels, {len(channels)}, not {len(entries)}"
            )
    size, dims = values.get("image_size"), values.get("spatial_dims")
    if size is not None and dims is not None and len(size) != dims:
        raise ValueError(f"{prefix}image_size must have {prefix}spatial_dims entries, {dims}, not {len(size)}")
    if values.get("full_prob", 0) + values.get("null_prob", 0) > 1:
        raise ValueError(
            f"{prefix}full_prob and {prefix}null_prob must be 1 together at most, "
            f"not {values['full_prob']} and {values['null_prob']}"
        )

"""A bundle's configuration for inference, with values from outside that stay what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ReferenceResolver

from monai_segdiff.documents import read_json, read_yaml
from monai_segdiff.errors import UnreadableFileError, one_line, raised_here, unwrapped_errors

__all__ = ["configuration_digest", "made_without_memory", "naming_configuration", "open_inference"]

_KIND = "a bundle's configuration"
_REMEDY = "copy the bundle's configs anew"
_GIVEN = "_given_values"
# Ids that say where something lies or how fast it is made, and nothing of a sample.
_BESIDE = {
    "_meta_",
    "imports",
    "initialize",
    "run",
    "bundle_root",
    "ckpt_dir",
    "weights",
    "card",
    "untrained",
    "use_cuda",
}
_BESIDE |= {"output_dir", "anatomy_dir", "dataset_dir", "split", "device", "batch_size", "progress"}
_BESIDE |= {"dataset", "dataloader", "postprocessing", "handlers", "evaluator", "generator_def", "export_def"}


def open_inference(bundle: Path, overlays: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> ConfigParser:
    """Open a bundle's ``inference.yaml``.

    Args:
        bundle: the bundle's folder.
        overlays: names of files in its ``configs`` that are read after it.
        values: values for ids; they stand for themselves, so that a text with ``$`` or ``@`` is that text.

    Returns:
        The configuration, of which nothing is evaluated yet.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged or of an earlier version, or there is no id of a value; names the file.
    """
    files = [bundle / "configs" / name for name in ("inference.yaml", *overlays)]
    for file in files:
        content = (read_json if file.suffix == ".json" else read_yaml)(file, _KIND, remedy=_REMEDY)
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise UnreadableFileError(f"{file} is no mapping of ids to their values; {_REMEDY}")
    given = dict(values or {})
    parser = ConfigParser(globals={_GIVEN: list(given.values())})
    with naming_configuration(files[0]):
        parser.read_config(files)
    if missing := [name for name in ("weights", "card") if name not in parser]:
        raise UnreadableFileError(
            f"{files[0]} has no id {missing[0]!r}: it is cut short, or of an earlier version, which did not read what "
            f"the weights were trained with; {_REMEDY}"
        )
    for index, name in enumerate(given):
        if parser.ref_resolver.normalize_id(name).split("::")[0] not in parser:
            raise ValueError(f"{name!r} cannot be set: {files[0]} has no such id")
        try:
            parser[name] = f"${_GIVEN}[{index}]"
        except (LookupError, ValueError) as error:
            raise ValueError(f"{name!r} cannot be set: {files[0]} has no such id") from error
    return parser


@contextmanager
def naming_configuration(file: Path, card: Path | None = None) -> Iterator[None]:
    """Name a configuration where something is wrong that no message of this package explains.

    Args:
        file: the configuration that is evaluated in the block.
        card: what it reads its sizes from.

    Raises:
        UnreadableFileError: from what Python and MONAI raise of a configuration that is damaged.
    """
    try:
        with unwrapped_errors():
            yield
    except Exception as error:
        of_monai = any(words in str(error) for words in ("referring item", "circular references", "Cannot locate"))
        damaged = (LookupError, NameError, SyntaxError, AttributeError, TypeError, ArithmeticError, AssertionError)
        foreign = isinstance(error, ValueError) and not raised_here(error)
        if isinstance(error, damaged) or type(error) is RuntimeError or of_monai or foreign:
            read, remedy = (f" with {card}", ", or restore the card") if card and not of_monai else ("", "")
            raise UnreadableFileError(f"{file}{read} cannot be used ({one_line(error)}); {_REMEDY}{remedy}") from error
        raise


def made_without_memory(parser: ConfigParser, name: str) -> Any:
    """Make a network on torch's meta device, where its weights take no memory.

    Args:
        parser: a configuration that is used for nothing else afterwards.
        name: id of the network, or of a function that makes it.
    """
    for part in ReferenceResolver.find_refs_in_config(parser[name], name):
        parser.get_parsed_content(part)
    with torch.device("meta"):
        made = parser.get_parsed_content(name)
        return made if isinstance(made, torch.nn.Module) else made()


def configuration_digest(parser: ConfigParser, values: Mapping[str, Any] | None = None) -> str:
    """SHA-256 of what a configuration says of a sample beside its ``record``, but not where things lie.

    Args:
        parser: what :func:`open_inference` gave, before anything of it is evaluated.
        values: those that it was given.

    Returns:
        64 hexadecimal digits.
    """
    recorded = _BESIDE | set(parser.get("record", {}))
    said = {name: value for name, value in parser.get().items() if name not in recorded}
    given = {name: value for name, value in (values or {}).items() if name not in recorded}
    text = json.dumps([_without_given(said), given], sort_keys=True, default=lambda value: type(value).__qualname__)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_given(content: Any) -> Any:
    """What the files say, without the places that values were put to."""
    if isinstance(content, dict):
        return {name: _without_given(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_without_given(value) for value in content]
    return None if isinstance(content, str) and content.startswith(f"${_GIVEN}[") else content

"""Convert configuration files of bundles, in place: comments, order and layout stay."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monai_segdiff.conversion.scan import Scan
from monai_segdiff.documents import parse_json, parse_yaml, read_text
from monai_segdiff.errors import UnreadableFileError, one_line

_MOST_BYTES = 2**17  # bundles' configurations have a tenth; PyYAML takes a second for each of three readings
_KIND = "a bundle's configuration"

__all__ = ["ConvertedConfig", "convert_config"]


@dataclass(frozen=True)
class ConvertedConfig:
    """A configuration for MONAI.

    Attributes:
        text: the file's text.
        data: its content.
        changes: what was changed, as ``FILE:LINE: KEY: OLD -> NEW``.
        problems: what to edit by hand, as ``FILE:LINE: KEY: WHAT``; the text has it as it was.
        notes: what differs between the packages in what was converted.
        is_json: whether the text is JSON rather than YAML, as the name of the old file said.
    """

    text: str
    data: Any
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    is_json: bool = False

    def text_for(self, path: str | os.PathLike[str]) -> str:
        """The text in the syntax of a file name: JSON for ``.json``, else YAML.

        Where the old file had the same syntax, layout and comments are its own.

        Args:
            path: name of the new file.

        Raises:
            ValueError: where YAML holds something that JSON has no form for, such as a date.
        """
        if _is_json(path) == self.is_json:
            return self.text
        if _is_json(path):
            try:
                return json.dumps(self.data, indent=4, ensure_ascii=False) + "\n"
            except TypeError as error:
                raise ValueError(f"{path} cannot hold the configuration ({error}): give a name in .yaml") from error
        return yaml.safe_dump(self.data, sort_keys=False, allow_unicode=True, width=120)


def convert_config(path: str | os.PathLike[str]) -> ConvertedConfig:
    """Convert a bundle configuration that uses monai-generative 0.2.3.

    Renamed are ``_target_`` of any depth, options of these components, references to such options
    (``@network#channels``), and classes in expressions and imports where nothing but their name changes. The rest is
    listed, to be edited by hand. Nothing of it is run.

    Args:
        path: JSON or YAML file.

    Returns:
        The configuration for MONAI, with what was changed and what could not be.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is no readable JSON or YAML, or has more than 128 KiB.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no configuration {file}: give the bundle's JSON or YAML file.")
    text = read_text(file, _KIND, _MOST_BYTES)
    if _is_json(file):
        text = text.replace("\t", "    ")  # YAML, which JSON is read as, knows no tabs between its tokens
    try:
        root = parse_yaml(text, load=lambda document: yaml.compose(document, Loader=yaml.SafeLoader))
        if not isinstance(root, yaml.MappingNode):
            raise UnreadableFileError(f"{file} is no configuration: it holds no keys.")
        scan = Scan(file, text, root)
        converted = scan.converted()
        # YAML 1.1 reads JSON's 1e-05 as text, so that its values are those of JSON's own reader.
        data = parse_json(converted) if _is_json(file) else yaml.safe_load(converted)
    except UnreadableFileError:
        raise
    except Exception as error:  # also of keys that are no text
        raise UnreadableFileError(
            f"{file} is not readable as {'JSON' if _is_json(file) else 'YAML'}: {one_line(error)}"
        ) from error
    findings = tuple(scan.changes), tuple(scan.problems), tuple(scan.notes)
    return ConvertedConfig(converted, data, *findings, is_json=_is_json(file))


def _is_json(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() == ".json"

"""JSON, YAML and CSV files of others read as plain data: nothing in them is run, and a damaged one is named."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from monai_segdiff.errors import UnreadableFileError, reading

__all__ = ["Table", "first_repeated", "parse_json", "parse_yaml", "read_json", "read_table", "read_text", "read_yaml"]

_Hashable = TypeVar("_Hashable", bound=Hashable)
_MOST_BYTES = 256 * 2**20
_MOST_YAML_BYTES = 2**18  # PyYAML needs about 10 s for a megabyte, and reads it twice
_MOST_LINES = 2_000_000
_DEEPEST = 100
_MERGE = "tag:yaml.org,2002:merge"


def read_text(file: str | Path, kind: str, most_bytes: int = _MOST_BYTES) -> str:
    """Read a text file, in UTF-8 with or without a byte order mark, or in UTF-16 with one.

    Args:
        file: the file.
        kind: what it should be, for messages.
        most_bytes: larger files are refused.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableFileError: if it is no such text, or too large.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: check the path ({kind} is expected there)")
    if file.stat().st_size > most_bytes:
        raise UnreadableFileError(
            f"{file} has {file.stat().st_size} bytes, which is too much for {kind}: check the path"
        )
    content = file.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with reading(file, kind, "save it as UTF-8 text"):
        text = content.decode(encoding)
        if "\0" in text:
            raise ValueError("it holds zero bytes, so it is no text")
        return text


def read_json(
    file: str | Path,
    kind: str = "JSON",
    *,
    remedy: str = "restore it from its source",
    most_bytes: int = _MOST_BYTES,
) -> Any:
    """Read a JSON file.

    Args:
        file: the file.
        kind: what it should be, for messages.
        remedy: what helps, for messages.
        most_bytes: larger files are refused.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableFileError: if it is no JSON, names a key twice, holds numbers that JSON does not know (NaN) or is
            nested more than 100 deep.
    """
    text = read_text(file, kind, most_bytes)
    with reading(file, kind, remedy):
        return parse_json(text)


def parse_json(text: str) -> Any:
    """Parse JSON as :func:`read_json` does.

    Raises:
        ValueError: for what it refuses.
    """
    try:
        content = json.loads(text, object_pairs_hook=_named_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_depth(content)
    return content


def read_yaml(file: str | Path, kind: str = "YAML", *, remedy: str = "restore it from its source") -> Any:
    """Read a YAML file of plain values: tags that make objects are refused, and aliases that multiply its content.

    Args:
        file: the file.
        kind: what it should be, for messages.
        remedy: what helps, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableFileError: if it is no YAML, names a key twice, or asks for more than it holds.
    """
    text = read_text(file, kind, _MOST_YAML_BYTES)
    with reading(file, kind, remedy):
        return parse_yaml(text)


def parse_yaml(text: str, *, load: Callable[[str], Any] | None = None) -> Any:
    """Parse YAML as :func:`read_yaml` does.

    Args:
        text: one document.
        load: how, once it is known to be bounded, instead of as plain values; ``yaml.compose`` for its nodes.

    Raises:
        ValueError: for what it refuses.
        yaml.YAMLError: for what is no YAML.
    """
    _check_yaml(text)
    return (load or _plain_values)(text)


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Args:
        file: the file.
        columns: names of its columns, in their order, without surrounding blanks.
        rows: number of the line and cells by column, without surrounding blanks, a row.
        heading: number of the header's line.
    """

    file: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    heading: int = 1

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        return iter(self.rows)


def read_table(
    file: str | Path,
    kind: str = "a table (CSV)",
    *,
    comments: bool = False,
    short_lines: bool = False,
    most_lines: int = _MOST_LINES,
) -> Table:
    """Read a CSV file with a header line, its cells separated by commas, semicolons or tabs.

    Args:
        file: the file.
        kind: what it should be, for messages.
        comments: whether lines that begin with ``#`` are none of the table's.
        short_lines: whether a line may lack its last cells, which are then blank.
        most_lines: a longer table is refused.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableFileError: if it is too long, has no header, names a column twice, or a line has another number of
            cells.
    """
    text = read_text(file, kind)
    with reading(file, kind, "save it as CSV with one header line and as many cells in each line"):
        if text.count("\n") > most_lines:
            raise ValueError(f"it has more than {most_lines:,} lines")
        if comments:
            text = "\n".join("" if line.lstrip().startswith("#") else line for line in text.splitlines())
        first = text.lstrip(",; \t\r\n").split("\n", 1)[0]
        delimiter = max((",", ";", "\t"), key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
        if not lines:
            raise ValueError("it is empty")
        columns = lines[0][1]
        if (repeated := first_repeated(columns)) is not None:
            raise ValueError(f"it has two columns named {repeated!r}")
        for number, cells in lines[1:]:
            if short_lines:
                cells.extend([""] * (len(columns) - len(cells)))
            if len(cells) != len(columns):
                raise UnreadableFileError(
                    f"{file}, line {number}: there are {len(cells)} cells where the header has {len(columns)}; put one "
                    f"that holds {delimiter!r} into quotes, and leave a cell blank rather than out"
                )
        rows = tuple((number, dict(zip(columns, cells, strict=True))) for number, cells in lines[1:])
        return Table(Path(file), tuple(columns), rows, lines[0][0])


def first_repeated(values: Iterable[_Hashable]) -> _Hashable | None:
    """The first value that was there before, None where all differ; in one go, however many there are.

    Args:
        values: none of them None.
    """
    seen: set[_Hashable] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"the key {first_repeated(name for name, _ in pairs)!r} occurs twice in one object")
    return content


def _plain_values(text: str) -> Any:
    """What ``yaml.safe_load`` gives, for a document that names no key twice; PyYAML takes the last."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        seen, open_nodes = set[int](), [root]
        while open_nodes:
            node = open_nodes.pop()
            if id(node) in seen or not isinstance(node, yaml.CollectionNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                open_nodes += [part for pair in node.value for part in pair]
            else:
                open_nodes += node.value
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _check_keys(node: yaml.MappingNode) -> None:
    scalars = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    repeated = first_repeated((key.tag, key.value) for key in scalars if key.tag != _MERGE)
    if repeated is not None:
        raise ValueError(f"the key {repeated[1]!r} occurs twice in one mapping")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check_depth(content: Any, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    for item in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_depth(item, depth + 1)


def _check_yaml(text: str) -> None:
    """Refuse, from its events alone, a document that is nested deeply or grows by aliases beyond what stands in it."""
    sizes: dict[Hashable, int] = {}  # anchor to the nodes that it stands for
    open_nodes: list[tuple[str | None, int]] = []  # anchor and size of the nodes around the event
    total = 0

    def add(size: int) -> None:
        nonlocal total
        total += size
        if total > len(text) + 1000 and total > 20 * len(text):
            raise ValueError("its aliases multiply its content: write it out")
        if open_nodes:
            anchor, held = open_nodes[-1]
            open_nodes[-1] = (anchor, held + size)

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                open_nodes.append((event.anchor, 1))
                if len(open_nodes) > _DEEPEST:
                    raise ValueError(f"it is nested more than {_DEEPEST} deep")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                anchor, size = open_nodes.pop()
                if anchor is not None:
                    sizes[anchor] = size
                total -= size - 1
                add(size)
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes and any(anchor == event.anchor for anchor, _ in open_nodes):
                    raise ValueError(f"the alias *{event.anchor} stands within what it is for")
                add(sizes.get(event.anchor, 1))
            elif isinstance(event, yaml.ScalarEvent):
                if event.anchor is not None:
                    sizes[event.anchor] = 1
                add(1)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None

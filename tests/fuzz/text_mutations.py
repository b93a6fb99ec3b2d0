"""What may stand in JSON, YAML and CSV files, and in lists of digests, that should not."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import yaml
from hypothesis import strategies as st

from .byte_mutations import EXTREME_NUMBERS, Draw

__all__ = ["mutate_csv", "mutate_json", "mutate_sums", "mutate_yaml"]

_CODE = "__import__('pathlib').Path(__import__('os').environ['SEGDIFF_CANARY']).touch()"
_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../../../escaped",
    "/",
    "a/b",
    "~",
    "-1",
    "NaN",
    "1e999",
    "liver",
    "image#1",
    "@seed",
    "%seed",
    f"${_CODE}",
    f"$@{_CODE}",
    '"',
    "'",
    "a\nb",
    "a\0b",
    "\x1b[31m",
    "é" * 3,
    "\u202egnp",
    "\ud800",
    "x" * 5000,
    ",",
    "=cmd()",
    "con",
)
_CODE_NODES: tuple[Any, ...] = (
    {"_target_": "os.system", "command": 'touch "$SEGDIFF_CANARY"'},
    {"_target_": "builtins.eval", "_args_": [_CODE]},
    {"_requires_": [f"${_CODE}"]},
)
_DEEP: Any = None
for _ in range(200):
    _DEEP = [_DEEP]
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    {"": ""},
    [None],
    0.5,
    -0.0,
    float("nan"),
    float("inf"),
    10**30,
    *EXTREME_NUMBERS,
    *_TEXTS,
    *_CODE_NODES,
    _DEEP,
)
_ENCODINGS = ("utf-16", "utf-8-sig", "latin-1", "utf-32", "cp1252")


def mutate_json(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Put something else into a JSON file."""
    kind = draw(st.sampled_from(("value", "value", "value", "key", "drop", "twice", "deep", "encoding", "text")))
    document = json.loads(content)
    if kind == "encoding":
        return _encoded(draw, content.decode())
    if kind == "deep":
        depth = draw(st.sampled_from((90, 101, 1000, 100_000)))
        opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "}"))))
        return "deep nesting", (opening * depth + ("1" if opening != "[" else "") + closing * depth).encode()
    if kind == "twice":
        key = draw(st.sampled_from(list(document)))
        return "key twice", content.rstrip()[:-1] + f", {json.dumps(key)}: {json.dumps(document[key])}}}".encode()
    if kind == "text":
        return _inserted(draw, content)
    changed = _changed(draw, document, kind)
    return f"JSON {kind}", json.dumps(changed, indent=1).encode()


def mutate_yaml(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Put something else into a YAML file."""
    kind = draw(st.sampled_from(("value", "value", "value", "key", "drop", "twice", "special", "encoding", "text")))
    document = yaml.safe_load(content)
    if kind == "encoding":
        return _encoded(draw, content.decode())
    if kind == "twice":
        key = draw(st.sampled_from(list(document)))
        return "key twice", content + f"\n{key}: 1\n".encode()
    if kind == "special":
        return "YAML special", draw(st.sampled_from(_specials())).encode() + draw(st.sampled_from((b"", content)))
    if kind == "text":
        return _inserted(draw, content)
    changed = _changed(draw, document, kind)
    try:
        return f"YAML {kind}", yaml.safe_dump(changed, sort_keys=False, allow_unicode=True).encode(
            "utf-8", "surrogatepass"
        )
    except yaml.YAMLError:
        return _inserted(draw, content)


def mutate_csv(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Put something else into a table."""
    kind = draw(st.sampled_from(("cell", "cell", "cell", "row", "rows", "quote", "separator", "encoding", "text")))
    text = content.decode()
    rows = [list(row) for row in csv.reader(io.StringIO(text))]
    if kind == "encoding":
        return _encoded(draw, text)
    if kind == "separator":
        return "another separator", text.replace(",", draw(st.sampled_from((";", "\t", "|", " ")))).encode()
    if kind == "quote":
        return "open quote", text.replace(draw(st.sampled_from((",", "\n"))), '"', 1).encode()
    if kind == "text":
        return _inserted(draw, content)
    if kind == "row":
        row = draw(st.integers(0, len(rows) - 1))
        change = draw(st.sampled_from(("repeat", "remove", "shorten", "lengthen")))
        new = {"repeat": [rows[row]] * 2, "remove": [], "shorten": [rows[row][:-1]], "lengthen": [[*rows[row], "x"]]}
        rows[row : row + 1] = new[change]
    elif kind == "rows":
        rows = rows[:1] + rows[1:] * draw(st.sampled_from((0, 2, 1000)))
    else:
        row = rows[draw(st.integers(0, len(rows) - 1))]
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from([*_TEXTS, *map(str, EXTREME_NUMBERS)]))
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return f"CSV {kind}", written.getvalue().encode("utf-8", "surrogatepass")


def mutate_sums(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Put something else into a list of digests."""
    lines = content.decode().splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    digest, name = lines[number].split("  ", 1)
    change = draw(st.sampled_from(("name", "digest", "drop", "twice", "escape")))
    new = {
        "name": [f"{digest}  {draw(st.sampled_from(_TEXTS))}"],
        "digest": [f"{digest[::-1]}  {name}"],
        "drop": [],
        "twice": [lines[number], f"{digest[::-1]}  {name}"],
        "escape": [f"\\{digest}  ../\\n{name}"],
    }[change]
    lines[number : number + 1] = new
    return f"list {change}", ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _changed(draw: Draw, document: Any, kind: str) -> Any:
    """The document with one value, or the key of one, replaced or dropped, anywhere in it."""
    places = list(_places(document))
    if not places:
        return draw(st.sampled_from(_VALUES))
    holder, key = draw(st.sampled_from(places))
    if kind == "drop":
        del holder[key]
    elif kind == "key" and isinstance(holder, dict):
        holder[draw(st.sampled_from(_TEXTS))] = holder.pop(key)
    else:
        holder[key] = draw(st.sampled_from(_VALUES))
    return document


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from _places(value)


def _encoded(draw: Draw, text: str) -> tuple[str, bytes]:
    encoding = draw(st.sampled_from(_ENCODINGS))
    return f"saved as {encoding}", text.replace("e", "é", 1).encode(encoding)


def _inserted(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Text at the end of a word or beside a sign."""
    places = [match.start() for match in re.finditer(rb"\b|[\[\]{}:,\"]", content)] or [0]
    at = draw(st.sampled_from(places))
    return "text inserted", content[:at] + draw(st.sampled_from(_TEXTS)).encode("utf-8", "surrogatepass") + content[at:]


def _specials() -> tuple[str, ...]:
    """Documents that only YAML can make."""
    bomb = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    merges = "m0: &m0 {k: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 20))
    return (
        bomb,
        merges,
        "a: &a [*a]\n",
        "a: " + "[" * 5000 + "]" * 5000 + "\n",
        "a:\n" + "".join(" " * i + "a:\n" for i in range(1, 300)),
        "x: !!python/object/apply:os.system ['touch \"$SEGDIFF_CANARY\"']\n",
        f'x: !!python/object/apply:eval ["{_CODE}"]\n',
        "x: !!python/name:os.system\n",
        "? [1, 2]\n: 3\n",
        "? {a: 1}\n: 3\n",
        "x: !!binary aGVsbG8=\n",
        "x: 2001-01-01\n",
        "x: !!set {a, b}\n",
        "1: a\n",
        "--- a\n--- b\n",
        "\t- a\n",
        "- 1\n",
        "text\n",
        "%YAML 9.9\n---\n",
    )

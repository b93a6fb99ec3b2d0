"""Rewrite Python expressions of bundle configurations that name monai-generative's classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from monai_segdiff.conversion.classes import CLASSES, notes_on
from monai_segdiff.conversion.modules import PACKAGE, new_module

__all__ = ["Expression", "renames_of", "rewrite_expression"]

_REFERENCE = re.compile(r"@\w+(?:(?:#|::)\w+)*")


@dataclass
class Expression:
    """A rewritten expression.

    Attributes:
        text: the expression, with its ``$``.
        problems: what could not be rewritten, a sentence each.
        notes: what differs between the packages in what was rewritten.
        unpacked: (class, id) of the options that are handed to a class by ``**@id``.
        aliases: local names that an import statement gives to modules and classes, with their old full names.
    """

    text: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unpacked: list[tuple[str, str]] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


def rewrite_expression(text: str, aliases: dict[str, str]) -> Expression:
    """Rewrite an expression or an import statement of a configuration.

    Args:
        text: the string, which begins with ``$``.
        aliases: local name to old full name, of the configuration's imports.

    Returns:
        What it became; the same text where it has nothing of monai-generative.
    """
    names = {PACKAGE: PACKAGE, **aliases}
    if names.keys().isdisjoint(re.findall(r"\w+", text)):
        return Expression(text)
    start = len(text) - len(text[1:].lstrip())
    references: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = re.sub(r"\W", "_", match[0])  # as long as the reference, so that places stay
        references[name] = match[0][1:].replace("::", "#")
        return name

    try:
        tree = ast.parse(_REFERENCE.sub(stand_in, text[start:]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also of what is nested too deeply for it
        done = Expression(text)
        if re.search(rf"\b{PACKAGE}\.\w", text):
            done.problems.append("this expression cannot be read as Python: rewrite it by hand")
        return done
    source = _Source(text[start:])
    done = Expression(text)
    edits: list[tuple[int, int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            edits += _import(node, source, done)
        elif isinstance(node, ast.Call):
            edits += _call(node, source, names, references, done)
    direct = {id(node) for node in _direct(tree)}
    for node in _longest_names(tree):
        edits += _name(node, source, names, done)
        name = (_full_name(node, names) or "").rpartition(".")[2]
        if id(node) not in direct and name in CLASSES and _differs(name):
            done.problems.append(
                f"{name} is handed on rather than called: rename its options by hand ({renames_of(name)})"
            )
    for first, last, new in sorted(set(edits), reverse=True):
        done.text = done.text[: start + first] + new + done.text[start + last :]
    return done


class _Source:
    """Places in the text of an expression; Python counts them in bytes of a line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.starts = [0, *accumulate(map(len, self.lines))]

    def place(self, line: int, column: int) -> int:
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        end = (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)
        return self.place(node.lineno, node.col_offset), self.place(*end)


def _import(node: ast.Import | ast.ImportFrom, source: _Source, done: Expression) -> Iterator[tuple[int, int, str]]:
    if isinstance(node, ast.Import):
        new = []
        for entry in node.names:
            module = entry.name
            if module.split(".")[0] == PACKAGE:
                found = new_module(module)
                if found is None:
                    done.problems.append(f"no module of MONAI is known for {module}: import the classes by their names")
                    return
                module = found
                if entry.asname:
                    done.aliases[entry.asname] = entry.name
            new.append(f"{module} as {entry.asname}" if entry.asname else module)
        yield *source.span(node), f"import {', '.join(new)}"
        return
    if (node.module or "").split(".")[0] != PACKAGE:
        return
    by_module: dict[str, list[str]] = {}
    for entry in node.names:
        old = f"{node.module}.{entry.name}"
        if entry.name in CLASSES:
            module = CLASSES[entry.name].target.rpartition(".")[0]
        elif (found := new_module(old)) is not None:
            module = found.rpartition(".")[0]
        else:
            done.problems.append(f"no counterpart of {old} is known in MONAI")
            return
        done.aliases[entry.asname or entry.name] = old
        by_module.setdefault(module, []).append(f"{entry.name} as {entry.asname}" if entry.asname else entry.name)
    statements = [f"from {module} import {', '.join(names)}" for module, names in by_module.items()]
    yield *source.span(node), "; ".join(statements)


def _call(
    node: ast.Call, source: _Source, names: dict[str, str], references: dict[str, str], done: Expression
) -> Iterator[tuple[int, int, str]]:
    called = _full_name(node.func, names)
    name = called.rpartition(".")[2] if called else ""
    if called is None or name not in CLASSES:
        return
    new = CLASSES[name]
    on = {keyword.arg for keyword in node.keywords if keyword.arg and not _is_off(keyword.value)}
    schedules = [keyword.value for keyword in node.keywords if keyword.arg == "schedule"]
    done.notes += notes_on(name, on, next((str(one.value) for one in schedules if isinstance(one, ast.Constant)), ""))
    unknown = any(isinstance(argument, ast.Starred) for argument in node.args)
    if new.positional is not None and node.args and (unknown or len(node.args) > new.positional):
        done.problems.append(
            f"{name}'s arguments after number {new.positional} have another order in MONAI: give them by their names"
        )
    for keyword in node.keywords:
        if keyword.arg is None:
            unpacked = keyword.value.id if isinstance(keyword.value, ast.Name) else ""
            if unpacked in references:
                done.unpacked.append((name, references[unpacked]))
            elif _differs(name):
                done.problems.append(
                    f"{name} takes options from an expression: rename them by hand ({renames_of(name)})"
                )
            continue
        remedy = new.missing.get(keyword.arg) or (new.refused.get(keyword.arg) if keyword.arg in on else None)
        if remedy:
            done.problems.append(f"{name}'s option {keyword.arg} cannot be converted: {remedy}")
        elif keyword.arg in new.renamed:
            first, _ = source.span(keyword)
            yield first, first + len(keyword.arg), new.renamed[keyword.arg]


def _name(node: ast.expr, source: _Source, names: dict[str, str], done: Expression) -> Iterator[tuple[int, int, str]]:
    """Rewrite a name that begins with the package's; what an import gave another name keeps it."""
    full = _full_name(node, names)
    if full is None or full == PACKAGE:
        return
    spelled = ast.unparse(node)
    known = [part for part in full.split(".") if part in CLASSES]
    if not known and new_module(full) is None:
        done.problems.append(f"no counterpart of {full} is known in MONAI")
    elif spelled.split(".")[0] == PACKAGE:
        rest = spelled.partition(known[0])[2] if known else ""
        new = CLASSES[known[0]].target if known else str(new_module(full))
        yield *source.span(node), new + rest


def _direct(tree: ast.AST) -> Iterator[ast.AST]:
    """What is called where it stands, and the classes that an instance is compared with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func
            if isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
                yield from (inner for argument in node.args[1:] for inner in ast.walk(argument))


def _is_off(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _differs(name: str) -> bool:
    return bool(CLASSES[name].renamed or CLASSES[name].missing)


def _longest_names(tree: ast.AST) -> Iterator[ast.expr]:
    """Dotted names, each as a whole."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in inner:
            yield node


def _full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])


def renames_of(name: str) -> str:
    """The options of a class that have other names in MONAI, in words."""
    return ", ".join(f"{old} to {new}" for old, new in CLASSES[name].renamed.items()) or "those that MONAI lacks"

"""Rename monai-generative's classes in expressions; what asks for more than that is left to the user."""

from __future__ import annotations

import re

from monai_segdiff.conversion.classes import CLASSES, PACKAGE, notes_on

__all__ = ["rename_in_expression"]

_NAME = re.compile(rf"(?<![\w.@#%/]){PACKAGE}(?:\.\w+)+")
_BARE = re.compile(rf"(?<![\w.@#%/]){PACKAGE}\b(?!\.\w)|\bimport\b.*(?<!\w){PACKAGE}\.", re.DOTALL)
_STRING = re.compile(r"'[^']*'|\"[^\"]*\"")
_IMPORT = re.compile(rf"(\$\s*import\s+){PACKAGE}(?:\.\w+)*\s*")
_FROM = re.compile(rf"(\$\s*from\s+)({PACKAGE}[\w.]*)(\s+import\s+[\w\s,]+)")
_BY_KEYWORDS = re.compile(r"\(\s*(?:\)|\w+\s*=(?!=))")
_UNPACKED = re.compile(r"[(,]\s*\*")
_SHOWN = 100  # characters of a name in a message


def rename_in_expression(text: str) -> tuple[str, list[str], list[str]]:
    """Rename the classes in an expression or an import statement of a configuration.

    Options in an expression are not renamed: whose they are, only Python knows. A class that has other options in MONAI
    is renamed where it is called by options that stayed; an import, where its names mean the same in both.

    Args:
        text: the string, which begins with ``$``.

    Returns:
        The expression with its ``$``, as it was where something is to be done by hand; what that is, a sentence each;
        what differs between the packages in what was renamed.
    """
    if _IMPORT.fullmatch(text):
        return _IMPORT.sub(r"\1monai", text), [], []  # which loads all its modules
    words = set(re.findall(r"\w+", text))
    imported = _FROM.fullmatch(text)
    if imported:
        names = imported[3].split(None, 1)[1].split(",")
        found = [(f"{imported[2]}.{name.split()[0] if name.strip() else ''}", False) for name in names]
    elif _BARE.search(_STRING.sub("", text)):
        return text, [f"take from monai by hand what is {PACKAGE}'s, here and where it is used"], []
    else:
        plain = not _UNPACKED.search(text)
        found = [(match[0], plain and bool(_BY_KEYWORDS.match(text, match.end()))) for match in _NAME.finditer(text)]
    problems, notes, modules = [], [], set()
    for full, by_keywords in found:
        name = _class_in(full)
        if name is None:
            problems.append(f"no counterpart of {full[:_SHOWN]} is known in MONAI: replace it by hand")
        elif CLASSES[name].is_same or (by_keywords and not words & CLASSES[name].options):
            notes += notes_on(name, words, "cosine" if "cosine" in words else "")
            modules.add(CLASSES[name].target.rpartition(".")[0])
        else:
            problems.append(_by_hand(name, words) + (", here and where it is used" if imported else ""))
    if imported and len(modules) > 1:
        problems.append(f"import these by hand from {', '.join(sorted(modules))}")
    if problems:
        return text, problems, notes
    if imported:
        return f"{imported[1]}{modules.pop()}{imported[3]}", problems, notes
    return _NAME.sub(lambda match: _renamed(match[0]), text), problems, notes


def _class_in(full: str) -> str | None:
    return next((part for part in full.split(".") if part in CLASSES), None)


def _renamed(full: str) -> str:
    name = _class_in(full) or ""
    return CLASSES[name].target + full.partition(f".{name}")[2]


def _by_hand(name: str, words: set[str]) -> str:
    new = CLASSES[name]
    options = [f"{there} for {here}" for here, there in new.renamed.items()]
    remedies = [f"; {option}: {why}" for option, why in {**new.missing, **new.refused}.items() if option in words]
    return (
        f"write {new.target} by hand, with options by name{''.join(f', {one}' for one in options)}{''.join(remedies)}"
    )

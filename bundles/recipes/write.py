"""Write what bundles share into each of them: ``make bundles``.

A file that bundles share is written once, as ``bundles/recipes/<file>``. What one of them says in other words stands in
``bundles/recipes/<bundle>/<file>``, in the notation of an overlay: ``id`` and ``id#part`` take the place of what is
there, and ``+id`` adds to it. Beside that,

- ``based_on`` names another recipe to start from, and ``without`` lists the ids that are left out of it;
- an item of a list goes by the last name of its class: ``train#handlers#CheckCard#values``;
- what is new follows the entry before it, or the one that a comment ``# after id`` names, or stands at the end;
- ``<id>`` stands for the value of an id, and ``<settings>`` for every id that ``check_settings`` has a rule for.

Other than an overlay, this joins text, so that comments and the order of sections reach those who open the file.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai_segdiff.settings import RULES

RECIPES = Path(__file__).parent
FOR_EVERY_BUNDLE = ("evaluate.yaml", "multi_gpu_train.yaml", "wandb.yaml")

_KEY = re.compile(r"(\+?[\w#]+):(?: |$)")
_TARGET = re.compile(r"_target_: [\w.]*\b(\w+)")
_AFTER = re.compile(r"# after (\w+)$")
_BASED_ON = re.compile(r"based_on: (\S+)\n")


@dataclass
class Entry:
    """A key with what stands below it, or an item of a list."""

    name: str  # the key; of an item the last name of its class, or its text
    head: str  # the first line; of an item that is a mapping only "-"
    above: list[str] = field(default_factory=list)  # comments and empty lines
    rest: list[str] = field(default_factory=list)  # further lines of a value that has no parts, without their indent
    parts: list[Entry] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Text of the entry, from the left margin."""
        yield from self.above
        below = [*(line for part in self.parts for line in part.lines()), *self.rest]
        yield f"- {below.pop(0)}" if self.head == "-" else self.head
        yield from (f"  {line}" if line else line for line in below)


def read(lines: list[str]) -> list[Entry]:
    """Entries of a mapping or a list; none of any other text."""
    entries: list[Entry] = []
    above: list[str] = []
    while lines:
        first, *lines = lines
        if not first or first.startswith("#"):
            above.append(first)
            continue
        end = next((index for index, line in enumerate(lines) if line and line[0] != " "), len(lines))
        while end and not lines[end - 1]:
            end -= 1
        below, lines = [line[2:] for line in lines[:end]], lines[end:]
        key = _KEY.match(first)
        if first.startswith("- "):
            parts = read([first[2:], *below])
            target = _TARGET.search(first)
            entries.append(
                Entry(target[1] if target else first, "-", above, [] if parts else [first[2:], *below], parts)
            )
        elif key:
            parts = read(below)
            entries.append(Entry(key[1], first, above, [] if parts else below, parts))
        else:
            return []
        above = []
    return entries


def find(entries: list[Entry], name: str) -> int:
    """Where the entry of that name is."""
    for index, entry in enumerate(entries):
        if entry.name == name:
            return index
    raise KeyError(f"there is no {name} among {', '.join(entry.name for entry in entries)}")


def parts_of(entries: list[Entry], name: str) -> list[Entry]:
    """The parts of the entry of that name, which must have lines of their own."""
    entry = entries[find(entries, name)]
    if entry.rest or not entry.head.partition(" #")[0].endswith((":", "-")):
        raise ValueError(f"{name} stands in one line: put another in its place, or give each of its parts a line")
    return entry.parts


def holder_of(entries: list[Entry], path: list[str]) -> list[Entry]:
    """The entries among which the last one of a path is or would be."""
    for name in path[:-1]:
        entries = parts_of(entries, name)
    return entries


def title_of_section(above: list[str]) -> list[str]:
    """Of what stands above an entry, what goes for those that follow it, too."""
    return [line for line in above if not line or line.startswith("# ---")]


def leave_out(entries: list[Entry], name: str) -> None:
    """Take an entry away, but not the title of a section that begins with it."""
    path = name.split("#")
    holder = holder_of(entries, path)
    index = find(holder, path[-1])
    above = title_of_section(holder.pop(index).above)
    if index < len(holder):
        holder[index].above[:0] = above


def change(entries: list[Entry], own: list[Entry]) -> None:
    """Put the entries of a recipe where they belong among those that it is based on."""
    place = len(entries)  # of what is new
    for entry in own:
        for line in entry.above:
            if after := _AFTER.match(line):
                place = find(entries, after[1]) + 1
        above = [line for line in entry.above if not _AFTER.match(line)]
        path = entry.name.removeprefix("+").split("#")
        holder = holder_of(entries, path)
        new = replace(entry, name=path[-1], head=entry.head.replace(entry.name, path[-1], 1), above=above)
        if entry.name.startswith("+"):
            change(parts_of(holder, path[-1]), entry.parts)
        elif path[-1] in [other.name for other in holder]:
            index = find(holder, path[-1])
            there = holder[index].above
            new.above = title_of_section(there) + above if any(above) else there
            holder[index] = new
        else:
            holder.insert(len(holder) if path[1:] else place, new)
        place = find(entries, path[0]) + 1


def chain(bundle: str, file: str) -> list[str]:
    """Texts of a bundle's recipe and of those that it is based on, the first of these first."""
    own = RECIPES / bundle / file
    texts = [own.read_text() if own.exists() else f"based_on: {file}\n"]
    while based_on := _BASED_ON.match(texts[0]):
        texts[:1] = [(RECIPES / based_on[1]).read_text(), texts[0][based_on.end() :]]
    for name in set(re.findall(r"<(\w+)>", "".join(texts))) - {"settings"}:
        value = re.findall(rf"^{name}: (\S+)", "\n".join(texts), re.M)[-1]
        texts = [text.replace(f"<{name}>", value) for text in texts]
    return texts


def joined(texts: list[str]) -> tuple[list[str], list[Entry]]:
    """The comment that the file begins with, and its entries."""
    title: list[str] = []
    entries: list[Entry] = []
    for text in texts:
        lines = text.splitlines()
        end = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
        title = lines[:end] or title
        own = read(lines[end:] if "".join(lines[end : end + 1]) else lines[end + 1 :])
        if not entries:
            entries = own
            continue
        if own and own[0].name == "without":
            for name in re.findall(r"[\w#]+", " ".join(own.pop(0).lines()).partition(":")[2]):
                leave_out(entries, name)
        change(entries, own)
    return title, entries


def settings_of(entries: list[Entry]) -> str:
    """Arguments that name every id with a rule, and the groups that a bundle of several networks has of them."""
    names = [entry.name for entry in entries if entry.name in RULES or re.search("_(size|training)$", entry.name)]
    return ", ".join(f"{name}=@{name}" for name in names)


def written(bundle: str, file: str) -> str:
    """What the configuration file of a bundle has to be."""
    title, entries = joined(chain(bundle, file))
    sections: set[str] = set()
    for entry in entries:
        if sections & set(entry.above):  # now begins with something new
            entry.above = [line for line in entry.above if line not in {"", *sections}]
        sections.update(line for line in entry.above if line.startswith("# ---"))
        if "<settings>" in entry.head:
            text = entry.head.replace("<settings>", settings_of(entries))
            entry.head, *entry.rest = textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False)
    recipe = f"{bundle}/{file}" if (RECIPES / bundle / file).exists() else file
    first = f"# Written by `make bundles` from bundles/recipes/{recipe}; change that."
    return "\n".join([first, *title, *(line for entry in entries for line in entry.lines()), ""])


def files() -> Iterator[tuple[str, str]]:
    """Bundle and name of every file that is written."""
    for folder in sorted(path for path in RECIPES.iterdir() if list(path.glob("*.yaml"))):
        for file in sorted({path.name for path in folder.glob("*.yaml")} | set(FOR_EVERY_BUNDLE)):
            yield folder.name, file


if __name__ == "__main__":
    for bundle, file in files():
        target = RECIPES.parent / bundle / "configs" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(written(bundle, file))

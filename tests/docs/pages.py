"""Documents of the repository and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page where its text starts."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every document with text for users or contributors."""
    own = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.is_file()]
    documents = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
    return own + documents + sorted((ROOT / "bundles").glob("*/docs/README.md"))


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in _FENCE.finditer(text)]


def commands(block: Block) -> Iterator[str]:
    """Commands of a shell block: continued lines joined, comments and empty lines left out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def page_id(page: Path) -> str:
    """Name of a page in test reports."""
    return page.relative_to(ROOT).as_posix()

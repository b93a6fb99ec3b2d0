"""A page of the documentation from the report of `evaluate`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import RESULTS, machine, say

__all__ = ["publish"]

_FILES = ("report.html", "report.json", "report.csv", "samples.png")


def publish(report: Path, name: str, title: str, text: str, output: Path = RESULTS) -> Path:
    """Write ``<name>.md`` and copy the report's files into ``<name>/`` beside it.

    Args:
        report: folder of the report, with ``report.txt``.
        name: name of the page.
        title: its title.
        text: what was done and what it shows.
        output: folder of the pages.

    Returns:
        The page.
    """
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in _FILES:
        shutil.copy(report / file, folder / file)
    summary = (report / "report.txt").read_text(encoding="utf-8").rstrip()
    facts = ", ".join(
        f"{key} {' '.join(value) if isinstance(value, list) else value}" for key, value in machine().items()
    )
    page = output / f"{name}.md"
    page.write_text(
        f"# {title}\n\n{text}\n\n![mask, generated, real]({name}/samples.png)\n\n"
        f"{{download}}`Report as one page <{name}/report.html>`, {{download}}`as JSON <{name}/report.json>`, "
        f"{{download}}`as CSV <{name}/report.csv>`.\n\n```text\n{summary}\n```\n\nMachine: {facts}.\n",
        encoding="utf-8",
    )
    say(f"page: {page}")
    return page


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.publish", description=__doc__)
    parser.add_argument("report", type=Path, help="folder that `evaluate` wrote")
    parser.add_argument("--name", required=True, help="name of the page")
    parser.add_argument("--title", required=True, help="its title")
    parser.add_argument("--text", default="", help="what was done")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the pages")
    args = parser.parse_args(argv)
    publish(args.report, args.name, args.title, args.text, args.output)


if __name__ == "__main__":
    main()

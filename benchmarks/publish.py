"""A page of the documentation from the report of `evaluate`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import RESULTS, machine, say

__all__ = ["publish"]

# `report.html` stays where `evaluate` wrote it: its figures and pictures are those that are kept here.
_FILES = {"report.json": "Report as JSON", "report.csv": "as CSV", "samples.png": None}


def publish(report: Path, name: str, title: str, text: str, output: Path = RESULTS, *, pictures: bool = True) -> Path:
    """Write ``<name>.md`` and copy the report's files into ``<name>/`` beside it.

    Args:
        report: folder of the report, with ``report.txt``.
        name: name of the page.
        title: its title.
        text: what was done and what it shows.
        output: folder of the pages.
        pictures: whether images may be shown; otherwise the page has figures alone.

    Returns:
        The page.
    """
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    files = [file for file in _FILES if pictures or file.endswith((".json", ".csv"))]
    for file in files:
        shutil.copy(report / file, folder / file)
    summary = (report / "report.txt").read_text(encoding="utf-8").rstrip()
    facts = ", ".join(
        f"{key} {' '.join(value) if isinstance(value, list) else value}" for key, value in machine().items()
    )
    page = output / f"{name}.md"
    shown = f"![mask, generated, real]({name}/samples.png)\n\n" if pictures else ""
    links = ", ".join(
        f"{{download}}`{label} <{name}/{file}>`" for file, label in _FILES.items() if label and file in files
    )
    page.write_text(
        f"# {title}\n\n{text}\n\n{shown}{links}.\n\n```text\n{summary}\n```\n\nMachine: {facts}.\n",
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

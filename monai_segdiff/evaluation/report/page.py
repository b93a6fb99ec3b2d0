"""The report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from monai_segdiff.evaluation.report.report import Picture, Report, format_cell
from monai_segdiff.files import atomic_file
from monai_segdiff.metrics import Estimate
from monai_segdiff.pictures.lettering import lettered

__all__ = ["render_page", "write_page", "write_picture"]


def render_page(report: Report, name: str = "report") -> str:
    """The page as a string; pictures are embedded.

    Args:
        report: what it shows.
        name: of the files with the figures, without their ending.
    """
    environment = Environment(
        loader=PackageLoader("monai_segdiff.evaluation", "report"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = format_cell
    environment.filters["png"] = _embedded
    environment.tests["estimate"] = lambda cell: isinstance(cell, Estimate)
    return environment.get_template("report.html.j2").render(report=report, headlines=_headlines(report), name=name)


def write_page(report: Report, folder: str | Path, name: str = "report") -> Path:
    """Write `report.html`, complete or not at all, and return its path.

    Args:
        report: what it shows.
        folder: where to.
        name: of the file, without its ending.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = Path(folder) / f"{name}.html"
    with atomic_file(path) as temporary:
        temporary.write_text(render_page(report, name), encoding="utf-8")
    return path


def write_picture(picture: Picture, path: str | Path) -> None:
    """Write a picture as PNG, complete or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(_png(lettered(picture.pixels, picture.rows, legend=picture.legend)))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _embedded(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(picture.pixels)).decode()


def _headlines(report: Report) -> list[tuple[str, str, str]]:
    """Label and value of each headline, and the figure to compare it with."""
    return [
        (line.label, _value(report, line.figure, line.style), f"{line.name} {_value(report, line.against, line.style)}")
        for line in report.headlines
    ]


def _value(report: Report, keys: tuple[str, str, str], style: str) -> str:
    cell = report.cell(*keys)
    return format_cell(cell.value if isinstance(cell, Estimate) else cell, style)

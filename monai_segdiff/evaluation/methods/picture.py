"""The picture of a comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from monai_segdiff.evaluation.methods.rows import MethodRow
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.report.pictures import COLUMNS, GAP, TILE, image_rows, mask_tile
from monai_segdiff.evaluation.report.report import Picture
from monai_segdiff.evenly import evenly
from monai_segdiff.pictures.tiles import class_color, picture_grid

__all__ = ["methods_picture"]


def methods_picture(rows: Sequence[MethodRow], reader: PairReader, with_real: bool) -> Picture:
    """What each method was told and made, in rows, above the real images; evenly spaced, none chosen by eye.

    Args:
        rows: methods, those of one condition together.
        reader: reads the real cases.
        with_real: whether to show the real images.
    """
    chosen = evenly(range(len(rows[0].matches)), COLUMNS, with_last=True)
    tiles, names = [], []
    synthetic = set()
    legend: dict[str, tuple[int, int, int]] = {}
    for condition, members in groupby(rows, key=lambda row: row.condition):
        tiles.append([mask_tile(condition.reader(rows[0].matches[i].real)) for i in chosen])
        names.append(condition.name or "mask")
        legend |= {name: class_color(index) for index, name in enumerate(condition.reader.classes, start=1)}
        for row in members:
            made = image_rows(row.method, [row.reader(row.matches[i].generated) for i in chosen], row.reader.channels)
            synthetic |= set(range(len(tiles), len(tiles) + len(made)))
            tiles += made.values()
            names += made
    if with_real:
        real = image_rows("real", [reader(rows[0].matches[i].real) for i in chosen], reader.channels)
        tiles += real.values()
        names += real
    caption = "What each method was told, and what it made of it" + (", above the real images" if with_real else "")
    caption += "; evenly spaced over the data set, not selected."
    return Picture(caption, picture_grid(tiles, TILE, GAP, synthetic), tuple(names), legend)

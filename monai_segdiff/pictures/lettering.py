"""Words in pictures: names of rows and columns, the classes' colors, and what is synthetic."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["burn_in", "edge_letters", "lettered", "titled"]

_SIZE = 14
_SMALLEST = 6
_MARGIN = 6
_LONGEST = 48  # letters of a name; the rest becomes ...


def burn_in(tile: np.ndarray, text: str = "synthetic") -> np.ndarray:
    """Write a word into the lower left corner of an image, so that it stays where the image goes.

    Args:
        tile: uint8, ``(height, width, 3)``. One that is small gets smaller letters, of at least 6 pixels; one that is
            too small for these stays as it is.
        text: the word.

    Returns:
        A new array of the same shape.
    """
    fitting = (size for size in range(_SIZE, _SMALLEST - 1, -1) if _width(text, size) <= tile.shape[1] - 4)
    size = next(fitting, None)
    if size is None or size > tile.shape[0] // 2:
        return tile.copy()
    picture = Image.fromarray(tile)
    place = 2, tile.shape[0] - 2
    draw = ImageDraw.Draw(picture)
    draw.text(place, text, (255, 255, 255), _font(size), anchor="ls", stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(picture).copy()


def lettered(
    pixels: np.ndarray,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    legend: Mapping[str, tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """Write the names of its rows and columns around a picture, and its classes below.

    Args:
        pixels: uint8, ``(height, width, 3)``, of tiles of one size.
        rows: names from the top, beside the picture; none by default.
        columns: names from the left, above it; none by default.
        legend: names to colors; none by default.

    Returns:
        uint8 pixels of the larger picture, black on white; what was given where there is nothing to write.
    """
    if not (rows or columns or legend):
        return pixels
    names = [_short(name) for name in rows]
    left = max((_width(name) for name in names), default=-2 * _MARGIN) + 2 * _MARGIN
    top = _SIZE + 2 * _MARGIN if columns else 0
    height, width = pixels.shape[:2]
    entries, depth = _places(legend or {}, max(left + width, 200))
    picture = Image.new("RGB", (max(left + width, 200 if legend else 0), top + height + depth), (255, 255, 255))
    picture.paste(Image.fromarray(pixels), (left, top))
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        draw.text((_MARGIN, top + (number + 0.5) * height / len(names)), name, (0, 0, 0), _font(), anchor="lm")
    for number, name in enumerate(columns):
        draw.text((left + (number + 0.5) * width / len(columns), top / 2), name, (0, 0, 0), _font(), anchor="mm")
    for name, color, x, y in entries:
        draw.rectangle((x, top + height + y, x + _SIZE, top + height + y + _SIZE), color, (0, 0, 0))
        draw.text((x + _SIZE + 4, top + height + y + _SIZE / 2), name, (0, 0, 0), _font(), anchor="lm")
    return np.asarray(picture).copy()


def edge_letters(tile: np.ndarray, letters: str) -> np.ndarray:
    """Write at the edges of an image which side of the body is there.

    Args:
        tile: uint8, ``(height, width, 3)``.
        letters: for left, right, top and bottom edge, such as ``"RLAP"``; none where it is empty.

    Returns:
        A new array of the same shape.
    """
    if not letters:
        return tile.copy()
    height, width = tile.shape[:2]
    picture = Image.fromarray(tile)
    draw = ImageDraw.Draw(picture)
    places = (
        ((3, height / 2), "lm"),
        ((width - 3, height / 2), "rm"),
        ((width / 2, 2), "ma"),
        ((width / 2, height - 2), "md"),
    )
    for letter, (place, anchor) in zip(letters, places, strict=True):
        draw.text(place, letter, (255, 255, 0), _font(), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(picture).copy()


def titled(pixels: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Write lines above a picture; those that are wider than it are broken.

    Args:
        pixels: uint8, ``(height, width, 3)``.
        lines: texts.

    Returns:
        uint8 pixels of the higher picture, black on white.
    """
    height, width = pixels.shape[:2]
    letters = max(20, int((width - 2 * _MARGIN) / (_width("abcdefghijklmnopqrstuvwxyz") / 26)))
    broken = [part for line in lines for part in textwrap.wrap(line, letters, subsequent_indent="   ")]
    pitch = _SIZE + _MARGIN
    top = pitch * len(broken) + (_MARGIN if broken else 0)
    picture = Image.new("RGB", (width, top + height), (255, 255, 255))
    picture.paste(Image.fromarray(pixels), (0, top))
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(broken):
        draw.text((_MARGIN, _MARGIN + number * pitch), line, (0, 0, 0), _font())
    return np.asarray(picture).copy()


def _places(
    legend: Mapping[str, tuple[int, int, int]], width: int
) -> tuple[list[tuple[str, tuple[int, int, int], int, int]], int]:
    """Where each entry of a legend goes in lines of a width, and how high all of them are."""
    found, x, y = [], _MARGIN, _MARGIN
    for name, color in legend.items():
        text = _short(name)
        needed = _SIZE + 4 + _width(text) + 2 * _MARGIN
        if x > _MARGIN and x + needed > width:
            x, y = _MARGIN, y + _SIZE + _MARGIN
        found.append((text, color, x, y))
        x += needed
    return found, y + _SIZE + _MARGIN if found else 0


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def _font(size: int = _SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(text: str, size: int = _SIZE) -> int:
    return int(np.ceil(_font(size).getlength(text)))

"""Closed contours as pixels: filled, and those of one slice put together with their holes and islands."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_polygon", "join_contours"]

_CROSSINGS = 2**20  # of edges and lines of pixels, at a time
_MOST_CROSSINGS = 2**22  # in a slice of 512 x 512 pixels, each line is crossed about 10 times by what people draw
_MOST_CONTOURS = 2000  # each is compared with all others


def fill_polygon(shape: tuple[int, int], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels whose centers lie in a polygon or on its edge, where what is enclosed an even number of times is outside.

    Each line of pixels is filled between the edges that cross it, so that the time grows with the length of the edges
    rather than with corners times pixels. The result is that of ``skimage.draw.polygon2mask``, which tests each pixel
    by the parity of the edges to either side of it (Hao et al. 2018, Optimal Reliable Point-in-Polygon Test).

    Args:
        shape: of the mask.
        corners: (N, 2), in pixels; the center of the first pixel is (0, 0).

    Returns:
        Mask of the shape.

    Raises:
        ValueError: if it goes to and fro more often than anybody draws.
    """
    ends = np.roll(corners, 1, axis=0)
    low = np.minimum(corners[:, 0], ends[:, 0])
    high = np.maximum(corners[:, 0], ends[:, 0])
    # Edges with one end beyond a line count for what lies right of a pixel, those with one end before it for the left.
    right = _odd(shape, corners, ends, np.ceil(low), np.ceil(high) - 1, 0)
    left = _odd(shape, corners, ends, np.floor(low) + 1, np.floor(high), 1)
    filled = right | left
    on = np.round(corners)
    exact = (on == corners).all(1) & (on >= 0).all(1) & (on < shape).all(1)
    filled[tuple(on[exact].astype(np.int64).T)] = True
    return filled


def _odd(
    shape: tuple[int, int],
    corners: NDArray[np.float64],
    ends: NDArray[np.float64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    after: int,
) -> NDArray[np.bool_]:
    """Pixels with an odd number of crossings before them; one on a pixel counts for it, or `after` 1 for the next."""
    lines, width = shape
    start = np.clip(first, 0, lines).astype(np.int64)
    count = np.maximum(np.clip(last, -1, lines - 1).astype(np.int64) - start + 1, 0)
    if count.sum() > _MOST_CROSSINGS:
        raise ValueError(f"a contour crosses the lines of pixels {count.sum()} times")
    counts = np.zeros(lines * (width + 1), dtype=np.int64)
    bounds = np.flatnonzero(np.diff(np.cumsum(count) // _CROSSINGS, prepend=0)).tolist()
    for begin, end in zip([0, *bounds], [*bounds, len(count)], strict=True):
        edge = np.repeat(np.arange(begin, end), count[begin:end])
        within = np.arange(len(edge)) - np.repeat(np.cumsum(count[begin:end]) - count[begin:end], count[begin:end])
        line = start[edge] + within
        (y0, x0), (y1, x1) = corners[edge].T, ends[edge].T
        at = x0 + (line - y0) * (x1 - x0) / (y1 - y0)
        column = np.floor(at) + 1 if after else np.ceil(at)
        column = np.clip(column, 0, width).astype(np.int64)
        counts += np.bincount(line * (width + 1) + column, minlength=len(counts))
    return np.cumsum(counts.reshape(lines, width + 1)[:, :-1], axis=1) % 2 == 1


def join_contours(shape: tuple[int, int], contours: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Closed contours of one slice as one region: those within others are holes, and those within holes islands.

    Args:
        shape: of the slice.
        contours: corners of each, see `fill_polygon`; at least one.

    Returns:
        Mask of the shape.

    Raises:
        ValueError: if they are more than anybody draws.
    """
    if len(contours) > _MOST_CONTOURS:
        raise ValueError(f"there are {len(contours)} contours in one slice")
    # Outer ones first, and eight pixels in a byte.
    distinct: dict[bytes, int] = {}
    for corners in contours:
        filled = fill_polygon(shape, corners)
        distinct[np.packbits(filled).tobytes()] = -np.count_nonzero(filled)
    stack = np.stack([np.frombuffer(part, np.uint8) for part in sorted(distinct, key=distinct.__getitem__)])
    around = [np.flatnonzero(~(part & ~stack[:i]).any(axis=1)).tolist() for i, part in enumerate(stack)]
    depth: list[int] = []
    for outer in around:
        depth.append(1 + max(depth[j] for j in outer) if outer else 0)
    holes: dict[int, list[int]] = {}
    for j, outer in enumerate(around):
        if depth[j] % 2:
            for i in outer:
                holes.setdefault(i, []).append(j)
    region = np.zeros_like(stack[0])
    for i, part in enumerate(stack):
        if depth[i] % 2 == 0:
            region |= part & ~np.bitwise_or.reduce(stack[holes[i]], axis=0) if i in holes else part
    return np.unpackbits(region, count=prod(shape)).reshape(shape).astype(bool)

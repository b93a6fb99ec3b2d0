"""What the directories of a TIFF file say, read before a decoder sees them: they may claim anything."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Page", "tiff_pages"]

_MOST_PAGES = 10_000
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT = 256, 257, 258, 259, 262, 277, 339
_SUBFILE = 254
_SMALLER = 1  # bit of _SUBFILE: the same image in a lower resolution


@dataclass(frozen=True)
class Page:
    """One image of a file.

    Args:
        number: among all that the file holds, those that are left out included.
        width: in pixels.
        height: in pixels.
        bits: of a sample.
        samples: of a pixel: 1 of gray, 3 of colors.
        compression: number of the method; 1 is none.
        photometric: 0 where white is zero, 1 where black is.
        signed: whether samples are whole numbers with a sign.
    """

    number: int
    width: int
    height: int
    bits: int
    samples: int
    compression: int
    photometric: int
    signed: bool

    @property
    def size(self) -> int:
        """Bytes of its pixels, unpacked."""
        return (self.width * self.samples * self.bits + 7) // 8 * self.height


def tiff_pages(content: bytes) -> list[Page]:
    """List the images of a TIFF file, without those that repeat another in a lower resolution.

    Args:
        content: the whole file.

    Raises:
        ValueError: if it is no TIFF file, a directory or what it points to lies outside the file, directories go round,
            or there are too many; the file is not named.
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2], "")
    version = struct.unpack(f"{order}H", content[2:4])[0] if order and len(content) >= 8 else 0
    if version not in (42, 43):
        raise ValueError("it does not begin with a TIFF header")
    big = version == 43
    if big and len(content) < 16:
        raise ValueError("it is cut short")
    at = struct.unpack_from(f"{order}{'Q' if big else 'I'}", content, 8 if big else 4)[0]
    pages: list[Page] = []
    seen: set[int] = set()
    while at:
        if at in seen:
            raise ValueError("its directories go round in a circle")
        if len(seen) >= _MOST_PAGES:
            raise ValueError(f"it has more than {_MOST_PAGES:,} pages; save fewer in a file")
        seen.add(at)
        tags, at = _directory(content, at, order, big)
        if not tags.get(_SUBFILE, (0,))[0] & _SMALLER:
            pages.append(_page(len(seen) - 1, tags))
    if not pages:
        raise ValueError("it holds no image")
    return pages


def _page(number: int, tags: dict[int, tuple[int, ...]]) -> Page:
    bits = tags.get(_BITS, (1,))
    page = Page(
        number,
        tags.get(_WIDTH, (0,))[0],
        tags.get(_HEIGHT, (0,))[0],
        max(bits),
        tags.get(_SAMPLES, (1,))[0],
        tags.get(_COMPRESSION, (1,))[0],
        tags.get(_PHOTOMETRIC, (1,))[0],
        tags.get(_FORMAT, (1,))[0] == 2,
    )
    if not (0 < page.width and 0 < page.height and 0 < page.samples and 0 < page.bits <= 64):
        raise ValueError(f"its page {number} is {page.width}x{page.height} pixels of {page.samples}x{page.bits} bits")
    return page


def _directory(content: bytes, at: int, order: str, big: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """Whole numbers of a directory by their tag, and where the next directory is.

    No two tags share bytes in a sound file, so together they are not longer than the file; a decoder reads them all.
    """
    try:
        number = struct.unpack_from(f"{order}{'Q' if big else 'H'}", content, at)[0]
        at += 8 if big else 2
        entry, counted = ("HHQ", "Q") if big else ("HHI", "I")
        length, inline = (20, 8) if big else (12, 4)
        if number * length > len(content):
            raise ValueError("its directory has more entries than the file has bytes")
        tags: dict[int, tuple[int, ...]] = {}
        total = 0
        for place in range(at, at + number * length, length):
            tag, kind, count = struct.unpack_from(f"{order}{entry}", content, place)
            size = _SIZES.get(kind, 1) * count
            total += size
            where = place + length - inline
            if size > inline:
                where = struct.unpack_from(f"{order}{counted}", content, where)[0]
            if where + size > len(content) or total > len(content):
                raise ValueError(f"its entry {tag} lies outside the file: it is cut short, or damaged")
            if kind in _NUMBERS and 0 < count <= 64:
                tags.setdefault(tag, struct.unpack_from(f"{order}{count}{_NUMBERS[kind]}", content, where))
        return tags, struct.unpack_from(f"{order}{counted}", content, at + number * length)[0]
    except struct.error:
        raise ValueError("its directories lie outside the file: it is cut short, or damaged") from None

"""What may happen to any file, whatever is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

__all__ = ["EXTREME_NUMBERS", "Draw", "mutate_bytes", "position"]

Draw = Callable[[st.SearchStrategy[Any]], Any]

EXTREME_NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    128,
    255,
    256,
    -32768,
    32767,
    65535,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**63 - 1,
)

_FOREIGN = (
    b"",
    b"\0" * 400,
    b"\xff\xd8\xff\xe0\x00\x10JFIF\0",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    b"PK\x03\x04\x14\0\0\0",
    b"NRRD0005\ntype: float\ndimension: 2\nsizes: 4 4\nencoding: raw\n\n",
    b"\0" * 128 + b"DICM",
    b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n\x80\x04N.",
    b"\x80\x04cposix\nsystem\n(S'touch \"$SEGDIFF_CANARY\"'\ntR.",
    b'{"labels": {"1": "liver"}}',
    b"<!DOCTYPE html><html></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
)


def position(draw: Draw, content: bytes) -> int:
    """A place in a file, the first 512 bytes, where headers are, as often as all the rest."""
    last = max(0, len(content) - 1)
    return int(draw(st.one_of(st.integers(0, min(511, last)), st.integers(0, last))))


def mutate_bytes(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Damage a file without a look at what is in it.

    Args:
        draw: of hypothesis.
        content: the sound file.

    Returns:
        What was done, and the damaged file.
    """
    kind = draw(st.sampled_from(("cut", "flip", "zero", "repeat", "remove", "insert", "foreign", "append")))
    at = position(draw, content)
    length = draw(st.integers(1, 64))
    if kind == "cut":
        return "cut short", content[:at]
    if kind == "flip":
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[position(draw, content)] ^= 1 << draw(st.integers(0, 7))
        return "bits flipped", bytes(changed)
    if kind == "zero":
        return "range of zeros", content[:at] + b"\0" * len(content[at : at + length]) + content[at + length :]
    if kind == "repeat":
        return "range repeated", content[: at + length] + content[at:]
    if kind == "remove":
        return "range removed", content[:at] + content[at + length :]
    if kind == "insert":
        return "bytes inserted", content[:at] + draw(st.binary(min_size=1, max_size=16)) + content[at:]
    if kind == "append":
        return "bytes appended", content + draw(st.binary(min_size=1, max_size=64))
    return "another file", draw(st.sampled_from(_FOREIGN))

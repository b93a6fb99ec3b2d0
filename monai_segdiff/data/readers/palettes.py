"""Label maps whose ids are the indices of a palette: an index must have one color in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Palettes", "Seen"]

Color = tuple[int, int, int]


@dataclass
class Seen:
    """What was seen of one case while its files were looked at.

    Args:
        ids: of its label map.
        palette: colors of those that are indices of a palette; empty for any other file.
        count: whether voxels are to be counted.
        voxels: their number for each id but 0; None where they were not counted.
        voxel_volume: of one of them in mm^3; None where that is not known.
    """

    ids: set[int] = field(default_factory=set)
    palette: Mapping[int, Color] = field(default_factory=dict)
    count: bool = False
    voxels: Mapping[int, int] | None = None
    voxel_volume: float | None = None


class Palettes:
    """The colors that the indices of label maps have had so far.

    Tools that write the smallest palette for each picture call the liver 1 in one file and 2 in the next; painted with
    one palette for all, as PASCAL VOC has it, an index is a class.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Color, Path]] = {}

    def conflict(self, file: Path, palette: Mapping[int, Color]) -> str | None:
        """Tell what contradicts the files before, and a remedy behind a semicolon; None where nothing does.

        Args:
            file: a label map.
            palette: its colors by index.
        """
        for index, color in palette.items():
            before, other = self._known.setdefault(index, (color, file))
            if before != color:
                return (
                    f"its palette paints id {index} as {color}, that of {other} as {before}, so ids are not the same "
                    "classes in all files; save all label maps with one palette, or with one id per pixel in gray"
                )
        return None

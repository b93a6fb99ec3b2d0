"""How much of each label id a data set holds: cases, voxels and milliliters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monai_segdiff.data.description.classes import named_ids
from monai_segdiff.data.readers.palettes import Seen

__all__ = ["IdVolume", "LabelVolumes"]


@dataclass
class IdVolume:
    """What there is of one label id.

    Args:
        cases: label maps that hold it.
        voxels: in all of them.
        milliliters: the same as a volume, of those whose voxel size is known.
        measured: how many these are.
    """

    cases: int = 0
    voxels: int = 0
    milliliters: float = 0.0
    measured: int = 0


@dataclass
class LabelVolumes:
    """What there is of every label id of a data set; told by `check_dataset`.

    Args:
        found: what the data set is, in words.
        classes: class name to label id or ids.
        ids: volumes by label id.
        label_maps: how many were counted.
    """

    found: str = ""
    classes: Mapping[str, int | Sequence[int]] = field(default_factory=dict)
    ids: dict[int, IdVolume] = field(default_factory=dict)
    label_maps: int = 0

    def add(self, seen: Seen) -> None:
        """Count a label map.

        Args:
            seen: what was seen of it.
        """
        if seen.voxels is None:
            return
        self.label_maps += 1
        for i, voxels in seen.voxels.items():
            volume = self.ids.setdefault(i, IdVolume())
            volume.cases += 1
            volume.voxels += voxels
            if seen.voxel_volume is not None:
                volume.milliliters += voxels * seen.voxel_volume / 1000
                volume.measured += 1

    def table(self) -> str:
        """The ids, a line each, with their class, the cases that hold them, voxels, and milliliters a case."""
        names = {i: name for name, i in named_ids(self.classes)}
        lines = [("id", "class", "cases", "voxels", "mL", "mL a case")]
        for i, volume in sorted(self.ids.items()):
            milliliters, mean = "-", "-"
            if volume.measured:
                milliliters = _rounded(volume.milliliters)
                mean = _rounded(volume.milliliters / volume.measured)
            cases = f"{volume.cases} of {self.label_maps}"
            lines.append((str(i), names.get(i, "?"), cases, str(volume.voxels), milliliters, mean))
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column == 1 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def _rounded(number: float) -> str:
    """A number with three digits that count, and none of its whole ones lost."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"

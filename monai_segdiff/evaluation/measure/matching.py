"""The real image that each generated image is compared with: the one with the same mask, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.data.description.records import read_manifest, read_seconds
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evenly import evenly

__all__ = ["Match", "manifest_records", "match_cases", "same_masks"]

_NUMBERED = re.compile(r"(.+)_(\d{3,})")


@dataclass(frozen=True)
class Match:
    """A generated case and the real case with the same label map.

    Args:
        generated: the generated case.
        real: the real one.
        number: of the image among those of its mask, from 0.
        evaluations: evaluations of the network; None if unknown.
        seconds: time that the image took; None if unknown.
    """

    generated: Case
    real: Case
    number: int
    evaluations: int | None
    seconds: float | None

    @property
    def key(self) -> tuple[str, int]:
        """Mask and number: the same for images that two methods made for one mask."""
        return self.real.id, self.number


def match_cases(inputs: Inputs) -> list[Match]:
    """Find the real partner of every generated case.

    The manifest that `generate` writes names the mask of each image. Without it, the name of the mask is that of the
    image without its number (`knee0003_view012_000` belongs to `knee0003_view012`).

    Args:
        inputs: both data sets; all generated cases must belong to held-out real ones.

    Returns:
        One match for each generated case, in the order of the real ones.

    Raises:
        ValueError: if a generated case has no partner; names it.
    """
    held_out = {case.id: (order, case) for order, case in enumerate(inputs.held_out)}
    records, seconds = manifest_records(inputs.synthetic)
    found = []
    for case in inputs.generated:
        record = records.get(case.id, {})
        named = _NUMBERED.fullmatch(case.id)
        mask = str(record.get("mask", named[1] if named else case.id))
        if mask not in held_out:
            trained = any(mask == real.id for real in inputs.training)
            raise ValueError(
                f"generated image {case.image} was made from mask {mask!r}, which is "
                + ("a training case" if trained else "no held-out case")
                + f" of {inputs.real.root}: generate images for the masks of its split test or validation"
            )
        order, real = held_out[mask]
        number = int(named[2]) if named and named[1] == mask else 0
        time = seconds.get(str(record.get("index")))
        found.append((order, Match(case, real, number, record.get("evaluations"), time)))
    return [match for _, match in sorted(found, key=lambda pair: (pair[0], pair[1].number))]


def same_masks(rows: Mapping[str, Sequence[Match]], number: int | None = None) -> dict[str, list[Match]]:
    """Check that all rows have images of the same masks, and choose some of them.

    Args:
        rows: matches by name of the row.
        number: at most so many images of each row, evenly spaced; default: all.

    Returns:
        The matches of every row, in one order.

    Raises:
        ValueError: if a row lacks a mask that another one has; names both.
    """
    by_key = {name: {match.key: match for match in matches} for name, matches in rows.items()}
    for name, own in by_key.items():
        for other, theirs in by_key.items():
            missing = next((key for key in theirs if key not in own), None)
            if missing is not None:
                raise ValueError(
                    f"row {name!r} lacks image number {missing[1]} of mask {missing[0]!r}, which row {other!r} has: "
                    "generate as many images of the same masks for every row"
                )
    first = next(iter(rows.values()))
    keys = [match.key for match in evenly(first, number)]
    return {name: [own[key] for key in keys] for name, own in by_key.items()}


def manifest_records(dataset: SegmentationDataset) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Records of the manifest by case, and seconds by sample index; empty where there is no such file."""
    root = Path(dataset.root)
    names = {case.image: case.id for cases in dataset.splits.values() for case in cases}
    # A sample that was never accepted has a record and no image.
    records = [record for record in read_manifest(root).get("samples", []) if record.get("image")]
    by_case = {names.get((root / record["image"]).resolve(), ""): record for record in records}
    return by_case, read_seconds(root)

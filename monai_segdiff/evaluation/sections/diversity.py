"""Diversity: how alike generated images are, of one mask and of different ones."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.evidence import Evidence, ReportSection
from monai_segdiff.evaluation.measure.few_images import patients_text
from monai_segdiff.evaluation.measure.origins import diversity_groups
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.report.report import Cell, Column, Row, Section
from monai_segdiff.metrics import Estimate, SimilarityScales, bootstrap_pairs, draw_pairs, ms_ssim

__all__ = ["Diversity"]

_MOST_PAIRS, _FEWEST_PAIRS = 300, 30
_PIXELS = 2**23  # compared in each cell of the table: 300 pairs of 128x128, 30 of volumes of 64x64x64 and more
_FEW = 30  # pairs


class Diversity(ReportSection):
    """MS-SSIM between pairs of images of one mask and of different masks, beside that of the real images.

    Failed samples are left out, as noise would count as diversity.
    """

    def __call__(self, evidence: Evidence) -> Section:
        """The section."""
        inputs, real, synthetic, seed = evidence.inputs, evidence.held_out, evidence.synthetic, evidence.seed
        shape = tuple(inputs.real_reader.image(inputs.held_out[0]).shape[1:])
        scales = SimilarityScales.for_size(shape)
        number = min(_MOST_PAIRS, max(_FEWEST_PAIRS, _PIXELS // math.prod(shape)))
        kept = [i for i, out in enumerate(evidence.failed.tolist()) if not out]
        synthetic_masks: list[Hashable] = list(diversity_groups(inputs, synthetic.mask_ids))
        sides = {
            "synthetic": _Side(
                [synthetic.cases[i] for i in kept], [synthetic_masks[i] for i in kept], inputs.synthetic_reader
            ),
            "real": _Side(list(real.cases), list(real.mask_ids), inputs.real_reader),
        }
        across = all(len(set(side.patients)) > 1 for side in sides.values())
        left_out, several = len(synthetic) - len(kept), len(set(synthetic_masks)) < len(synthetic_masks)
        rows = []
        for key, label in (("one_mask", "images of one mask"), ("masks", "images of different masks")):
            cells: dict[str, Cell] = {}
            for name, side in sides.items():
                pairs = side.pairs(key == "one_mask", across, number, seed)
                why = _why(key, name, left_out, several)
                cells[name] = side.similarity(pairs, scales, seed).or_missing(why, len(side.cases))
                cells[f"{name}_pairs"] = len(pairs)
            rows.append(Row(key, label, cells))
        notes = [
            f"MS-SSIM with {scales} (five scales of 11 pixels need 176 pixels a side); intensities mapped to 0 to 1.",
            f"At most {number} pairs in each cell, drawn at random; pairs of different masks are of "
            + ("different patients, too." if across else "one patient.")
            + " Intervals from resampling patients.",
        ]
        notes += inputs.of_channels("MS-SSIM is the mean over channels.")
        if left_out:
            notes.append(f"{left_out} failed samples were left out: noise would count as diversity.")
        return Section(
            key="diversity",
            title="Diversity",
            text="Structural similarity of pairs of images; 1 is equality, and lower is more diverse. Images of one "
            "mask "
            "share its anatomy, so they are more alike than those of different masks. A generator that always gives "
            "the "
            "same image comes near 1; one that is as diverse as the real images reaches their figure for different "
            "masks.",
            columns={
                "synthetic": Column("synthetic [95% interval]"),
                "synthetic_pairs": Column("pairs", "count"),
                "real": Column("held-out real [95% interval]"),
                "real_pairs": Column("pairs", "count"),
            },
            rows=rows,
            notes=notes,
            warnings=_warnings(rows),
        )


class _Side:
    """Images of one data set, and the pairs that can be made of them."""

    def __init__(self, cases: list[Case], masks: Sequence[Hashable], reader: PairReader) -> None:
        self.cases, self.masks, self.reader = cases, masks, reader
        self.patients = [case.patient for case in cases]

    def pairs(self, of_one_mask: bool, across_patients: bool, number: int, seed: int) -> list[tuple[int, int]]:
        other = self.patients if across_patients else self.masks
        return draw_pairs(self.masks, None if of_one_mask else other, number, seed)

    def similarity(self, pairs: Sequence[tuple[int, int]], scales: SimilarityScales, seed: int) -> Estimate:
        values = []
        size = self.reader.batch_size(self.cases[0]) if pairs else 1
        for start in range(0, len(pairs), size):
            first_images, second_images = (
                torch.stack([(self.reader.image(self.cases[i]) + 1) / 2 for i in side])
                for side in zip(*pairs[start : start + size], strict=True)
            )
            values.append(ms_ssim(first_images, second_images, scales))
        first, second = ([self.patients[pair[k]] for pair in pairs] for k in (0, 1))
        return bootstrap_pairs(torch.cat(values) if values else torch.empty(0), first, second, seed=seed)


def _why(key: str, name: str, failed: int, several: bool) -> str:
    """Why there are no pairs; `several` says whether images of one mask are there, if failed ones are counted."""
    sound = "sound synthetic" if name == "synthetic" else "held-out real"
    if key != "one_mask":
        return f"there are no two {sound} images of different masks"
    if name == "real":
        return "each has its own mask"
    if several:
        return f"no two sound synthetic images are of one mask, as {failed} failed samples were left out"
    return "no two synthetic images are of one mask: generate several for each mask (--per-mask)"


def _warnings(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        for name in ("synthetic", "real"):
            cell = row.cells[name]
            assert isinstance(cell, Estimate)
            if cell.value is None and (row.key, name) != ("one_mask", "real"):
                found.append(f"Not computable, {row.label}: {cell.reason}.")
            elif cell.value is not None and (cell.n < _FEW or cell.groups < 3):
                few = f"{cell.n} pairs of {patients_text(cell.groups)}"
                found.append(f"{name.capitalize()} {row.label}: {few} say little.")
    return found

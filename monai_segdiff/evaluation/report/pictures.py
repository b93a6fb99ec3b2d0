"""Pictures of the report: samples in rows of mask, generated and real image, and failed samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.evaluation.methods.rows import MethodRow
from monai_segdiff.evaluation.pairs import Pair, PairReader
from monai_segdiff.evaluation.report.report import Picture
from monai_segdiff.evenly import evenly
from monai_segdiff.pictures.tiles import class_color, color_labels, gray_levels, picture_grid, upright

__all__ = ["COLUMNS", "closest_picture", "failed_picture", "methods_picture", "samples_picture"]

COLUMNS = 8
_TILE = 128
_GAP = 4


def samples_picture(inputs: Inputs, real: Measurements, synthetic: Measurements, with_real: bool) -> Picture:
    """Masks, images generated from them and real images, in rows; evenly spaced over the masks, none chosen by eye.

    Args:
        inputs: how to read the cases, and the classes' names.
        real: held-out real images.
        synthetic: generated images.
        with_real: whether to show real images.
    """
    firsts = {mask: i for i, mask in reversed(list(enumerate(synthetic.mask_ids)))}
    chosen = evenly(sorted(firsts.values()), COLUMNS, with_last=True)
    if len(chosen) < min(COLUMNS, len(synthetic)):  # few masks: show several images of each
        chosen = evenly(range(len(synthetic)), COLUMNS, with_last=True)
    pairs = [inputs.synthetic_reader(synthetic.cases[i]) for i in chosen]
    rows = [[_mask_tile(pair) for pair in pairs], [_image_tile(pair) for pair in pairs]]
    names = ["mask", "generated"]
    caption = "Masks, and images generated from them"
    if with_real:
        own = {mask: i for i, mask in enumerate(real.mask_ids)}
        same = all(synthetic.mask_ids[i] in own for i in chosen)
        if same:
            shown = [own[synthetic.mask_ids[i]] for i in chosen]
        else:
            shown = evenly(range(len(real)), len(chosen), with_last=True)
        tiles = [_image_tile(inputs.real_reader(real.cases[i])) for i in shown]
        rows.append(tiles + [np.full_like(tiles[0], 255)] * (len(chosen) - len(tiles)))
        names.append("real" if same else "real (other mask)")
        caption += ", with the real images that the masks come from" if same else "; below, real held-out images"
    legend = {name: class_color(index) for index, name in enumerate(inputs.classes, start=1)}
    caption += "; evenly spaced over the data set, not selected."
    return Picture(caption, picture_grid(rows, _TILE, _GAP), tuple(names), legend)


def methods_picture(rows: Sequence[MethodRow], reader: PairReader, with_real: bool) -> Picture:
    """What each method was told and made, in rows, above the real images; evenly spaced, none chosen by eye.

    Args:
        rows: methods, those of one condition together.
        reader: reads the real cases.
        with_real: whether to show the real images.
    """
    chosen = evenly(range(len(rows[0].matches)), COLUMNS, with_last=True)
    tiles, names = [], []
    legend: dict[str, tuple[int, int, int]] = {}
    for condition, members in groupby(rows, key=lambda row: row.condition):
        tiles.append([_mask_tile(condition.reader(rows[0].matches[i].real)) for i in chosen])
        names.append(condition.name or "mask")
        legend |= {name: class_color(index) for index, name in enumerate(condition.reader.classes, start=1)}
        for row in members:
            tiles.append([_image_tile(row.reader(row.matches[i].generated)) for i in chosen])
            names.append(row.method)
    if with_real:
        tiles.append([_image_tile(reader(rows[0].matches[i].real)) for i in chosen])
        names.append("real")
    caption = "What each method was told, and what it made of it" + (", above the real images" if with_real else "")
    caption += "; evenly spaced over the data set, not selected."
    return Picture(caption, picture_grid(tiles, _TILE, _GAP), tuple(names), legend)


def failed_picture(reader: PairReader, synthetic: Measurements, found: dict[str, torch.Tensor]) -> Picture | None:
    """Up to eight failed samples below their masks, or None if none failed."""
    failed = torch.stack(list(found.values())).any(0).nonzero().flatten().tolist()
    if not failed:
        return None
    chosen = evenly(failed, COLUMNS, with_last=True)
    pairs = [reader(synthetic.cases[i]) for i in chosen]
    causes = [" and ".join(reason for reason, flags in found.items() if flags[i]) for i in chosen]
    caption = f"{len(chosen)} of {len(failed)} failed samples below their masks, from the left: {'; '.join(causes)}."
    rows = [[_mask_tile(pair) for pair in pairs], [_image_tile(pair) for pair in pairs]]
    return Picture(caption, picture_grid(rows, _TILE, _GAP), ("mask", "failed"))


def closest_picture(inputs: Inputs, pairs: Sequence[tuple[Case, Case]]) -> Picture:
    """Generated images above the training images that are nearest to them.

    Args:
        inputs: how to read the cases.
        pairs: generated and real training case, the nearest pair first.
    """
    rows = [
        [_image_tile(inputs.synthetic_reader(made)) for made, _ in pairs],
        [_image_tile(inputs.real_reader(real)) for _, real in pairs],
    ]
    caption = f"The {len(pairs)} generated images nearest to the training set, above their nearest training images."
    return Picture(caption, picture_grid(rows, _TILE, _GAP), ("generated", "training"))


def _mask_tile(pair: Pair) -> np.ndarray:
    return color_labels(upright(pair.mask, pair.affine)[0])


def _image_tile(pair: Pair) -> np.ndarray:
    return gray_levels(upright(pair.image.nan_to_num(nan=-1.0), pair.affine))

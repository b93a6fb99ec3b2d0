"""Pictures of the report: samples in rows of mask, generated and real image, and failed samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.evaluation.pairs import Pair, PairReader
from monai_segdiff.evaluation.report.report import Picture
from monai_segdiff.evenly import evenly
from monai_segdiff.pictures.tiles import class_color, color_labels, drawn_channels, gray_levels, picture_grid, upright

__all__ = [
    "COLUMNS",
    "GAP",
    "TILE",
    "closest_picture",
    "failed_picture",
    "image_rows",
    "mask_tile",
    "samples_picture",
]

COLUMNS = 8
TILE = 128
GAP = 4


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
    channels = inputs.real.channels
    rows = {"mask": [mask_tile(pair) for pair in pairs], **image_rows("generated", pairs, channels)}
    synthetic_rows = set(range(1, len(rows)))
    caption = "Masks, and images generated from them"
    if with_real:
        own = {mask: i for i, mask in enumerate(real.mask_ids)}
        same = all(synthetic.mask_ids[i] in own for i in chosen)
        if same:
            shown = [own[synthetic.mask_ids[i]] for i in chosen]
        else:
            shown = evenly(range(len(real)), len(chosen), with_last=True)
        real_pairs = [inputs.real_reader(real.cases[i]) for i in shown]
        for name, tiles in image_rows("real" if same else "real (other mask)", real_pairs, channels).items():
            rows[name] = tiles + [np.full_like(tiles[0], 255)] * (len(chosen) - len(tiles))
        caption += ", with the real images that the masks come from" if same else "; below, real held-out images"
    legend = {name: class_color(index) for index, name in enumerate(inputs.classes, start=1)}
    caption += "; evenly spaced over the data set, not selected."
    pixels = picture_grid(list(rows.values()), TILE, GAP, synthetic=synthetic_rows)
    return Picture(caption, pixels, tuple(rows), legend)


def failed_picture(reader: PairReader, synthetic: Measurements, found: dict[str, torch.Tensor]) -> Picture | None:
    """Up to eight failed samples below their masks, or None if none failed."""
    failed = torch.stack(list(found.values())).any(0).nonzero().flatten().tolist()
    if not failed:
        return None
    chosen = evenly(failed, COLUMNS, with_last=True)
    pairs = [reader(synthetic.cases[i]) for i in chosen]
    causes = [" and ".join(reason for reason, flags in found.items() if flags[i]) for i in chosen]
    caption = f"{len(chosen)} of {len(failed)} failed samples below their masks, from the left: {'; '.join(causes)}."
    rows = {"mask": [mask_tile(pair) for pair in pairs], **image_rows("failed", pairs, reader.channels)}
    pixels = picture_grid(list(rows.values()), TILE, GAP, synthetic=set(range(1, len(rows))))
    return Picture(caption, pixels, tuple(rows))


def closest_picture(inputs: Inputs, pairs: Sequence[tuple[Case, Case]]) -> Picture:
    """Generated images above the training images that are nearest to them.

    Args:
        inputs: how to read the cases.
        pairs: generated and real training case, the nearest pair first.
    """
    made_rows = image_rows("generated", [inputs.synthetic_reader(made) for made, _ in pairs], inputs.real.channels)
    rows = made_rows | image_rows("training", [inputs.real_reader(real) for _, real in pairs], inputs.real.channels)
    caption = f"The {len(pairs)} generated images nearest to the training set, above their nearest training images."
    pixels = picture_grid(list(rows.values()), TILE, GAP, synthetic=set(range(len(made_rows))))
    return Picture(caption, pixels, tuple(rows))


def mask_tile(pair: Pair) -> np.ndarray:
    """The middle of a label map in colors, uint8 (H, W, 3), as a viewer shows it."""
    return color_labels(upright(pair.mask, pair.affine)[0])


def image_rows(name: str, pairs: Sequence[Pair], channels: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """The middle of images, each uint8 (H, W, 3), as a viewer shows it: a row in gray or colors, or one a channel.

    Args:
        name: of the row; a channel's is put behind it.
        pairs: whose images.
        channels: their channels.
    """
    return {
        name + channel: [gray_levels(upright(pair.image.nan_to_num(nan=-1.0)[part], pair.affine)) for pair in pairs]
        for channel, part in drawn_channels(channels).items()
    }

"""An edit at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from monai_segdiff.data import load_label_map
from monai_segdiff.generation.edits import Edit
from monai_segdiff.pictures.lettering import burn_in, lettered
from monai_segdiff.pictures.tiles import color_labels, drawn_channels, enlarged, gray_levels, picture_grid, upright

__all__ = ["edit_picture"]

_COLUMNS = ("image", "mask", "edited mask", "edited image", "change")


def edit_picture(
    edit: Edit,
    image: torch.Tensor,
    result: torch.Tensor,
    changed: torch.Tensor,
    image_range: tuple[float, float],
    channels: Sequence[str] = (),
) -> Image.Image:
    """Draw image, mask, edited mask, result and what changed, side by side.

    In the last tile gray is no change, brighter is brighter than before.

    Args:
        edit: what was edited.
        image: the image, (C, *spatial).
        result: the edited image, same.
        changed: which pixels have another label, bool (*spatial); of a volume the slice with most of them is drawn.
        image_range: values of the images that are drawn black and white.
        channels: names of the images' channels, each of which has a row; red, green and blue have one.

    Returns:
        The picture.
    """
    loaded = load_label_map(edit.label)
    labels = [loaded.as_tensor(), load_label_map(edit.edited).as_tensor()]
    at = int(changed.flatten(0, 1).sum(0).argmax()) if changed.ndim == 3 else None
    before, after = (upright(t.reshape(1, *image.shape[1:]), loaded.affine, at) for t in labels)
    image, result = (upright(t, loaded.affine, at) for t in (image, result))
    drawn = drawn_channels(channels)
    rows = [
        [
            gray_levels(image[part], image_range),
            color_labels(before[0]),
            color_labels(after[0]),
            burn_in(enlarged(gray_levels(result[part], image_range))),
            gray_levels((result[part] - image[part]) / (image_range[1] - image_range[0])),
        ]
        for part in drawn.values()
    ]
    names = [name.strip() for name in drawn] if len(drawn) > 1 else []
    return Image.fromarray(lettered(picture_grid(rows), names, _COLUMNS))

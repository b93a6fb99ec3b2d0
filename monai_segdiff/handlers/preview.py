"""Pictures of what the network can draw by now."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from monai_segdiff.handlers.epoch_picture import EpochPicture
from monai_segdiff.pictures.tiles import color_labels, drawn_channels, gray_levels, middle_slice, upright

__all__ = ["SamplePreview"]


class SamplePreview(EpochPicture):
    """Every few epochs, generate images for a few fixed masks and write them as a picture.

    The picture has a column for each mask and three rows: the label map in color, the generated image, the real image.
    Of images with several channels each has a row of its own; red, green and blue are one picture.
    Masks and starting noise are the same each time, so that pictures can be compared. It goes to
    ``<output_dir>/preview_epoch=<n>.png`` and, if there is a writer, to TensorBoard as ``preview``. Volumes show the
    slice with the largest foreground. All are turned the way
    radiologists look at them. In a parallel run rank 0 does this.

    Args:
        inferer: called as ``inferer(inputs=condition, network=network, indices=[0, 1, ...])``, returns the images.
        network: the network to sample from, usually the averaged one.
        dataset: validation items with images, encoded masks and label maps; evenly spaced ones are taken.
        output_dir: folder of the pictures.
        interval: epochs between pictures, at least 1.
        num_samples: number of masks (or all of the data set if it has fewer).
        tile_size: smaller images are enlarged by a whole factor to this many pixels or more.
        show_real: whether to draw the row of real images.
        image_range: the network's range, drawn from black to white.
        image_key: key of the real images in the network's range, ``(C, *spatial)``.
        condition_key: key of the encoded masks, ``(K, *spatial)``.
        label_map_key: key of the label maps that were encoded, ``(1, *spatial)``; keep them in the data set's transform
            by ``CopyItemsd`` before the encoding.
        channels: names of the images' channels; none for one without a name.
        summary_writer: a TensorBoard ``SummaryWriter``.

    Raises:
        KeyError: on the first picture, if the items lack a key.
        ValueError: on the first picture, if the data set is empty.
    """

    synthetic = ("generated",)

    def __init__(
        self,
        inferer: Callable[..., torch.Tensor],
        network: torch.nn.Module,
        dataset: Sequence[dict[str, Any]],
        output_dir: str | os.PathLike[str],
        interval: int = 1,
        num_samples: int = 8,
        tile_size: int = 128,
        show_real: bool = True,
        image_range: tuple[float, float] = (-1.0, 1.0),
        image_key: str = "image",
        condition_key: str = "label",
        label_map_key: str = "label_map",
        channels: Sequence[str] = (),
        summary_writer: Any = None,
    ) -> None:
        keys = (image_key, condition_key, label_map_key)
        super().__init__(dataset, keys, output_dir, interval, num_samples, tile_size, summary_writer)
        self.inferer = inferer
        self.network = network
        self.show_real = show_real
        self.image_range = image_range
        self.image_key = image_key
        self.condition_key = condition_key
        self.label_map_key = label_map_key
        self.channels = tuple(channels)

    def rows(self, batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, list[np.ndarray]]:
        """Generate the images and draw them.

        Args:
            batch: images, encoded masks and label maps by key, each (B, C, *spatial).
            device: where the network is.

        Returns:
            Label maps, generated images and, where they are wanted, real ones as pixels, by the names of the rows.
        """
        condition = batch[self.condition_key].to(device)
        generated = self.inferer(inputs=condition, network=self.network, indices=list(range(len(condition))))
        ras = torch.eye(4)  # as `prepare` and the phantoms lay every image
        label_maps = list(batch[self.label_map_key])
        at = [middle_slice(labels[0]) if labels.ndim == 4 else None for labels in label_maps]
        shown = [color_labels(upright(labels, ras, k)[0]) for labels, k in zip(label_maps, at, strict=True)]
        rows = {"label map": shown}
        kinds = {"generated": generated.cpu(), **({"real": batch[self.image_key]} if self.show_real else {})}
        for kind, images in kinds.items():
            for name, part in drawn_channels(self.channels).items():
                rows[kind + name] = [
                    gray_levels(upright(image[part], ras, k), self.image_range)
                    for image, k in zip(images, at, strict=True)
                ]
        return rows

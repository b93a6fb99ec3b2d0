"""Pictures of what an autoencoder gives back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from monai_segdiff.handlers.epoch_picture import EpochPicture
from monai_segdiff.pictures.tiles import drawn_channels, gray_levels, upright

__all__ = ["ReconstructionPreview"]


class ReconstructionPreview(EpochPicture):
    """Every few epochs, reconstruct a few fixed images and write them as a picture.

    The picture has a column for each item and rows for the input, the reconstruction and, where it is not the input
    itself, the target. It goes to ``<output_dir>/preview_epoch=<n>.png`` and, if there is a writer, to TensorBoard as
    ``preview``. Volumes show their middle slice. All are turned the way radiologists look at them. In a parallel run
    rank 0 does this.

    Args:
        inferer: called as ``inferer(inputs=batch, network=network)``, returns the images.
        network: the autoencoder, usually the averaged one.
        dataset: validation items; evenly spaced ones are taken.
        output_dir: folder of the pictures.
        interval: epochs between pictures, at least 1.
        num_samples: number of items (or all of the data set if it has fewer).
        tile_size: smaller images are enlarged by a whole factor to this many pixels or more.
        image_range: the network's range, drawn from black to white.
        input_key: key of what the network gets, ``(C, *spatial)``.
        target_key: key of what it shall give.
        channels: names of the images' channels; none for one without a name.
        summary_writer: a TensorBoard ``SummaryWriter``.

    Raises:
        KeyError: on the first picture, if the items lack a key.
        ValueError: on the first picture, if the data set is empty.
    """

    synthetic = ("reconstruction",)

    def __init__(
        self,
        inferer: Callable[..., torch.Tensor],
        network: torch.nn.Module,
        dataset: Sequence[dict[str, Any]],
        output_dir: str | os.PathLike[str],
        interval: int = 1,
        num_samples: int = 8,
        tile_size: int = 128,
        image_range: tuple[float, float] = (-1.0, 1.0),
        input_key: str = "image",
        target_key: str = "image",
        channels: Sequence[str] = (),
        summary_writer: Any = None,
    ) -> None:
        super().__init__(dataset, (input_key, target_key), output_dir, interval, num_samples, tile_size, summary_writer)
        self.inferer = inferer
        self.network = network
        self.image_range = image_range
        self.input_key = input_key
        self.target_key = target_key
        self.channels = tuple(channels)

    def rows(self, batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, list[np.ndarray]]:
        """Reconstruct the items and draw them.

        Args:
            batch: inputs and targets by key, each (B, C, *spatial).
            device: where the network is.

        Returns:
            Input, reconstruction and target as pixels, by the names of the rows.
        """
        with torch.no_grad():
            reconstructed = self.inferer(inputs=batch[self.input_key].to(device), network=self.network).cpu()
        shown = {"image": batch[self.input_key], "reconstruction": reconstructed}
        if self.target_key != self.input_key:
            shown["target"] = batch[self.target_key]
        ras = torch.eye(4)  # as `prepare` and the phantoms lay every image
        return {
            kind + name: [gray_levels(upright(image[part], ras), self.image_range) for image in images]
            for kind, images in shown.items()
            for name, part in drawn_channels(self.channels).items()
        }

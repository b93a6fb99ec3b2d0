"""A picture of the same few items every few epochs."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import list_data_collate
from PIL import Image

from monai_segdiff.evenly import evenly
from monai_segdiff.files import atomic_file
from monai_segdiff.handlers.run_end import claim_for_run
from monai_segdiff.pictures.lettering import lettered
from monai_segdiff.pictures.tiles import picture_grid

__all__ = ["EpochPicture"]


class EpochPicture(ABC):
    """Base of handlers that draw a picture with a column for each of a few fixed items.

    It goes to ``<output_dir>/preview_epoch=<n>.png`` and, if there is a writer, to TensorBoard as ``preview``. In a
    parallel run rank 0 does this. One run at a time draws into a folder.

    Args:
        dataset: validation items; evenly spaced ones are taken.
        keys: what the picture needs of an item.
        output_dir: folder of the pictures.
        interval: epochs between pictures, at least 1.
        num_samples: number of items (or all of the data set if it has fewer).
        tile_size: smaller images are enlarged by a whole factor to this many pixels or more.
        summary_writer: a TensorBoard ``SummaryWriter``.
    """

    synthetic: ClassVar[tuple[str, ...]]
    """How the names of the rows begin that are synthetic."""

    def __init__(
        self,
        dataset: Sequence[dict[str, Any]],
        keys: Sequence[str],
        output_dir: str | os.PathLike[str],
        interval: int,
        num_samples: int,
        tile_size: int,
        summary_writer: Any,
    ) -> None:
        self.dataset = dataset
        self.keys = tuple(dict.fromkeys(keys))
        self.output_dir = Path(output_dir)
        self.interval = interval
        self.num_samples = num_samples
        self.tile_size = tile_size
        self.summary_writer = summary_writer
        self._batch: dict[str, torch.Tensor] | None = None

    @abstractmethod
    def rows(self, batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, list[np.ndarray]]:
        """Draw the items.

        Args:
            batch: their tensors by key, on the CPU.
            device: where the network is.

        Returns:
            Rows of uint8 pixels by their names, each (height, width, 3), all of one size.
        """

    def attach(self, engine: Engine) -> None:
        """Draw at the end of epochs.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.STARTED, lambda engine: claim_for_run(engine, self.output_dir))
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Write the picture.

        Args:
            engine: the trainer.
        """
        if idist.get_rank() != 0:
            return
        if self._batch is None:
            self._batch = self._fixed_batch()
        rows = self.rows(self._batch, engine.state.device)
        made = {number for number, name in enumerate(rows) if name.startswith(self.synthetic)}
        pixels = lettered(picture_grid(list(rows.values()), self.tile_size, synthetic=made), list(rows))
        with atomic_file(self.output_dir / f"preview_epoch={engine.state.epoch}.png") as temporary:
            Image.fromarray(pixels).save(temporary)
        if self.summary_writer is not None:
            self.summary_writer.add_image("preview", pixels, engine.state.epoch, dataformats="HWC")

    def _fixed_batch(self) -> dict[str, torch.Tensor]:
        if len(self.dataset) == 0:
            raise ValueError("the data set of the preview is empty: give it at least one item")
        chosen = [self.dataset[i] for i in evenly(range(len(self.dataset)), self.num_samples)]
        for key in self.keys:
            if key not in chosen[0]:
                raise KeyError(f"items for the preview need '{key}', but hold {sorted(chosen[0])}: check the keys")
        batch = list_data_collate([{key: item[key] for key in self.keys} for item in chosen])
        return {key: batch[key].as_tensor() if hasattr(batch[key], "as_tensor") else batch[key] for key in self.keys}

"""Training the segmenter on the real training cases, once per data set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss
from monai.transforms import Transform

from monai_segdiff.data import Case
from monai_segdiff.evaluation.pairs import PairReader, small_indices
from monai_segdiff.evaluation.readers.augmentation import AugmentedBatch
from monai_segdiff.evaluation.readers.fitting import data_hash, default_images, fit
from monai_segdiff.evaluation.readers.segmenter import Segmenter, TrainedSegmenter, load_segmenter, save_segmenter

__all__ = ["open_segmenter", "train_segmenter"]


def open_segmenter(
    file: str | Path | None,
    cases: Sequence[Case],
    reader: PairReader,
    images: int | None = None,
    seed: int = 0,
    *,
    cache_dir: str | Path,
    progress: bool = True,
) -> Segmenter:
    """Load the segmenter that the user gives, or train one.

    Args:
        file: as for `load_segmenter`; None to train.
        cases: as for `train_segmenter`, and so the others.
        reader: reads them.
        images: length of the training in images seen.
        seed: of the training.
        cache_dir: folder of trained segmenters.
        progress: whether to show a progress bar.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or there are no cases to train on.
    """
    if file is not None:
        return load_segmenter(file, list(reader.classes))
    return train_segmenter(cases, reader, images, seed, cache_dir=cache_dir, progress=progress)


def train_segmenter(
    cases: Sequence[Case],
    reader: PairReader,
    images: int | None = None,
    seed: int = 0,
    *,
    cache_dir: str | Path,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Segmenter:
    """Train a small U-Net to segment, or take it from the cache.

    The same cases, settings and seed give the same segmenter (on one machine with one number of threads), kept under
    the hash of file contents and settings.

    Args:
        cases: real training cases; nothing else is seen.
        reader: reads them.
        images: length of the training in images seen; default: as `default_images` says.
        seed: of weights, order and augmentation.
        cache_dir: folder of trained segmenters.
        device: where to train; default: a GPU where there is one.
        progress: whether to show a progress bar.

    Returns:
        The segmenter, on the CPU.

    Raises:
        ValueError: if there are no cases, or a file is not as it should be.
    """
    if not cases:
        raise ValueError(
            "the segmenter needs real training cases: give the data set a training split, or a segmenter file"
        )
    first = reader(cases[0])
    shape = tuple(first.image.shape[1:])
    network: dict[str, Any] = {
        "classes": list(reader.classes),
        "spatial_dims": len(shape),
        "image_channels": first.image.shape[0],
        "levels": TrainedSegmenter.levels_for(shape),
    }
    images = default_images(shape) if images is None else images
    settings = {**network, "images": images, "seed": seed, "intensity_range": reader.key, "recipe": 1}
    files = [file for case in cases for file in (case.image, case.label)]
    name = f"segmenter-{data_hash([settings, list(reader.classes.values())], files)[:16]}.pt"
    file = Path(cache_dir) / name
    if file.is_file():
        return load_segmenter(file, list(reader.classes))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        segmenter = TrainedSegmenter(**network)
        _train(segmenter, cases, reader, shape, images, seed, device, progress)
    try:
        save_segmenter(segmenter, file)
    except OSError as error:
        warnings.warn(f"the segmenter is not kept for the next run: {error}", stacklevel=2)
    return segmenter


class _ReadPair(Transform):
    """Reads a training case. A plain function would do, but MONAI keeps in memory only what transforms give."""

    def __init__(self, reader: PairReader) -> None:
        self.reader = reader

    def __call__(self, case: Case) -> dict[str, torch.Tensor]:
        pair = self.reader(case)
        if not torch.isfinite(pair.image).all():
            raise ValueError(f"{case.image} holds NaN or infinite values: repair or remove this training case")
        return {"image": pair.image, "label": small_indices(pair.mask)}


def _train(
    segmenter: TrainedSegmenter,
    cases: Sequence[Case],
    reader: PairReader,
    spatial_shape: Sequence[int],
    images: int,
    seed: int,
    device: str | torch.device | None,
    progress: bool,
) -> None:
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    bar = "segmenter" if progress else None
    fit(segmenter, cases, _ReadPair(reader), spatial_shape, loss, AugmentedBatch(), images, seed, device, bar)

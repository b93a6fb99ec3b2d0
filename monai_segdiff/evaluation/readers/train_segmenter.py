"""Training the segmenter on the real training cases, once per data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from monai.transforms import Transform

from monai_segdiff.data import Case
from monai_segdiff.data.channels import image_files_of
from monai_segdiff.evaluation.pairs import PairReader, small_indices
from monai_segdiff.evaluation.readers.augmentation import AugmentedBatch
from monai_segdiff.evaluation.readers.fitting import Training, fit, load_or_train, require_finite_case
from monai_segdiff.evaluation.readers.segmenter import Segmenter, TrainedSegmenter, load_segmenter

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
        cases: real training cases; the training uses nothing else.
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
    training = Training(tuple(reader(cases[0]).image.shape), images, seed, device, "segmenter" if progress else None)
    network = {"classes": list(reader.classes), **training.network}

    def train() -> TrainedSegmenter:
        segmenter = TrainedSegmenter(**network)
        loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
        fit(segmenter, cases, _ReadPair(reader), loss, AugmentedBatch(), training)
        return segmenter

    return load_or_train(
        "segmenter",
        [training.settings(network, reader), list(reader.classes.values())],
        [file for case in cases for file in (*image_files_of(case), case.label)],
        train,
        seed=seed,
        load=lambda file: load_segmenter(file, list(reader.classes)),
        cache_dir=cache_dir,
    )


class _ReadPair(Transform):
    """Reads a training case. A plain function would do, but MONAI keeps in memory only what transforms give."""

    def __init__(self, reader: PairReader) -> None:
        self.reader = reader

    def __call__(self, case: Case) -> dict[str, torch.Tensor]:
        pair = self.reader(case)
        require_finite_case(pair.image, case)
        return {"image": pair.image, "label": small_indices(pair.mask)}

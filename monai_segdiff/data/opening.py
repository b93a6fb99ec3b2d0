"""The data set that a training starts from: found or made, checked, and of the right dimension."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from monai_segdiff.data.check import issues_of
from monai_segdiff.data.layout import SegmentationDataset, read_dataset

__all__ = ["measure_sigma_data", "open_dataset"]

_SHOWN = 10


def open_dataset(
    path: str | Path,
    *,
    spatial_dims: int | None = None,
    need_labels: bool = True,
    verify: bool = True,
    several_channels: bool = True,
    covariates: bool = True,
    make: Callable[[str | Path], Any] | None = None,
) -> SegmentationDataset:
    """Read the data set to train on and refuse it if it would fail later or train on something else.

    Args:
        path: the data set's folder.
        spatial_dims: 2 or 3, what the network is configured for.
        need_labels: whether there must be label maps; an autoencoder needs none.
        verify: stop at errors; every file is read for that, but for those that `prepare` has checked and that were not
            changed since. ``False`` saves the time for large data known to be sound.
        several_channels: whether the network can make images of several channels.
        covariates: whether the network is told covariates.
        make: called with the path if there is nothing yet, to make the data (phantoms). In a parallel run rank 0 does.

    Returns:
        The data set, with its intensity range and classes.

    Warns:
        UserWarning: where the data set has covariates that the network is not told.

    Raises:
        FileNotFoundError: if the folder is missing and nothing makes it.
        ValueError: if the data set is not as configured, naming the files and what to do.
    """
    if make is not None and idist.get_rank() == 0 and not (Path(path) / "dataset.json").is_file():
        make(path)
    idist.barrier()
    dataset = read_dataset(path)
    if not several_channels and len(dataset.channels) > 1:
        raise ValueError(
            f"{dataset.root} has images of {len(dataset.channels)} channels ({', '.join(dataset.channels)}), and what "
            "is trained here makes images of one: train ct_organ or breast_mri, which make several, or prepare one "
            "channel (prepare --channels NAME)"
        )
    if not covariates and dataset.covariates:
        warnings.warn(
            f"the covariates of {dataset.root} ({', '.join(dataset.covariates)}) are not used: this network is not "
            "told any; ct_organ and breast_mri are",
            stacklevel=2,
        )
    if verify:
        errors = [
            issue
            for issue in issues_of(dataset, spatial_dims, need_labels=need_labels, reread=False)
            if issue.severity == "error"
        ]
        if errors:
            shown = "\n".join(str(issue) for issue in errors[:_SHOWN])
            raise ValueError(
                f"{len(errors)} errors in {path}; `python -m monai_segdiff check-data {path}` lists all\n{shown}"
            )
    for what, value in (("labels", dataset.classes), ("intensity_range", dataset.intensity_range)):
        if not value:
            raise ValueError(
                f"{dataset.root}/dataset.json does not say its {what!r}: make the data set with "
                "`python -m monai_segdiff prepare`, or add the entry"
            )
    return dataset


def measure_sigma_data(dataset: Any, key: str = "image", number: int = 256) -> float:
    """Standard deviation of the training images, EDM's sigma_data (arXiv 2206.00364, Section 5).

    Args:
        dataset: items with images in the network's range.
        key: key of the images.
        number: evenly spaced items to look at, at most.

    Returns:
        The standard deviation over all their pixels, rounded to four digits.

    Raises:
        ValueError: if the images are constant.
    """
    chosen = sorted({i * len(dataset) // number for i in range(number)})
    pixels = torch.cat([torch.as_tensor(dataset[i][key]).flatten().double() for i in chosen])
    deviation = round(float(pixels.std()), 4)
    if not deviation > 0:
        raise ValueError("the training images are constant in the given intensity range: check intensity_range")
    return deviation

"""The segmenter that reads generated images: trained on real training patients, or brought by the user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets import UNet
from torch import nn
from torch.nn.functional import pad

from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.evaluation.readers.own_network import OwnNetwork
from monai_segdiff.evaluation.readers.programs import Program, load_program
from monai_segdiff.networks.weights import check_archive, read_tensors

__all__ = ["MergedSegmenter", "Segmenter", "TrainedSegmenter", "UserSegmenter", "load_segmenter", "save_segmenter"]

_MOST_CHANNELS = 1024


class Segmenter(ABC):
    """Reads images as label maps. `classes` are class names in index order, `name` says which segmenter it is."""

    name: str
    classes: tuple[str, ...]

    @abstractmethod
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (B, 1 + number of classes, *spatial), background first, of images (B, C, *spatial) in [-1, 1]."""

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Class indices (B, 1, *spatial) of images (B, C, *spatial) in [-1, 1].

        Raises:
            ValueError: if the network does not fit images or classes.
        """
        scores = self.logits(images)
        wanted = (len(images), len(self.classes) + 1, *images.shape[2:])
        if tuple(scores.shape) != wanted:
            raise ValueError(
                f"segmenter {self.name} gave scores of shape {tuple(scores.shape)} for images {tuple(images.shape)}; "
                f"wanted {wanted}: one channel for background, then one for each of {', '.join(self.classes)}"
            )
        return scores.argmax(1, keepdim=True)


class TrainedSegmenter(Segmenter, OwnNetwork):
    """A small MONAI U-Net; its bottleneck doubles as the feature space for FID and KID.

    Levels are halved until about 8 pixels a side are left; no residual units and batch normalization, which on two CPU
    cores reaches a given Dice soonest.

    Args:
        classes: class names, background left out.
        spatial_dims: 2 or 3.
        image_channels: channels of the images.
        levels: number of halvings, 1 to 5.

    Raises:
        ValueError: for other numbers.
    """

    form = "monai_segdiff segmenter 1"
    kind = "a segmenter"
    remedy = "give the file that evaluate wrote, or none, to train one"

    def __init__(self, classes: Sequence[str], spatial_dims: int, image_channels: int = 1, levels: int = 3) -> None:
        nn.Module.__init__(self)
        if (
            levels not in range(1, 6)
            or spatial_dims not in (2, 3)
            or image_channels not in range(1, _MOST_CHANNELS + 1)
        ):
            raise ValueError(f"no segmenter has {levels} levels for {image_channels} channels, {spatial_dims}D")
        self.settings: dict[str, Any] = {
            "classes": list(classes),
            "spatial_dims": spatial_dims,
            "image_channels": image_channels,
            "levels": levels,
        }
        self.name = "U-Net trained on the real training cases"
        self.classes = tuple(classes)
        self.levels = levels
        self.network = UNet(
            spatial_dims=spatial_dims,
            in_channels=image_channels,
            out_channels=len(classes) + 1,
            channels=(16, 32, 64, 128, 128, 128)[: levels + 1],
            strides=(2,) * levels,
            num_res_units=0,
            norm="batch",
        )

    @staticmethod
    def levels_for(spatial_shape: Sequence[int]) -> int:
        """Number of halvings that leave about 8 pixels of the longest side."""
        halvings = (max(spatial_shape) // 8).bit_length() - 1
        return min(max(halvings, 2), 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (B, 1 + classes, *spatial); sides are padded to what the halvings divide, and cut back."""
        scores = self.network(self._padded(images))
        for axis, size in enumerate(images.shape[2:], start=2):
            scores = scores.narrow(axis, 0, size)
        return scores

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """As in `Segmenter`, in evaluation mode."""
        self.eval()
        return self(images)

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Bottleneck activations averaged over space, (B, D)."""
        self.eval()
        caught: list[torch.Tensor] = []
        handle = self._bottleneck().register_forward_hook(lambda _, __, output: caught.append(output))
        try:
            self.network(self._padded(images))
        finally:
            handle.remove()
        return caught[0].flatten(2).mean(2)

    def _bottleneck(self) -> nn.Module:
        # MONAI nests (down, SkipConnection(deeper), up); the innermost block is the bottleneck.
        block: nn.Module = self.network.model
        while isinstance(block, nn.Sequential) and len(block) == 3 and isinstance(block[1], SkipConnection):
            block = block[1].submodule
        return block

    def _padded(self, images: torch.Tensor) -> torch.Tensor:
        divisor = 2**self.levels
        missing = [-size % divisor for size in images.shape[2:]]
        if not any(missing):
            return images
        return pad(images, [x for size in reversed(missing) for x in (0, size)], value=-1.0)


class UserSegmenter(Segmenter):
    """A network from a TorchScript file or exported program.

    Args:
        program: images in [-1, 1] to scores, background first, then the classes in the data set's order.
        classes: class names in that order.
    """

    def __init__(self, program: Program, classes: Sequence[str]) -> None:
        self.name = program.name
        self.classes = tuple(classes)
        self._program = program

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """As in `Segmenter`."""
        return self._program(images)


class MergedSegmenter(Segmenter):
    """A segmenter whose classes are merged into fewer.

    Args:
        segmenter: reads images with its own classes.
        members: class name to the names of the segmenter's classes that it stands for; each of these in one of them.
    """

    def __init__(self, segmenter: Segmenter, members: Mapping[str, Sequence[str]]) -> None:
        self.name = segmenter.name
        self.classes = tuple(members)
        self._segmenter = segmenter
        self._channels = [[0], *([segmenter.classes.index(m) + 1 for m in names] for names in members.values())]

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """As in `Segmenter`; a merged class scores as the highest of its parts, so it wins where a part wins."""
        scores = self._segmenter.logits(images)
        return torch.cat([scores[:, channels].amax(1, keepdim=True) for channels in self._channels], dim=1)


def save_segmenter(segmenter: TrainedSegmenter, path: str | Path) -> None:
    """Write a trained segmenter to a file, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    segmenter.save(path)


def load_segmenter(path: str | Path, classes: Sequence[str]) -> Segmenter:
    """Load a segmenter: a file of ours, TorchScript, or an exported program (.pt2).

    Args:
        path: the file.
        classes: class names of the data set that it shall read, in order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, is damaged by its own checksums, or was trained for other classes.
    """
    content = _own_content(Path(path))
    if content is None:
        return UserSegmenter(load_program(path), classes)
    segmenter = TrainedSegmenter.restored(content, path)
    if segmenter.classes != tuple(classes):
        raise ValueError(
            f"segmenter {path} was trained for {', '.join(segmenter.classes)}, but the data set has "
            f"{', '.join(classes)}: give a segmenter for these classes, or none, to train one"
        )
    return segmenter


def _own_content(path: Path) -> dict[str, Any] | None:
    """What `save_segmenter` wrote, or None where the file is something else."""
    if not path.is_file():
        raise FileNotFoundError(f"segmenter file {path} does not exist")
    if path.suffix == ".pt2":
        return None
    check_archive(path, TrainedSegmenter.kind)
    try:
        content = read_tensors(path, TrainedSegmenter.kind)
    except UnreadableFileError:  # TorchScript is a zip of another kind, which torch.load refuses in several ways
        return None
    return content if TrainedSegmenter.wrote(content) else None

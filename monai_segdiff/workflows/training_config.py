"""What a training of a bundle is: its configuration files and the values that follow from data and arguments."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.utils import ensure_tuple

from monai_segdiff.data import load_label_map, read_dataset
from monai_segdiff.data.channels import load_channels
from monai_segdiff.data.load import as_slice
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.handlers import ResumeCheckpoint
from monai_segdiff.handlers.checkpoint_content import COUNTERS, read_checkpoint

__all__ = ["TrainingConfig", "grid_of", "overlay_file", "stages_of"]

# In the order in which one needs another.
_STAGES = ("train.yaml", "train_autoencoder.yaml", "train_anatomy.yaml", "train_diffusion.yaml")
_HANDLERS = "train#handlers"


def stages_of(bundle: Path) -> list[str]:
    """Names of a bundle's training configurations, in the order in which they are trained.

    Args:
        bundle: its folder.

    Raises:
        FileNotFoundError: where it has none.
    """
    found = [name for name in _STAGES if (bundle / "configs" / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{bundle} has no configs/train.yaml: copy the bundle's configs anew")
    return found


def overlay_file(bundle: Path, name: str | os.PathLike[str]) -> Path:
    """Find an overlay.

    Args:
        bundle: the bundle's folder.
        name: path of a file, or the name of one in the bundle's ``configs``, with or without ``.yaml``.

    Raises:
        FileNotFoundError: where there is none, naming those of the bundle.
    """
    configs = bundle / "configs"
    for file in (Path(name), configs / name, configs / f"{name}.yaml"):
        if file.is_file():
            return file
    no_overlays = ("train", "inference", "evaluate", "metadata")
    known = sorted(file.stem for file in configs.glob("*.yaml") if not file.stem.startswith(no_overlays))
    raise FileNotFoundError(f"there is no overlay {str(name)!r}: give a file, or one of {', '.join(known)}")


def grid_of(dataset: str | os.PathLike[str]) -> tuple[int, ...]:
    """Size of the images of a prepared data set, of which all have the same.

    Args:
        dataset: its folder.

    Returns:
        Pixels along each axis, 2 or 3.

    Raises:
        FileNotFoundError: where there is no such folder.
        ValueError: where it has no training cases, or the first of them cannot be read.
    """
    described = read_dataset(Path(dataset))
    item = described.items("training")[0]
    files = ensure_tuple(item.get("image", ()))  # one, or one for each channel
    image = load_channels(files, described.channels) if files else load_label_map(item["label"])
    return tuple(as_slice(image, described.spatial_dims).shape[1:])


@dataclass
class TrainingConfig:
    """One training of a bundle, ready to run.

    Args:
        files: configuration files, each read over those before it.
        values: values of ids, over what the files say.

    Raises:
        ValueError: where the files cannot be read as configurations.
    """

    files: Sequence[Path]
    values: dict[str, Any]

    def __post_init__(self) -> None:
        self._parser = ConfigParser()
        self._parser.read_config([str(file) for file in self.files])
        self._parser.update(self.values)

    def fit_data(self, grid: Sequence[int]) -> None:
        """Take the size of the images, unless the configuration crops them.

        Args:
            grid: pixels along each axis.
        """
        crops = "CheckSpatialSized" not in str(self._parser.get("fit", {}))
        for name, value in (("image_size", list(grid)), ("spatial_dims", len(grid))):
            if name in self._parser and not (crops and name == "image_size"):
                self._set(name, value)

    def limit(self, images: int) -> None:
        """Set the training's length, and the epoch's where that is longer; the last epoch is validated in any case.

        A training that goes on keeps its epochs.

        Args:
            images: how many it shall see, rounded up to whole epochs.
        """
        self._set("max_images", images)
        if images < self["images_per_epoch"]:
            self._set("images_per_epoch", self._images_per_epoch_before() or images)
        epochs = math.ceil(images / self["images_per_epoch"])
        for name in ("val_interval", "preview_interval"):
            if self[name] > epochs:
                self._set(name, epochs)

    def __getitem__(self, name: str) -> Any:
        with unwrapped_errors():
            return self._parser.get_parsed_content(name)

    @property
    def weights(self) -> Path:
        """The file that the averaged weights go to."""
        return Path(self[f"{_HANDLERS}#{self._handler('ExportWeights')}#path"])

    def command(self) -> str:
        """The same training by MONAI, for a shell."""
        files = [str(file) for file in self.files]
        listed = files[0] if len(files) == 1 else _written(files)
        options = [f"--{name} {shlex.quote(_written(value))}" for name, value in self.values.items()]
        return " ".join(["python -m monai.bundle run training --config_file", shlex.quote(listed), *options])

    def _set(self, name: str, value: Any) -> None:
        self.values[name] = value
        self._parser[name] = value
        self._parser.ref_resolver.reset()

    def _handler(self, kind: str) -> int:
        """Index of the handler of that class."""
        handlers = self._parser.get(_HANDLERS, [])
        for index, handler in enumerate(handlers):
            if isinstance(handler, Mapping) and str(handler.get("_target_")).rpartition(".")[2] == kind:
                return index
        raise ValueError(f"{self.files[0]} has no handler {kind} among {_HANDLERS}: copy the bundle's configs anew")

    def _images_per_epoch_before(self) -> int:
        """Length of the epochs of a training that is to go on, or 0."""
        folder = self[f"{_HANDLERS}#{self._handler('ResumeCheckpoint')}#directory"]
        files = ResumeCheckpoint(folder, {}).files()
        if not files:
            return 0
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return int(read_checkpoint(files[-1])[COUNTERS]["epoch_length"]) * int(self["batch_size"]) * processes


def _written(value: Any) -> str:
    """A value as the command line of MONAI takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

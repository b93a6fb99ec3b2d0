"""Images and label maps of a data set, read the way the evaluation sees them: [-1, 1] and class indices."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_segdiff.data import Case, load_label_map
from monai_segdiff.data.channels import image_files_of, load_channels
from monai_segdiff.data.load import as_slice
from monai_segdiff.transforms import IntensityRange, ablate_classes, channel_ranges

__all__ = ["Ablation", "Pair", "PairReader", "batches", "small_indices"]

_Content = tuple[np.ndarray, torch.Tensor]  # of a file: pixels, affine

_KEPT_BYTES = 64 * 2**20  # 4096 images of 64x64 float32; the sections of a report each read the images they need
_BATCH_PIXELS = 2**18  # 64 images of 64x64: large enough for speed, small enough for any memory


@dataclass(frozen=True)
class Pair:
    """An image and its label map.

    Args:
        case: where they come from.
        image: (C, *spatial) float32, in [-1, 1], NaN where the file's pixel is not finite.
        mask: (1, *spatial) int64, 0 for background, then the classes in order.
        affine: (4, 4) voxel index to RAS position; of a picture, in pixels.
    """

    case: Case
    image: torch.Tensor
    mask: torch.Tensor
    affine: torch.Tensor

    @property
    def mask_id(self) -> str:
        """The same for two pairs with the same label map."""
        return hashlib.sha256(small_indices(self.mask).numpy().tobytes()).hexdigest()


def small_indices(mask: torch.Tensor) -> torch.Tensor:
    """Class indices in as few bytes as they need: uint8, or int16 where there are more than 255 classes."""
    return mask.to(torch.uint8 if int(mask.max()) < 256 else torch.int16)


@dataclass(frozen=True)
class Ablation:
    """Classes that are in a data set's files and taken out as these are read, as they were for generation.

    Args:
        classes: all classes of the files.
        parents: class name to the name of the class that encloses it.
        fill: what the pixels of those taken out become, "parent" or "background".
    """

    classes: Mapping[str, int | Sequence[int]]
    parents: Mapping[str, str]
    fill: str


class PairReader:
    """Reads cases of one data set and checks what it reads.

    What was read last stays in memory, up to 64 MiB, for as long as its file does not change.

    Args:
        classes: class name to label id or ids; the order gives the class indices 1, 2, ...
        intensity_range: intensities that become -1 and 1, or those of each channel; what lies outside is clipped.
        spatial_dims: 2 or 3, where it is known.
        ablation: what is taken out of the label maps first; default: nothing.
        outside: ids of what lies outside the field of view, which is no anatomy: background, and -1 in the image,
            whatever is drawn there.
        channels: names of the images' channels; none for one without a name.
    """

    def __init__(
        self,
        classes: Mapping[str, int | Sequence[int]],
        intensity_range: IntensityRange,
        spatial_dims: int | None = None,
        ablation: Ablation | None = None,
        outside: Sequence[int] = (),
        channels: Sequence[str] = (),
    ) -> None:
        self.ablation = ablation
        self.outside = tuple(outside)
        self.classes = {name: (ids,) if isinstance(ids, int) else tuple(ids) for name, ids in classes.items()}
        self.intensity_range = intensity_range
        self.spatial_dims = spatial_dims
        self.channels = tuple(channels)
        self._shape: tuple[int, ...] | None = None
        self._kept: OrderedDict[tuple[Any, ...], _Content] = OrderedDict()
        self._kept_bytes = 0

    @property
    def key(self) -> list[Any]:
        """What the reader makes of a file depends on, beside the classes."""
        taken = [] if self.ablation is None else [dict(vars(self.ablation))]
        beyond = [{"outside": self.outside}] if self.outside else []
        named = [list(self.channels)] if self.channels else []
        return [*self.intensity_range, *taken, *beyond, *named]

    def __call__(self, case: Case) -> Pair:
        """Read one case.

        Raises:
            FileNotFoundError: if it lacks its image or its label map.
            ValueError: if a file cannot be read or has others than the data set's channels, image and label map differ
                in size, this case differs in size from the first one, or labels are unknown or not whole numbers; names
                the file.
        """
        image_file, label_file = _need(case.image, "image", case), _need(case.label, "label map", case)
        image, affine = self._array(image_files_of(case), case.id)
        label, _ = self._array((label_file,))
        if image.shape[1:] != label.shape[1:]:
            raise ValueError(
                f"{image_file} has size {_size(image)} and its label map {label_file} {_size(label)}: "
                "bring both to one grid"
            )
        scaled = self._in_view(self._scaled(image, image_file), label)
        label = np.where(np.isin(label, self.outside), 0, label) if self.outside else label
        if self.ablation is not None:
            label = self._ablated(label, self.ablation)
        mask = torch.from_numpy(self._indices(label, label_file))
        return Pair(case, scaled, mask, affine)

    def image(self, case: Case) -> torch.Tensor:
        """Read one case's image alone, (C, *spatial), as in `Pair`.

        Raises:
            FileNotFoundError: if it lacks its image.
            ValueError: as when the pair is read.
        """
        file = _need(case.image, "image", case)
        scaled = self._scaled(self._array(image_files_of(case), case.id)[0], file)
        if not self.outside or case.label is None:
            return scaled
        return self._in_view(scaled, self._array((case.label,))[0])

    def batch_size(self, case: Case) -> int:
        """How many images as large as this one lie in memory at once.

        Raises:
            FileNotFoundError: if it lacks its image.
            ValueError: as when the pair is read.
        """
        return max(_BATCH_PIXELS // self.image(case).numel(), 1)

    def region(self, case: Case) -> torch.Tensor:
        """Read one case's region map alone, (1, *spatial) int64; 0 everywhere where it has none.

        Raises:
            ValueError: if it cannot be read, differs from the images in size, or holds values that are no ids.
        """
        if case.region is None:
            return torch.zeros((1, *(self._shape or self.image(case).shape[1:])), dtype=torch.int64)
        labels = self._array((case.region,))[0]
        self._same_as_before(labels, case.region)
        return torch.from_numpy(labels.astype(np.int64))

    def _scaled(self, image: np.ndarray, file: Path) -> torch.Tensor:
        self._same_as_before(image, file)
        pairs = channel_ranges(self.intensity_range, len(image))
        layers = zip(image.astype(np.float32), pairs, strict=True)
        scaled = np.stack([(layer - low) * (2.0 / (high - low)) - 1.0 for layer, (low, high) in layers])
        # Clipping would make an infinite pixel look sound.
        return torch.from_numpy(np.where(np.isfinite(scaled), scaled.clip(-1.0, 1.0), np.nan).astype(np.float32))

    def _in_view(self, image: torch.Tensor, label: np.ndarray) -> torch.Tensor:
        if not self.outside:
            return image
        return torch.where(torch.from_numpy(np.isin(label, self.outside)), -1.0, image)

    def _array(self, files: tuple[Path, ...], case: str | None = None) -> _Content:
        """Not to be changed in place. The image of a case, or a label map where there is none."""
        if not all(file.is_file() for file in files):
            return self._read(files, case)  # which says so
        stats = [file.stat() for file in files]
        key = (files, case, *((stat.st_mtime_ns, stat.st_size) for stat in stats))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        content = self._kept[key] = self._read(files, case)
        self._kept_bytes += content[0].nbytes
        while self._kept_bytes > _KEPT_BYTES:
            _, (array, _) = self._kept.popitem(last=False)
            self._kept_bytes -= array.nbytes
        return content

    def _read(self, files: tuple[Path, ...], case: str | None) -> _Content:
        file = files[0]
        loaded = load_label_map(file) if case is None else load_channels(files, self.channels, case)
        loaded = as_slice(loaded, self.spatial_dims)
        array = loaded.as_tensor().numpy()
        dims = array.ndim - 1
        if self.spatial_dims is not None and dims != self.spatial_dims:
            raise ValueError(
                f"{file} is {dims}D but the data set is declared {self.spatial_dims}D: "
                f"correct spatial_dims in dataset.json, or cut the data with the prepare command"
            )
        if dims not in (2, 3):
            raise ValueError(f"{file} is {dims}D; images must be 2D or 3D")
        return array, loaded.affine

    def _same_as_before(self, image: np.ndarray, file: Path) -> None:
        if self._shape is None:
            self._shape = image.shape[1:]
        if image.shape[1:] != self._shape:
            raise ValueError(
                f"{file} has size {_size(image)}, the images before it {'x'.join(map(str, self._shape))}: "
                "bring all images to one size, for example with the prepare command"
            )

    def _ablated(self, label: np.ndarray, ablation: Ablation) -> np.ndarray:
        return ablate_classes(label, ablation.classes, list(self.classes), ablation.parents, ablation.fill).numpy()

    def _indices(self, label: np.ndarray, file: Path) -> np.ndarray:
        ids = np.unique(label)
        unknown = sorted(set(ids.astype(np.int64).tolist()) - {0, *chain.from_iterable(self.classes.values())})
        if unknown:
            raise ValueError(
                f"label map {file} holds ids {unknown[:8]} that dataset.json does not name "
                f"(known: {self.classes}): add them to its labels, or remove them from the file"
            )
        indices = np.zeros(label.shape, dtype=np.int64)
        for index, values in enumerate(self.classes.values(), start=1):
            indices[np.isin(label, values)] = index
        return indices


def batches(reader: PairReader, cases: Sequence[Case]) -> Iterator[list[Pair]]:
    """Read cases in order, some at a time, so that a large data set never lies in memory as a whole."""
    size = reader.batch_size(cases[0])
    for start in range(0, len(cases), size):
        yield [reader(case) for case in cases[start : start + size]]


def _need(file: Path | None, what: str, case: Case) -> Path:
    if file is None:
        raise FileNotFoundError(
            f"case {case.id!r} has no {what} beside {case.image or case.label}: the evaluation needs image and label "
            "map of every case; add it, or remove the case from the dataset.json that lists it"
        )
    return file


def _size(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape[1:]))

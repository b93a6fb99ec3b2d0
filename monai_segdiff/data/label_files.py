"""What configurations do with files: read them, check their size, and write images with their label maps' geometry."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from monai_segdiff.data.channels import load_channels
from monai_segdiff.data.load import as_slice, load_label_map
from monai_segdiff.data.writers import write_like

__all__ = [
    "CheckSpatialSizeD",
    "CheckSpatialSizeDict",
    "CheckSpatialSized",
    "LoadCanonicalD",
    "LoadCanonicalDict",
    "LoadCanonicald",
    "SaveLikeD",
    "SaveLikeDict",
    "SaveLiked",
]


class LoadCanonicald(MapTransform):
    """Read images and label maps as every command does, in the axes that training data are prepared in.

    It takes the place of MONAI's ``LoadImaged`` and ``EnsureChannelFirstd``, which give a picture, or a volume that is
    laid out otherwise, in its file's own axes.

    Args:
        keys: keys of the files; their tensors are (C, *spatial), see :func:`~monai_segdiff.data.load_image`. An image
            whose channels are files of their own is a list of them.
        label_keys: those of them that are label maps, see :func:`~monai_segdiff.data.load_label_map`.
        spatial_dims: number of axes that are wanted; a slice that is stored as a volume of one loses its third.
        channels: names of the images' channels; none for one without a name.
        allow_missing_keys: do not raise for keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = (),
        spatial_dims: int | None = None,
        channels: Sequence[str] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = set(ensure_tuple(label_keys))
        if unknown := self.label_keys - set(self.keys):
            raise ValueError(f"label_keys {sorted(map(str, unknown))} must be among the keys {list(self.keys)}")
        self.spatial_dims = spatial_dims
        self.channels = tuple(channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the file under each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            if key in self.label_keys:
                loaded = load_label_map(d[key])
            else:
                files = d[key] if isinstance(d[key], list | tuple) else [d[key]]
                loaded = load_channels(files, self.channels, d.get("case"))
            d[key] = as_slice(loaded, self.spatial_dims)
        return d


class CheckSpatialSized(MapTransform):
    """Refuse what is not of the size that a network was trained on.

    Args:
        keys: keys of the tensors, (C, *spatial).
        spatial_size: expected spatial size.
        allow_missing_keys: do not raise for keys that are not there.

    Raises:
        ValueError: naming the file, its size and the remedy.
    """

    def __init__(self, keys: KeysCollection, spatial_size: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spatial_size = tuple(spatial_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check each key; the data go through unchanged."""
        d = dict(data)
        for key in self.key_iterator(d):
            size = tuple(d[key].shape[1:])
            if size != self.spatial_size:
                dims = len(self.spatial_size)
                raise ValueError(
                    f"{_file_of(d[key], key)} has size {size} where {dims}D of size {self.spatial_size} is configured: "
                    f"`python -m monai_segdiff prepare --spatial-dims {dims} --size "
                    f"{' '.join(str(n) for n in self.spatial_size)} ...` makes such label maps"
                )
        return d


class SaveLiked(MapTransform):
    """Write an image under the name, in the format and with the geometry of the label map that it belongs to.

    Args:
        keys: keys of the images, (C, *spatial).
        like_key: key whose metadata name the label map file.
        output_dir: folder.
        allow_missing_keys: do not raise for keys that are not there.
    """

    def __init__(
        self, keys: KeysCollection, like_key: str, output_dir: str | Path, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.like_key = like_key
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write each key; the data go through unchanged."""
        d = dict(data)
        label_file = Path(_file_of(d[self.like_key], self.like_key))
        for key in self.key_iterator(d):
            image = np.asarray(d[key].detach().cpu())
            write_like(image, label_file, self.output_dir / label_file.name, channels=len(image))
        return d


def _file_of(tensor: Any, key: Hashable) -> str:
    return str(getattr(tensor, "meta", {}).get("filename_or_obj", f"the tensor under {key!r}"))


LoadCanonicalD = LoadCanonicalDict = LoadCanonicald
CheckSpatialSizeD = CheckSpatialSizeDict = CheckSpatialSized
SaveLikeD = SaveLikeDict = SaveLiked

"""What an inference configuration does with label map files: check their size on the way in, keep their geometry."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_segdiff.data.writers import write_like

__all__ = [
    "CheckSpatialSizeD",
    "CheckSpatialSizeDict",
    "CheckSpatialSized",
    "SaveLikeD",
    "SaveLikeDict",
    "SaveLiked",
]


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
        keys: keys of the images, (1, *spatial).
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
            write_like(np.asarray(d[key].detach().cpu()), label_file, self.output_dir / label_file.name)
        return d


def _file_of(tensor: Any, key: Hashable) -> str:
    return str(getattr(tensor, "meta", {}).get("filename_or_obj", f"the tensor under {key!r}"))


CheckSpatialSizeD = CheckSpatialSizeDict = CheckSpatialSized
SaveLikeD = SaveLikeDict = SaveLiked

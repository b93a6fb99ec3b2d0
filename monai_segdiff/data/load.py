"""Images and label maps read from any supported file, through MONAI's readers."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from monai.data import MetaTensor, PILReader
from monai.transforms import LoadImage
from PIL import Image

__all__ = ["is_raster", "load_image"]

_RASTER = (".png", ".jpg", ".jpeg")


def is_raster(path: str | Path) -> bool:
    """Whether a file is a plain picture, without a position in space."""
    return Path(path).suffix.lower() in _RASTER


def load_image(path: str | Path) -> MetaTensor:
    """Read a one-channel image or label map in the file's own dtype.

    Args:
        path: NIfTI or any other format that MONAI reads; colors of a picture are averaged to gray.

    Returns:
        Tensor of shape (1, *spatial) with the RAS affine; axes as MONAI's `LoadImage` gives them, x first in a picture.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read or has several channels; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    reader = PILReader(converter=_to_gray) if is_raster(path) else None
    try:
        image = _loader()(path, reader=reader)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); restore it from its source") from error
    if image.shape[0] != 1:
        raise ValueError(f"{path} has {image.shape[0]} channels or time points; store one of them per file")
    return image


@cache
def _loader() -> LoadImage:
    # Where pydicom is installed, MONAI reports in each loader that a decoder for GPUs is missing, which nothing needs.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return LoadImage(image_only=True, dtype=None, ensure_channel_first=True)


def _to_gray(image: Image.Image) -> Image.Image:
    """Drop colors and transparency; leave gray levels of any depth, and palette indices, as they are."""
    return image.convert("L") if len(image.getbands()) > 1 else image


def spacing_of(affine: np.ndarray, spatial_dims: int) -> np.ndarray:
    """Voxel size in mm along the array's axes."""
    return np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :spatial_dims], axis=0)

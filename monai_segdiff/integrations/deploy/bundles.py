"""The bundle that the application is started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.data.dicom.series import MODALITIES
from monai_segdiff.documents import read_json
from monai_segdiff.generation import TrainedGenerator, load_generator
from monai_segdiff.generation.default_weights import default_weights

__all__ = ["bundle_modality", "find_bundle", "load_bundle"]

_METADATA = Path("configs", "metadata.json")


def find_bundle(path: Path) -> Path:
    """Find the bundle in what ``-m`` names.

    Args:
        path: a bundle's folder, or a folder with one bundle in it, which is how packages hold models.

    Returns:
        The bundle's folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if there are several.
    """
    if (path / _METADATA).is_file():
        return path
    found = sorted(folder for folder in path.glob("*") if (folder / _METADATA).is_file())
    if not found:
        raise FileNotFoundError(f"{path} is no bundle and holds none: name the folder of a trained bundle with -m")
    if len(found) > 1:
        raise ValueError(f"{path} holds the bundles {', '.join(one.name for one in found)}: name one of them with -m")
    return found[0]


def bundle_modality(bundle: Path, wanted: str | None) -> str:
    """The modality of the series that is to be written.

    Args:
        bundle: the bundle's folder.
        wanted: "CT", "MR", "CR" or "DX"; None for what the bundle's metadata say of its images.

    Raises:
        ValueError: if they do not say, or name another modality.
    """
    if wanted is not None:
        return wanted
    file = bundle / _METADATA
    content = read_json(
        file, "a bundle's metadata", remedy="copy the bundle's configs anew, or set the option modality"
    )
    try:
        modality = content["network_data_format"]["outputs"]["pred"]["modality"]
    except (LookupError, TypeError):
        modality = None
    if modality not in MODALITIES:
        raise ValueError(
            f"{file} gives {modality!r} as the modality of the images, which cannot be written: set the option "
            f"modality to one of {', '.join(MODALITIES)}"
        )
    return str(modality)


def load_bundle(bundle: Path, overrides: Mapping[str, Any]) -> TrainedGenerator:
    """Load a trained bundle.

    Args:
        bundle: its folder.
        overrides: values for ids of its ``inference.yaml``.

    Raises:
        FileNotFoundError: if it has no weights.
        ValueError: if the weights belong to another network, or a setting is not possible.
    """
    weights = default_weights(bundle, overrides=overrides)
    if not weights.is_file():
        raise FileNotFoundError(f"{bundle} has no weights at {weights}: name the folder of a trained bundle with -m")
    return load_generator(bundle, weights, overrides=overrides)

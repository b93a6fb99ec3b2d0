"""The variants of a bundle: loaded, sampled side by side, and compared in a table of methods."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import Case
from monai_segdiff.evaluation import Report, compare_methods
from monai_segdiff.generation.default_weights import default_weights
from monai_segdiff.generation.generate import generate_dataset
from monai_segdiff.generation.generator import TrainedGenerator, load_generator

__all__ = ["compare_variants", "generate_variants", "load_variants"]

logger = logging.getLogger(__name__)


def load_variants(
    bundle: str | os.PathLike[str],
    variants: Mapping[str, Mapping[str, Any]],
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, TrainedGenerator]:
    """Load those variants of a bundle that are trained, and say which are not.

    Args:
        bundle: a bundle's name or folder.
        variants: name to the values of ids of ``inference.yaml`` that make the variant, such as
            ``{"CSM, contour": {"method": "csm", "condition": "contour"}}``; the weights are sought in the ``ckpt_dir``
            that follows from them.
        overlays: as for :func:`~monai_segdiff.generation.load_generator`.
        overrides: values for ids of ``inference.yaml`` in all variants.

    Returns:
        Name to generator, in the order of ``variants``, without those that have no weights.

    Raises:
        FileNotFoundError: if there is no such bundle or overlay, or no variant is trained.
        ValueError: if weights belong to another network, or a setting is not possible.
    """
    root = bundle_path(bundle)
    settings = {name: {**(overrides or {}), **values} for name, values in variants.items()}
    places = {name: default_weights(root, overlays, values) for name, values in settings.items()}
    missing = {name: file for name, file in places.items() if not file.is_file()}
    for name, file in missing.items():
        logger.warning(f"{name!r} is not trained and left out: no weights at {file}")
    if len(missing) == len(settings):
        raise FileNotFoundError(f"none of {', '.join(settings)} is trained in {root}: train at least one first")
    return {
        name: load_generator(root, places[name], overlays=overlays, overrides=values)
        for name, values in settings.items()
        if name not in missing
    }


def generate_variants(
    generators: Mapping[str, TrainedGenerator],
    masks: Sequence[Case],
    output: str | os.PathLike[str],
    *,
    per_mask: int = 1,
    batch_size: int = 16,
    progress: bool = True,
) -> dict[str, Path]:
    """Generate images for the same label maps with each of several generators, a data set each.

    Args:
        generators: name to generator.
        masks: from :func:`~monai_segdiff.generation.collect_masks`.
        output: folder for the data sets, whose folders have the names in lower case, words joined by ``_``. What is
            there already, made with the same arguments, is not made again.
        per_mask: images for each mask, at least 1.
        batch_size: images sampled at once.
        progress: show progress bars.

    Returns:
        Name to the folder of its data set.

    Raises:
        ValueError: if a mask does not fit a generator, or a folder holds something that was made otherwise.
        OSError: if a file cannot be written.
    """
    folders = {name: Path(output) / "_".join(re.findall(r"[a-z0-9]+", name.lower())) for name in generators}
    if len(set(folders.values())) < len(folders):
        raise ValueError(f"{', '.join(folders)}: two of these names give the same folder, change one")
    for name, generator in generators.items():
        generate_dataset(generator, masks, folders[name], per_mask=per_mask, batch_size=batch_size, progress=progress)
    return folders


def compare_variants(
    generators: Mapping[str, TrainedGenerator],
    masks: Sequence[Case],
    real: str | Path,
    output: str | Path,
    *,
    conditions: Mapping[str, Mapping[str, int | Sequence[int]]] | None = None,
    published: Mapping[str, Mapping[str, float]] | None = None,
    per_mask: int = 1,
    batch_size: int = 16,
    **options: Any,
) -> Report:
    """Generate images for the same masks with each generator and hold them to the real ones.

    Args:
        generators: "condition / method" to generator, from :func:`load_variants`.
        masks: label maps of the real data set's held-out cases.
        real: the real data set's folder.
        output: folder for the report; each generator's images go to a folder of their own in it. What is there already,
            made with the same arguments, is not made again.
        conditions: condition to the classes that its methods were told; those of which nothing is trained may be there.
        published: published figures by name of the row; those of which nothing is trained may be there.
        per_mask: images for each mask, at least 1.
        batch_size: images sampled at once.
        **options: further arguments of :func:`monai_segdiff.evaluation.compare_methods`.

    Returns:
        The report.

    Raises:
        ValueError: if masks, generators and the real data set do not fit each other.
        OSError: if a file cannot be written.
    """
    synthetic = generate_variants(generators, masks, Path(output) / "images", per_mask=per_mask, batch_size=batch_size)
    present = {name.rpartition(" / ")[0] for name in synthetic}
    return compare_methods(
        real,
        synthetic,
        output,
        conditions={name: classes for name, classes in (conditions or {}).items() if name in present},
        published={name: figures for name, figures in (published or {}).items() if name in synthetic},
        **options,
    )

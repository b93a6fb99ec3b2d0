"""The variants of a bundle, generated and compared: a table of methods for whatever is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data import Case
from monai_segdiff.evaluation import Report, compare_methods
from monai_segdiff.generation import TrainedGenerator, generate_variants

__all__ = ["compare_variants"]


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
        generators: "condition / method" to generator, from :func:`monai_segdiff.generation.load_variants`.
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

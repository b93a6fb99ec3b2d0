"""Which grid a label map goes onto, by what the card says of the training images, and what cannot be right there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.load import spacing_of
from monai_segdiff.generation.placement import CutLabelsError, PlacedLabels, canonical_grid, fit_labels, slicing_axis

__all__ = ["TrainedGrid", "place_labels"]

_SAME = 0.01  # voxel sizes that differ by less are one
_SEEN = 0.1  # fields of view may be as much smaller or larger than those of the training
_PADDED = 0.5  # share of the grid that they fill at least, where it is padded


@dataclass(frozen=True)
class TrainedGrid:
    """How the training images of a generator lay, as far as its card says.

    Args:
        spacing: their voxel size in mm per axis, where all had the same.
        field_of_view: their smallest and largest length in mm per axis.
        patches: whether the network saw patches of them, so that it draws larger images in windows.
        slice_axis: along which volumes were sliced: 0 sagittal, 1 coronal, 2 axial.
    """

    spacing: tuple[float, ...] | None = None
    field_of_view: tuple[tuple[float, ...], ...] | None = None
    patches: bool = False
    slice_axis: int | None = None

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> TrainedGrid:
        """What a card says; see :func:`monai_segdiff.data.training_grid`.

        Args:
            card: its entries, checked.
        """
        spacing, view = card.get("spacing"), card.get("field_of_view")
        return cls(
            None if spacing is None else tuple(spacing),
            None if view is None else tuple(map(tuple, view)),
            bool(card.get("patches", False)),
            card.get("slice_axis"),
        )

    def facts(self) -> dict[str, Any]:
        """What is known, of JSON types."""
        facts = {"spacing": self.spacing, "field_of_view": self.field_of_view, "slice_axis": self.slice_axis}
        return {"patches": self.patches, **{key: value for key, value in facts.items() if value is not None}}


def place_labels(
    labels: MetaTensor,
    image_size: Sequence[int],
    trained: TrainedGrid,
    *,
    measured: bool = True,
    windows: bool = False,
    outside: int = 0,
) -> tuple[PlacedLabels | None, str]:
    """Bring a label map onto the grid that a generator needs, voxel size first.

    Where the training images had one voxel size, it is resampled to that; where they had not, patches take it as it
    is, and of a network that saw whole images the grid holds its whole field of view. What is larger than the network's
    images stays so where the network saw patches; otherwise the grid is laid around what is labeled, and where that
    does not fit either, the whole field of view is squeezed into it.

    Args:
        labels: (1, X, Y, Z) or (1, X, Y), with its RAS affine.
        image_size: voxels per axis of the network's images.
        trained: how its training images lay.
        measured: whether the label map has voxels of a known size; those of pictures have not.
        windows: whether the generator can draw in windows.
        outside: label id of what lies outside of the label map's field of view.

    Returns:
        Label maps for the network, None if it is on its grid already; and what cannot be right, in words with numbers,
        or nothing.

    Raises:
        ValueError: if a slice is given for a bundle of volumes, or there are more voxels than memory.
    """
    dims = len(image_size)
    axis = slicing_axis(labels, trained.slice_axis) if dims == 2 and labels.ndim == 4 else None
    shape, affine = canonical_grid(labels)
    voxel = spacing_of(affine, len(shape))
    slices = 1 if axis is None else shape[axis]
    if axis is not None:
        shape, voxel = np.delete(shape, axis), np.delete(voxel, axis)
    spacing = trained.spacing if measured else None
    same = spacing is None or bool((np.abs(voxel / np.asarray(spacing[: len(voxel)]) - 1) <= _SAME).all())
    if tuple(shape) == tuple(image_size) and slices == 1 and same:
        if tuple(np.asarray(labels.affine).ravel()) == tuple(affine.ravel()):
            return None, ""
        spacing = tuple(voxel.tolist())
    larger = trained.patches and windows
    if spacing is None and larger and labels.ndim - 1 >= dims:
        spacing = tuple(voxel.tolist())
    remark = ""
    try:
        placed = fit_labels(labels, image_size, spacing, axis=axis, larger=larger, outside=outside)
    except CutLabelsError:
        placed = fit_labels(labels, image_size, axis=axis, outside=outside)
        remark = (
            f"what is labeled does not fit into images of {_mm(np.array(image_size) * spacing)}, so voxels of "
            f"{_mm(placed.spacing)} are drawn where those of the training had {_mm(spacing)}"
        )
    return placed, remark or (_unseen(shape * voxel, trained) if measured else "")


def _unseen(field: NDArray[np.float64], trained: TrainedGrid) -> str:
    """What the training never saw of a field of view; empty where it saw such, or nobody knows."""
    if trained.field_of_view is None or len(field) != len(trained.field_of_view[0]):
        return ""
    low, high = (np.array(end) for end in trained.field_of_view)
    # On a grid of one voxel size smaller fields of view were padded in the training, too.
    least = 1 - _SEEN if trained.spacing is None else _PADDED
    if ((field >= least * low) & (field <= (1 + _SEEN) * high)).all():
        return ""
    seen = _mm(low) if np.allclose(low, high, rtol=_SAME) else f"{_mm(low)} to {_mm(high)}"
    return f"its field of view is {_mm(field)}, and those of the training were {seen}"


def _mm(lengths: Any) -> str:
    return f"{' x '.join(f'{length:.4g}' for length in lengths)} mm"

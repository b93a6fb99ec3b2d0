"""What phantoms of the trunk have in common: a square axial field of view, cut into slices or rendered as a volume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from monai_segdiff.data.shapes import Field

__all__ = ["AxialPhantom", "Labels", "Paint"]

Labels: TypeAlias = NDArray[np.uint8]
Paint: TypeAlias = Callable[..., None]


class AxialPhantom(ABC):
    """Anatomy of one simulated patient, the same at any resolution; axes run to the right, to anterior, to superior.

    Subclasses set the attributes and define `_draw`.

    Attributes:
        seed: patient number.
        extent: side of the square field of view in mm.
        front: edge of the field of view in front of the patient, y in mm.
        z_range: lowest and highest position in mm for slices that show most classes at once.
        volume_range: lowest and highest position in mm of a volume that holds the anatomy whole.
    """

    seed: int
    extent: float
    front: float
    z_range: tuple[float, float]
    volume_range: tuple[float, float]

    def slice_positions(self, number: int) -> NDArray[np.float64]:
        """Positions in mm of `number` slices, evenly spread over `z_range` and jittered within their share of it."""
        jitter = np.random.default_rng([self.seed, 2, number]).uniform(0.1, 0.9, size=number)
        return self.z_range[0] + (self.z_range[1] - self.z_range[0]) * (np.arange(number) + jitter) / number

    def affine(self, shape: Sequence[int], z_range: float | tuple[float, float] | None = None) -> NDArray[np.float64]:
        """RAS affine in mm, shape (4, 4), of what `render` returns for the same arguments."""
        low, high = self._levels(shape, z_range)
        spacing = np.array([self.extent / shape[0], self.extent / shape[1], 1.0])
        origin = np.array([(spacing[0] - self.extent) / 2, spacing[1] / 2 + self.front - self.extent, low])
        if len(shape) == 3:
            spacing[2] = (high - low) / shape[2]
            origin[2] += spacing[2] / 2
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = origin
        return affine

    def render(
        self, shape: Sequence[int], z_range: float | tuple[float, float] | None = None
    ) -> tuple[NDArray[np.float32], Labels]:
        """Render an axial slice or a volume over the field of view.

        Args:
            shape: (X, Y) for a slice, (X, Y, Z) for a volume; axes run to the right, to anterior, to superior.
            z_range: position of the slice in mm (a pair means its middle), or lowest and highest edge of the volume in
                mm. Default: the middle of `z_range` for a slice, `volume_range` for a volume.

        Returns:
            Image, float32, and label map, uint8, both of the given shape.

        Raises:
            ValueError: if the shape is neither 2D nor 3D, or the range is empty.
        """
        affine = self.affine(shape, z_range)
        grid_shape = (*shape, 1)[:3]
        axes = [affine[i, 3] + affine[i, i] * np.arange(n) for i, n in enumerate(grid_shape)]
        x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
        key = [self.seed, 1, *grid_shape, round(affine[2, 3] * 1000) % 2**32]
        image, labels = self._draw(x, y, z, max(affine[0, 0], 1.0), np.random.default_rng(key))
        return image.reshape(shape), labels.reshape(shape)

    @abstractmethod
    def _draw(self, x: Field, y: Field, z: Field, width: float, noise: np.random.Generator) -> tuple[Field, Labels]:
        """Image with noise, and label map, (X, Y, Z), on open grids in mm; `width` in mm is how far a voxel smears."""

    def _levels(self, shape: Sequence[int], z_range: float | tuple[float, float] | None) -> tuple[float, float]:
        if len(shape) not in (2, 3):
            raise ValueError(f"shape must be (X, Y) or (X, Y, Z), got {tuple(shape)}")
        if z_range is None:
            z_range = self.volume_range if len(shape) == 3 else self.z_range
        low, high = z_range if isinstance(z_range, Sequence) else (z_range, z_range)
        if len(shape) == 2:
            return (float(low) + float(high)) / 2, (float(low) + float(high)) / 2
        if not low < high:
            raise ValueError(f"a volume needs z_range=(low, high) with low < high, got {z_range}")
        return float(low), float(high)

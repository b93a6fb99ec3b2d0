"""Analytic shapes and random fields that phantoms are made of, in millimeters and independent of any grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "WaveField", "coverage", "rotate", "smooth_union", "superellipsoid"]

Field: TypeAlias = NDArray[np.float32]


def superellipsoid(
    coordinates: Sequence[Field], center: Sequence[float], radii: Sequence[float], exponent: float = 2.0
) -> Field:
    """Signed distance to a superellipsoid, exact to first order near its surface.

    The implicit function is q = (sum_i |x_i / r_i|^p)^(1/p), which is 1 on the surface; (q - 1) / |grad q| is the first
    order distance.

    Args:
        coordinates: one array of positions per axis, in mm; all of one shape.
        center: position of the center in mm, one per axis.
        radii: half axes in mm, one per axis.
        exponent: p > 1; 2 gives an ellipsoid, more gives a boxier shape.

    Returns:
        Distance in mm, negative inside; of the coordinates' shape.
    """
    scaled = [np.abs((x - c) / r) for x, c, r in zip(coordinates, center, radii, strict=True)]
    powers = [s ** (exponent - 1) for s in scaled]
    total = sum(p * s for p, s in zip(powers, scaled, strict=True))
    q = np.maximum(total, 1e-6) ** (1 / exponent)
    slope = sum((p / r) ** 2 for p, r in zip(powers, radii, strict=True))
    gradient = np.sqrt(slope) * q ** (1 - exponent)
    return np.asarray((q - 1) / np.maximum(gradient, 1e-4), dtype=np.float32)


def smooth_union(first: Field, second: Field, width: float) -> Field:
    """Union of two signed distances with the crease between them filled over `width` mm."""
    share = np.clip(0.5 + 0.5 * (second - first) / width, 0, 1)
    return second + (first - second) * share - width * share * (1 - share)


def rotate(x: Field, y: Field, center: Sequence[float], angle: float) -> tuple[Field, Field]:
    """Coordinates in a frame turned by `angle` radians about `center`; both stay in mm around the same center."""
    dx, dy = x - center[0], y - center[1]
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return center[0] + cos * dx + sin * dy, center[1] - sin * dx + cos * dy


def coverage(distance: Field, width: float) -> Field:
    """Share of a voxel that lies inside a surface: 0.5 on it, linear over `width` mm (partial volume)."""
    return np.clip(0.5 - distance / width, 0, 1)


class WaveField:
    """Smooth random field of unit variance, a sum of plane waves: the same at every resolution and in every slice.

    Args:
        rng: source of the directions, wavelengths and phases.
        wavelengths: shortest and longest wavelength in mm.
        waves: number of waves; more makes the field closer to Gaussian.
    """

    def __init__(self, rng: np.random.Generator, wavelengths: tuple[float, float], waves: int = 12) -> None:
        directions = rng.normal(size=(waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._vectors = (directions * 2 * np.pi / rng.uniform(*wavelengths, size=(waves, 1))).astype(np.float32)
        self._phases = rng.uniform(0, 2 * np.pi, size=waves).astype(np.float32)

    def __call__(self, x: Field, y: Field, z: Field) -> Field:
        """Value of the field at positions in mm."""
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), dtype=np.float32)
        for (kx, ky, kz), phase in zip(self._vectors, self._phases, strict=True):
            total += np.cos(kx * x + ky * y + kz * z + phase)
        return total * np.float32(np.sqrt(2 / len(self._phases)))

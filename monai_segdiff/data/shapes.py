"""Analytic shapes and random fields that phantoms are made of, in millimeters and independent of any grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

__all__ = ["Field", "Profile", "Tube", "WaveField", "capsule", "coverage", "rotate", "smooth_union", "superellipsoid"]

Field: TypeAlias = NDArray[np.float32]


def superellipsoid(
    coordinates: Sequence[Field], center: Sequence[Any], radii: Sequence[Any], exponent: float = 2.0
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
    if exponent == 2.0:
        return _ellipsoid(coordinates, center, radii)
    scaled = [np.abs((x - c) / r) for x, c, r in zip(coordinates, center, radii, strict=True)]
    powers = [s ** (exponent - 1) for s in scaled]
    total = sum(p * s for p, s in zip(powers, scaled, strict=True))
    q = np.maximum(total, 1e-6) ** (1 / exponent)
    slope = sum((p / r) ** 2 for p, r in zip(powers, radii, strict=True))
    gradient = np.sqrt(slope) * q ** (1 - exponent)
    return np.asarray((q - 1) / np.maximum(gradient, 1e-4), dtype=np.float32)


def _ellipsoid(coordinates: Sequence[Field], center: Sequence[Any], radii: Sequence[Any]) -> Field:
    """The same without powers: (q - 1) q / |x_i / r_i^2|."""
    total = slope = np.float32(0)
    for x, c, r in zip(coordinates, center, radii, strict=True):
        inverse = np.float32(1) / np.asarray(r, dtype=np.float32)
        scaled = (x - np.asarray(c, dtype=np.float32)) * inverse
        square = scaled * scaled
        total = total + square
        slope = slope + square * (inverse * inverse)
    total = np.maximum(total, np.float32(1e-6))
    q = np.sqrt(total)
    return np.asarray((total - q) / np.sqrt(np.maximum(slope, np.float32(1e-8) * total)), dtype=np.float32)


def capsule(coordinates: Sequence[Field], start: Sequence[float], end: Sequence[float], radius: float) -> Field:
    """Signed distance in mm to everything within `radius` of the segment from `start` to `end`."""
    axis = np.subtract(end, start).astype(np.float32)
    offsets = [x - np.float32(c) for x, c in zip(coordinates, start, strict=True)]
    along = np.clip(sum(o * a for o, a in zip(offsets, axis, strict=True)) / np.dot(axis, axis), 0, 1)
    square = sum((o - a * along) ** 2 for o, a in zip(offsets, axis, strict=True))
    return np.asarray(np.sqrt(square) - np.float32(radius), dtype=np.float32)


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


class Profile:
    """Smooth monotone curves through knots along one axis, constant beyond the last ones; read from a table.

    Args:
        knots: increasing positions in mm.
        values: one row per knot, one column per curve.
    """

    _STEP = 0.25  # mm

    def __init__(self, knots: Sequence[float], values: ArrayLike) -> None:
        table = np.asarray(values, dtype=float)
        table = table[:, None] if table.ndim == 1 else table
        self._low = float(knots[0])
        positions = np.linspace(knots[0], knots[-1], int((knots[-1] - knots[0]) / self._STEP) + 1)
        self._step = float(positions[1] - positions[0])
        self._table = PchipInterpolator(knots, table)(positions).T.astype(np.float32)

    def __call__(self, z: Field) -> tuple[Field, ...]:
        """Value of every curve at positions in mm."""
        index = ((z - np.float32(self._low)) * np.float32(1 / self._step) + np.float32(0.5)).astype(np.int32)
        return tuple(column.take(index, mode="clip") for column in self._table)


class Tube:
    """Superelliptic cross-sections strung along z, their centers and radii given at knots.

    Args:
        knots: increasing positions along z in mm.
        sections: one row per knot: center x, center y, radius x, radius y, in mm.
        exponent: of the cross-section, see `superellipsoid`.
        closed: whether the tube ends at the first and the last knot; otherwise it runs on.
    """

    def __init__(
        self,
        knots: Sequence[float],
        sections: ArrayLike,
        exponent: float = 2.0,
        closed: tuple[bool, bool] = (False, False),
    ) -> None:
        self._profile = Profile(knots, sections)
        self._exponent = exponent
        self._low = float(knots[0]) if closed[0] else -np.inf
        self._high = float(knots[-1]) if closed[1] else np.inf

    def __call__(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance in mm, measured within the cross-section."""
        center_x, center_y, radius_x, radius_y = self._profile(z)
        distance = superellipsoid((x, y), (center_x, center_y), (radius_x, radius_y), self._exponent)
        if np.isfinite(self._low):
            distance = np.maximum(distance, np.float32(self._low) - z)
        if np.isfinite(self._high):
            distance = np.maximum(distance, z - np.float32(self._high))
        return distance


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

    def on_grid(self, x: Field, y: Field, z: Field) -> Field:
        """The same on a grid of axes x (X,), y (Y,) and z (Z,) in mm, much faster; shape (X, Y, Z).

        cos(a + b) = cos a cos b - sin a sin b turns the sum over waves into a product of two matrices.
        """
        kx, ky, kz = self._vectors.T
        plane = x[:, None, None] * kx + y[:, None] * ky + self._phases
        line = kz[:, None] * z
        first = np.concatenate([np.cos(plane), -np.sin(plane)], axis=-1).reshape(len(x) * len(y), -1)
        second = np.concatenate([np.cos(line), np.sin(line)]) * np.float32(np.sqrt(2 / len(self._phases)))
        return (first @ second).reshape(len(x), len(y), len(z))

"""Solids with chords in closed form, and the antialiased voxels that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from monai_segdiff.transforms.drr.geometry import Geometry

Points: TypeAlias = NDArray[np.float64]


def _between(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(end - start, 0)


def _quadric(a: Points, b: Points, c: Points) -> tuple[Points, Points]:
    """The two solutions of a t^2 + 2 b t + c = 0; where there are none, an empty interval."""
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    return (-b - root) / a, (-b + root) / a


def _slab(origin: Points, direction: Points, half: float) -> tuple[Points, Points]:
    with np.errstate(divide="ignore"):
        ends = np.stack([(-half - origin) / direction, (half - origin) / direction])
    return ends.min(axis=0), ends.max(axis=0)


@dataclass(frozen=True)
class Sphere:
    center: tuple[float, float, float]
    radius: float

    def column(self, x: Points, y: Points) -> Points:
        across = np.square(x - self.center[0]) + np.square(y - self.center[1])
        return np.sqrt(np.maximum(self.radius**2 - across, 0))

    def chords(self, origin: Points, direction: Points) -> Points:
        offset = origin - self.center
        start, end = _quadric(1.0, (offset * direction).sum(-1), np.square(offset).sum(-1) - self.radius**2)
        return _between(start, end)

    def shrunk(self, by: float) -> Sphere:
        return Sphere(self.center, self.radius - by)


@dataclass(frozen=True)
class Cylinder:
    """A cylinder along z."""

    center: tuple[float, float, float]
    radius: float
    half_length: float

    def column(self, x: Points, y: Points) -> Points:
        return self.half_length * (np.hypot(x - self.center[0], y - self.center[1]) < self.radius)

    def chords(self, origin: Points, direction: Points) -> Points:
        offset, flat = origin - self.center, direction[..., :2]
        across = np.square(offset[..., :2]).sum(-1) - self.radius**2
        start, end = _quadric(np.square(flat).sum(-1), (offset[..., :2] * flat).sum(-1), across)
        low, high = _slab(offset[..., 2], direction[..., 2], self.half_length)
        return _between(np.maximum(start, low), np.minimum(end, high))

    def shrunk(self, by: float) -> Cylinder:
        return Cylinder(self.center, self.radius - by, self.half_length - by)


@dataclass(frozen=True)
class Box:
    """A box turned about z by an angle in degrees."""

    center: tuple[float, float, float]
    half: tuple[float, float, float]
    angle: float = 0.0

    def _own(self, vectors: Points) -> Points:
        c, s = np.cos(np.deg2rad(self.angle)), np.sin(np.deg2rad(self.angle))
        return vectors @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    def column(self, x: Points, y: Points) -> Points:
        own = self._own(np.stack(np.broadcast_arrays(x, y, self.center[2]), axis=-1) - self.center)
        return self.half[2] * (np.abs(own[..., :2]) < self.half[:2]).all(axis=-1)

    def chords(self, origin: Points, direction: Points) -> Points:
        offset, along = self._own(origin - self.center), self._own(direction)
        slabs = [_slab(offset[..., i], along[..., i], self.half[i]) for i in range(3)]
        return _between(np.max([low for low, _ in slabs], axis=0), np.min([high for _, high in slabs], axis=0))

    def shrunk(self, by: float) -> Box:
        return Box(self.center, tuple(half - by for half in self.half), self.angle)


Solid = Sphere | Cylinder | Box


def grid(shape: tuple[int, int, int], voxel: float) -> NDArray[np.float64]:
    """Affine of a grid along the world's axes with its middle at the origin."""
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * voxel
    return affine


def voxels(
    solid: Solid, shape: tuple[int, int, int], affine: NDArray[np.float64], samples: int = 6
) -> NDArray[np.float32]:
    """Share of every voxel that lies in a solid: exact along z, from samples**2 columns across.

    The grid has to run along the world's axes; ``column`` of a solid is half of its length above a point of the plane.
    """
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    x, y = ((np.arange(shape[i])[:, None] + steps).ravel() * affine[i, i] + affine[i, 3] for i in range(2))
    half = solid.column(x[:, None], y)[..., None]
    edges = (np.arange(shape[2] + 1) - 0.5) * affine[2, 2] + affine[2, 3] - solid.center[2]
    inside = np.diff(np.clip(edges, -half, half), axis=-1) / affine[2, 2]
    return inside.reshape(shape[0], samples, shape[1], samples, shape[2]).mean(axis=(1, 3)).astype(np.float32)


def rays(geometry: Geometry) -> tuple[Points, Points]:
    """Start and unit direction of every ray from the documented geometry alone, (views, U, V, 3)."""
    described = geometry.describe()
    (rows, columns), (du, dv) = described["detector_shape"], described["detector_spacing"]
    u, v = (np.arange(rows) - (rows - 1) / 2) * du, (np.arange(columns) - (columns - 1) / 2) * dv
    starts, directions = [], []
    for view in described["views"]:
        u_axis, v_axis, center, source = (
            np.array(view[key]) for key in ("u_axis", "v_axis", "detector_center", "source")
        )
        pixels = center + u[:, None, None] * u_axis + v[:, None] * v_axis
        cone = described["beam"] == "cone"
        start = np.broadcast_to(source, pixels.shape) if cone else pixels - (center - source)
        step = pixels - start
        starts.append(start)
        directions.append(step / np.linalg.norm(step, axis=-1, keepdims=True))
    return np.stack(starts), np.stack(directions)


def chord_lengths(solid: Solid, geometry: Geometry) -> torch.Tensor:
    """Chords of a solid on the rays to every pixel, (views, U, V)."""
    return torch.as_tensor(solid.chords(*rays(geometry)))

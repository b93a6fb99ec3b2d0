"""Where source and detector stand around a volume, in millimeters of its own world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Geometry", "Orbit", "fitted_spacing", "grid_corners", "orbit"]

Vectors: TypeAlias = NDArray[np.float64]

_NAMED_AXES = {"R": (1.0, 0.0, 0.0), "A": (0.0, 1.0, 0.0), "S": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Orbit:
    """Source and detector turning about an axis, without the detector's pixels. World coordinates are RAS in mm.

    Args:
        angles: degrees about the axis, right-handed: seen from the axis's tip they run counter-clockwise.
        axis: unit vector of the axis of rotation.
        reference: unit vector from the isocenter to the source at angle 0.
        source_to_isocenter: mm.
        source_to_detector: mm.
        parallel: whether the rays are parallel.
    """

    angles: tuple[float, ...]
    axis: Vectors
    reference: Vectors
    source_to_isocenter: float
    source_to_detector: float
    parallel: bool

    @cached_property
    def directions(self) -> Vectors:
        """Unit vectors of the central rays, from source to detector, (views, 3)."""
        radians = np.deg2rad(np.asarray(self.angles, dtype=np.float64))[:, None]
        side = np.cross(self.axis, self.reference)
        return -(np.cos(radians) * self.reference + np.sin(radians) * side)

    @cached_property
    def u_axes(self) -> Vectors:
        """Unit vectors along the detector's columns, (views, 3)."""
        return np.cross(self.axis, self.directions)

    def on_detector(self, points: Vectors, isocenter: Vectors, view: int) -> Vectors:
        """Where the rays through some points meet the detector's plane.

        Args:
            points: RAS in mm, (P, 3).
            isocenter: RAS in mm, (3,).
            view: index of the view.

        Returns:
            u, v and depth behind the source in mm, (P, 3); u and v are 0 at the detector's center.
        """
        frame = np.stack([self.u_axes[view], self.axis, self.directions[view]])
        projected = (points - isocenter) @ frame.T
        projected[:, 2] += self.source_to_isocenter
        if not self.parallel:
            with np.errstate(divide="ignore", invalid="ignore"):
                projected[:, :2] *= (self.source_to_detector / projected[:, 2])[:, None]
        return projected


def orbit(
    angles: Sequence[float],
    axis: str | Sequence[float],
    source_to_isocenter: float,
    source_to_detector: float,
    beam: str,
) -> Orbit:
    """Check what describes an orbit and build it.

    At angle 0 the source stands in front of the patient (anterior); about an axis from back to front it stands above
    (superior).

    Raises:
        ValueError: for no angles or such that are not finite, an axis without direction, distances in the wrong order
            or an unknown beam.
    """
    turns = tuple(np.atleast_1d(np.asarray(angles, dtype=np.float64)).tolist())
    if not turns:
        raise ValueError("angles is empty: give at least one angle in degrees.")
    if not all(map(math.isfinite, turns)):
        raise ValueError(f"angles must be finite degrees, got {turns}.")
    if beam not in ("cone", "parallel"):
        raise ValueError(f"unknown beam '{beam}': choose cone or parallel.")
    if not 0 < source_to_isocenter < source_to_detector < math.inf:
        raise ValueError(
            f"source_to_isocenter (--source-to-isocenter), {source_to_isocenter:g} mm, must be above 0 and below "
            f"source_to_detector (--source-to-detector), {source_to_detector:g} mm."
        )
    along = _unit_axis(axis)
    front = np.array(_NAMED_AXES["S" if abs(along[1]) > 0.9 else "A"])
    reference = front - (front @ along) * along
    return Orbit(
        turns,
        along,
        reference / np.linalg.norm(reference),
        float(source_to_isocenter),
        float(source_to_detector),
        beam == "parallel",
    )


def _unit_axis(axis: str | Sequence[float]) -> Vectors:
    if isinstance(axis, str):
        if axis not in _NAMED_AXES:
            raise ValueError(f"unknown axis '{axis}': choose R, A or S, or give a vector (x, y, z) in RAS.")
        return np.array(_NAMED_AXES[axis])
    along = np.asarray(axis, dtype=np.float64)
    if along.shape != (3,) or not np.isfinite(along).all() or not np.linalg.norm(along) > 0:
        raise ValueError(f"axis must be R, A, S or a vector of three numbers that are not all 0, got {axis}.")
    return along / np.linalg.norm(along)


@dataclass(frozen=True)
class Geometry:
    """An orbit around a volume, with a detector of pixels.

    Args:
        orbit: source and detector's plane for every view.
        isocenter: RAS in mm, (3,).
        detector_shape: pixels (U, V).
        detector_spacing: mm between pixel centers on the detector, (u, v).
    """

    orbit: Orbit
    isocenter: Vectors
    detector_shape: tuple[int, int]
    detector_spacing: tuple[float, float]

    @property
    def half_size(self) -> Vectors:
        """Half of the detector's width and height in mm, (2,)."""
        return np.array(self.detector_shape) * np.array(self.detector_spacing) / 2

    @property
    def sources(self) -> Vectors:
        """Positions of the source, RAS in mm, (views, 3); of a parallel beam the point on its central ray."""
        return self.isocenter - self.orbit.source_to_isocenter * self.orbit.directions

    @property
    def detector_centers(self) -> Vectors:
        """Positions of the detector's center, RAS in mm, (views, 3)."""
        return self.sources + self.orbit.source_to_detector * self.orbit.directions

    @property
    def affine(self) -> Vectors:
        """Pixel index to mm on the detector, (4, 4), with 0 at its center."""
        affine = np.diag([*self.detector_spacing, 1.0, 1.0])
        affine[:2, 3] = -(np.array(self.detector_shape) - 1) / 2 * np.array(self.detector_spacing)
        return affine

    def describe(self) -> dict[str, Any]:
        """All of it as JSON types."""
        turning = self.orbit
        views = [
            {
                "angle": angle,
                "source": source.tolist(),
                "detector_center": center.tolist(),
                "u_axis": u_axis.tolist(),
                "v_axis": turning.axis.tolist(),
            }
            for angle, source, center, u_axis in zip(
                turning.angles, self.sources, self.detector_centers, turning.u_axes, strict=True
            )
        ]
        return {
            "beam": "parallel" if turning.parallel else "cone",
            "source_to_isocenter": turning.source_to_isocenter,
            "source_to_detector": turning.source_to_detector,
            "isocenter": self.isocenter.tolist(),
            "axis": turning.axis.tolist(),
            "detector_shape": list(self.detector_shape),
            "detector_spacing": list(self.detector_spacing),
            "views": views,
        }


def grid_corners(shape: Sequence[int], affine: Vectors) -> Vectors:
    """Centers of a grid's eight corner voxels, RAS in mm, (2, 2, 2, 3): one axis for each axis of the grid."""
    ends = [(0.0, size - 1.0) for size in shape]
    index = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def fitted_spacing(turning: Orbit, isocenter: Vectors, detector_shape: tuple[int, int], corners: Vectors) -> float:
    """Side of square pixels in mm with which the detector sees as much of a grid as it can without truncation.

    The field ends where a ray would leave the grid through one of its two end faces along the axis of rotation, where
    a limb goes on, or at the circle around the axis that holds the whole grid.

    Args:
        turning: the orbit.
        isocenter: RAS in mm, (3,).
        detector_shape: pixels (U, V).
        corners: as from :func:`grid_corners`.

    Raises:
        ValueError: if the source is not outside of that circle, or the isocenter not between the end faces.
    """
    across = corners.reshape(8, 3) - isocenter
    across = across - (across @ turning.axis)[:, None] * turning.axis
    radius = float(np.linalg.norm(across, axis=1).max())
    distance = turning.source_to_isocenter
    if turning.parallel:
        half_width = radius
    elif radius < distance:
        half_width = turning.source_to_detector * radius / math.sqrt(distance**2 - radius**2)
    else:
        raise ValueError(
            f"the source, {distance:g} mm from the isocenter, would run through the volume, whose corners are up to "
            f"{radius:g} mm from the axis: raise source_to_isocenter, or crop the volume."
        )
    half = np.array(detector_shape) / 2
    return min(
        2 * half_width / detector_shape[0], *(_distance(face, half) for face in _end_faces(turning, isocenter, corners))
    )


def _end_faces(turning: Orbit, isocenter: Vectors, corners: Vectors) -> list[Vectors]:
    """The end faces as seen on the detector in every view: corners in order around the face, (4, 2), in mm."""
    edges = corners[1, 1, 1] - np.stack([corners[0, 1, 1], corners[1, 0, 1], corners[1, 1, 0]])
    lengths = np.linalg.norm(edges, axis=1)
    along = int(np.argmax(np.abs(edges @ turning.axis) / np.maximum(lengths, 1e-9)))
    ordered = np.moveaxis(corners, along, 0)[:, [0, 0, 1, 1], [0, 1, 1, 0]]
    views = range(len(turning.angles))
    return [turning.on_detector(face, isocenter, view)[:, :2] for face in ordered for view in views]


def _distance(polygon: Vectors, half: Vectors) -> float:
    """Smallest factor by which a rectangle of half sides `half` has to be scaled to touch a polygon, (P, 2)."""
    start = polygon / half
    step = np.roll(start, -1, axis=0) - start
    # Along an edge max(|u|, |v|) is convex and piecewise linear: its minimum is at an end or where two pieces meet.
    pieces = [(start @ mix, step @ mix) for mix in np.array([[1, 0], [0, 1], [1, -1], [1, 1]])]
    with np.errstate(divide="ignore", invalid="ignore"):
        meeting = [np.nan_to_num(-value / slope) for value, slope in pieces]
    fractions = np.clip(np.stack([*meeting, np.zeros(len(start))]), 0, 1)
    return float(np.abs(start + fractions[..., None] * step).max(axis=-1).min())

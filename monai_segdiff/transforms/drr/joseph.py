"""Line integrals through a volume: Joseph's method, slab by slab."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from monai_segdiff.transforms.drr.geometry import Geometry

__all__ = ["line_integrals"]

# Samples at once: their coordinates stay in the cache of a CPU, and a GPU is kept busy.
_SAMPLES = {"cpu": 2**19, "cuda": 2**25}


def line_integrals(values: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry) -> torch.Tensor:
    """Integrate volumes along the rays from the source to every pixel.

    Joseph 1982 (doi:10.1109/TMI.1982.4307572): a ray is sampled where it crosses the planes of voxel centers
    perpendicular to the axis of the grid along which it runs fastest, with bilinear interpolation in the plane; the
    sum is weighted with the length between two planes. Beyond the outermost voxel centers values fall to 0 within one
    voxel.

    Args:
        values: volumes on one grid, (C, X, Y, Z), float32.
        affine: voxel index to RAS in mm, (4, 4).
        geometry: source and detector.

    Returns:
        Value times mm, (C, views, U, V), float32, on the device of the values.
    """
    views, pixels = len(geometry.orbit.angles), geometry.detector_shape
    out = values.new_zeros((len(values), views, pixels[0] * pixels[1]))
    values, first = _occupied(values)
    if values.numel() == 0:
        return out.reshape(len(values), views, *pixels)
    slabs = _Slabs(values)
    for view, (origin, step) in enumerate(_rays(geometry, affine, values.device)):
        origin = origin - first.to(origin)
        length = torch.linalg.vector_norm(step @ _linear(affine, step).T, dim=-1)
        fastest = step.abs().argmax(dim=-1)
        for axis in range(3):
            chosen = (fastest == axis).nonzero()[:, 0]
            if len(chosen) == 0:
                continue
            rays = origin.expand_as(step)[chosen], step[chosen]
            sums = slabs.sum_along(*rays, axis)
            out[:, view, chosen] = sums * (length[chosen] / step[chosen, axis].abs()).to(sums)
    return out.reshape(len(values), views, *pixels)


class _Slabs:
    """Planes of voxels perpendicular to each of the three axes."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self._last: torch.Tensor | None = None

    def perpendicular_to(self, axis: int) -> torch.Tensor:
        """The planes, (planes, C, rows, columns)."""
        if axis < 2:
            return self.values.movedim(axis + 1, 0)
        if self._last is None:  # the neighbors of a plane along the last axis lie too far apart in memory to be sampled
            self._last = self.values.movedim(3, 0).contiguous()
        return self._last

    def sum_along(self, origin: torch.Tensor, step: torch.Tensor, axis: int) -> torch.Tensor:
        """Sum of samples at the planes; origins and steps in voxels, (R, 3); returns (C, R)."""
        planes = self.perpendicular_to(axis)
        others = [other for other in range(3) if other != axis]
        size = torch.tensor(planes.shape[2:]).to(origin)
        slope = step[:, others] / step[:, axis, None]
        middle = (len(planes) - 1) / 2
        # In float32 from the middle plane on, as the source is far from the grid.
        at_middle = origin[:, others] + (middle - origin[:, axis, None]) * slope
        enters, leaves = _crossing(at_middle, slope, size)
        # As grid_sample has it: -1 and 1 at the outer edges of the outer pixels, the last axis first.
        at_middle = ((2 * at_middle + 1) / size - 1).flip(-1).float()
        slope = (2 * slope / size).flip(-1).float()
        sums = planes.new_zeros((planes.shape[1], len(origin)))
        count = max(1, _SAMPLES.get(planes.device.type, 2**19) // len(origin))
        offsets = torch.arange(len(planes), device=planes.device, dtype=torch.float32) - middle
        for begin in range(0, len(planes), count):
            chunk = offsets[begin : begin + count]
            hit = ((enters <= chunk[-1]) & (leaves >= chunk[0])).nonzero()
            if len(hit) == 0:
                continue
            part = slice(int(hit[0]), int(hit[-1]) + 1)
            where = torch.addcmul(at_middle[part], chunk[:, None, None], slope[part])[:, None]
            sampled = F.grid_sample(planes[begin : begin + count], where, align_corners=False)
            sums[:, part] += sampled[:, :, 0].sum(dim=0)
        return sums


def _rays(
    geometry: Geometry, affine: NDArray[np.float64], device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A point on every ray and the ray's step, in voxels and float64, ([U * V], 3), for each view."""
    inverse = np.linalg.inv(affine)
    orbit, (spacing_u, spacing_v) = geometry.orbit, geometry.detector_spacing

    def to_device(array: NDArray[np.float64]) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float64, device=device)

    axes = [torch.arange(n, dtype=torch.float64, device=device) - (n - 1) / 2 for n in geometry.detector_shape]
    for view, source in enumerate(geometry.sources):
        u_step = to_device(inverse[:3, :3] @ orbit.u_axes[view] * spacing_u)
        v_step = to_device(inverse[:3, :3] @ orbit.axis * spacing_v)
        center = to_device(inverse[:3, :3] @ geometry.detector_centers[view] + inverse[:3, 3])
        pixels = (center + axes[0][:, None, None] * u_step + axes[1][:, None] * v_step).reshape(-1, 3)
        if orbit.parallel:
            yield pixels, to_device(inverse[:3, :3] @ orbit.directions[view]).expand_as(pixels)
        else:
            start = to_device(inverse[:3, :3] @ source + inverse[:3, 3])
            yield start, pixels - start


def _linear(affine: NDArray[np.float64], like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(affine[:3, :3], dtype=like.dtype, device=like.device)


def _crossing(at_middle: torch.Tensor, slope: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last plane, counted from the middle one, between which a ray is within a voxel of the planes' area."""
    slope = torch.where(slope.abs() < 1e-9, 1e-9, slope)
    bounds = torch.stack([(-1 - at_middle) / slope, (size - at_middle) / slope])
    return bounds.amin(dim=0).amax(dim=-1), bounds.amax(dim=0).amin(dim=-1)


def _occupied(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of the volumes outside of which all is 0, and the index of its first voxel."""
    filled = (values != 0).any(dim=0)
    across = filled.any(dim=2)
    lines = (across.any(dim=1), across.any(dim=0), filled.any(dim=0).any(dim=0))
    found = [line.nonzero()[:, 0].tolist() or [0, -1] for line in lines]
    first, last = [ends[0] for ends in found], [ends[-1] for ends in found]
    part = (slice(None), *(slice(a, b + 1) for a, b in zip(first, last, strict=True)))
    return values[part], torch.tensor(first)

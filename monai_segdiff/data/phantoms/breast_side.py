"""One breast of a phantom: its surface, the fibroglandular tissue in it, and the vessels around that."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from monai_segdiff.data.shapes import Field, WaveField, capsule, superellipsoid

__all__ = ["BreastSide"]

# Shells, as shares of the breast's radii. Vessels and glandular tissue never touch: where a vessel is removed from the
# label map, the tissue around it is that of the breast.
_VESSEL_SHELL = (0.74, 0.78)
_GLAND_SHELL = 0.58


class BreastSide:
    """One breast, hanging to anterior from a center on the chest wall.

    Args:
        rng: source of what differs between the two sides.
        side: 1 for the patient's right, -1 for the left.
        center: middle of its base, (x, y, z) in mm.
        radii: half its width, its depth and half its height in mm.
        taper: how much narrower it is at the nipple than at the chest wall, as a share.
        density: 0 (almost all fat) to 1 (extremely dense).
    """

    def __init__(
        self,
        rng: np.random.Generator,
        side: int,
        center: Sequence[float],
        radii: Sequence[float],
        taper: float,
        density: float,
    ) -> None:
        self._side, self._center, self._radii, self._taper = side, np.array(center), np.array(radii), taper
        self._density = density
        self._strands, self._lobules = WaveField(rng, (45, 100), 10), WaveField(rng, (20, 42), 12)
        self._vessels = self._grow_vessels(rng)

    def surface(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the skin in mm."""
        return superellipsoid((self._straight(x, y), y, z), self._center, self._radii)

    def gland(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to fibroglandular tissue: strands and lobules, the more the denser, inside its shell."""
        share = _GLAND_SHELL * (0.85 + 0.15 * self._density)
        region = superellipsoid((self._straight(x, y), y, z), self._center, share * self._radii)
        # Sheets where a random field is near zero branch and join as septa do; lobules sit on them.
        pattern = 0.75 - 1.1 * np.abs(self._strands(x, y, z)) + 0.45 * self._lobules(x, y, z)
        threshold = 0.4 - 2.1 * self._density
        return np.maximum(region, np.float32(14) * (np.float32(threshold) - pattern))

    def vessels(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the vessels in mm."""
        distance = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), np.inf, dtype=np.float32)
        for points, radius in self._vessels:
            for start, end in pairwise(points):
                levels = (min(start[2], end[2]) - 4 * radius, max(start[2], end[2]) + 4 * radius)
                if z.max() > levels[0] and z.min() < levels[1]:
                    np.minimum(distance, capsule((x, y, z), start, end, radius), out=distance)
        return distance

    def _straight(self, x: Field, y: Field) -> Field:
        """Coordinate x with the taper undone."""
        cx, cy = self._center[:2]
        depth = np.clip((y - cy) / self._radii[1], 0, 1)
        return np.asarray(cx + (x - cx) * (1 + self._taper * depth), dtype=np.float32)

    def _grow_vessels(self, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
        """A trunk that comes down from the armpit on the lateral side, and branches from it towards the sternum."""
        u = rng.uniform
        lateral = np.radians(u(45, 65))
        trunk = (np.full(12, lateral) + np.cumsum(rng.normal(0, 0.06, 12)), np.radians(np.linspace(60, -45, 12)))
        vessels = [(self._on_shell(rng, *trunk), u(6.7, 7.4))]
        count = rng.integers(2, 5)
        for index in range(count):
            level = -35 + 75 * (index + u(0.2, 0.8)) / count
            start = int(np.argmin(np.abs(trunk[1] - np.radians(level))))
            along = np.linspace(0, 1, 12)
            theta = trunk[0][start] - along * np.radians(u(65, 125))
            bend = np.radians(u(-22, 22)) * along + np.radians(u(4, 10)) * np.sin(along * u(4, 8))
            vessels.append((self._on_shell(rng, theta, trunk[1][start] + bend), u(6.2, 6.8)))
        return vessels

    def _on_shell(self, rng: np.random.Generator, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in mm, `theta` radians from anterior to lateral and `phi` radians up."""
        share = rng.uniform(*_VESSEL_SHELL)
        across, ahead, up = np.cos(phi) * np.sin(theta), np.cos(phi) * np.cos(theta), np.sin(phi)
        narrow = 1 + self._taper * np.clip(share * ahead, 0, 1)
        direction = np.stack([self._side * across / narrow, ahead, up], axis=1)
        return np.asarray(self._center + share * direction * self._radii)

"""Anatomy of one simulated chest as a frontal radiograph sees it: outlines in millimeters."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from monai_segdiff.data.shapes import Field, WaveField, capsule, rotate, smooth_union, superellipsoid

__all__ = ["ChestAnatomy"]

_FLOOR = 6.0  # mm that the heart reaches below the diaphragm beside it


class ChestAnatomy:
    """Outlines of lungs, heart, body and bones, projected along the beam.

    The frame is the patient's: x in mm to the patient's right from the midline, y upwards. What comes in pairs takes
    `side`, 1 for the right and -1 for the left. Distances are signed, in mm, negative inside.

    Args:
        rng: source of what differs between patients.

    Attributes:
        width: half the inner width of the thorax in mm.
        apex: highest point of the lungs, y in mm, right and left (as `side` 1 and -1).
        dome: highest point of the diaphragm, y in mm, by side.
        ratio: cardiothoracic ratio, the heart's width over that of the thorax.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        size = u(0.93, 1.05)
        self.width = float(size * u(122, 136))
        top, low = size * u(116, 128), size * u(78, 96)
        self.apex = {side: float(top + u(-3, 3)) for side in (1, -1)}
        self.dome = {1: float(-low), -1: float(-low - u(5, 12))}
        self._fall = (u(28, 42), u(8, 18))  # mm that the diaphragm falls to lateral and to medial
        self._lung = {s: (u(0.42, 0.44), u(2.3, 2.7), u(0.05, 0.09)) for s in (1, -1)}
        self._pedicle = u(22, 28)
        self._knob = (size * u(40, 54), u(9, 16))
        self._place_heart(rng)
        self._wall = (u(17, 27), u(215, 260), u(44, 54), u(50, 60))
        self.rib_spacing = (size * u(26, 30), size * u(31, 36))
        self._rib_phase = u(0, 1, 2)
        self._rib_course = (u(0.16, 0.26), u(0.5, 0.65))
        self._clavicle = (self.apex[1] - u(30, 40), u(16, 34), u(6, 14))
        self._vertebra = (u(15, 18), size * u(25, 29), u(0, 1))
        self.hilum = (self.width * u(0.27, 0.31), u(2, 14))
        self._vessels = {side: self._grow_vessels(rng, side) for side in (1, -1)}
        self._warps = [WaveField(rng, (110, 240), 4) for _ in range(2)]

    def _place_heart(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self.ratio = float(u(0.42, 0.54))
        width, right = self.ratio * self.width, u(0.34, 0.41)
        angle, slender = np.radians(u(28, 42)), u(0.74, 0.84)
        a = width / np.hypot(np.cos(angle), slender * np.sin(angle))
        height = a * np.hypot(np.sin(angle), slender * np.cos(angle))
        center = (2 * width * right - width, self.dome[-1] + 0.82 * height)
        self._heart = (center, (float(a), float(slender * a)), float(angle))

    def bend(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Positions after a smooth warp, which makes no two outlines alike."""
        flat = np.zeros(1, dtype=np.float32)
        return x + 2.5 * self._warps[0](x, y, flat), y + 2.5 * self._warps[1](x, y, flat)

    def diaphragm(self, x: Field, side: int) -> Field:
        """Height y in mm of the diaphragm."""
        u, c = side * x, 0.47 * self.width
        lateral = np.maximum(u - c, 0) / (self.width - c)
        medial = np.maximum(c - u, 0) / c
        fall = self._fall[0] * lateral**2 + self._fall[1] * medial**2
        return np.asarray(self.dome[side] - fall, dtype=np.float32)

    def borders(self, x: Field, y: Field, side: int) -> tuple[Field, Field, Field]:
        """Distances to the chest wall around one lung, to the diaphragm below it and to the mediastinum beside it."""
        center, exponent, lean = self._lung[side]
        u = side * x
        base = self.dome[side] - 10
        half = self.width * (1 + 0.01 * side)
        radii = ((1 - center) * half, self.apex[side] - base)
        wall = superellipsoid((u + lean * (y - base), y), (center * half, base), radii, exponent)
        below = (self.diaphragm(x, side) - y) * np.float32(0.9)
        inner = self._pedicle + 0.0006 * np.maximum(y - 60, 0) ** 2
        if side < 0:
            level, bulge = self._knob
            inner = inner + bulge * np.exp(-(((y - level) / 17) ** 2)) + 6 * np.exp(-(((y - level + 36) / 18) ** 2))
        return wall, below, np.asarray(inner - u, dtype=np.float32)

    def lung(self, x: Field, y: Field, side: int) -> Field:
        """Distance to one lung as far as the heart does not cover it."""
        wall, below, beside = self.borders(x, y, side)
        return np.maximum(np.maximum(np.maximum(wall, below), beside), -self.heart(x, y))

    def heart(self, x: Field, y: Field) -> Field:
        """Distance to the heart, an egg whose axis points down to the left, on the diaphragm."""
        center, radii, angle = self._heart
        hx, hy = rotate(x, y, center, angle)
        # Broader towards the apex.
        swell = 1 + 0.12 * np.clip((center[0] - hx) / radii[0], -1, 1)
        egg = superellipsoid((hx, center[1] + (hy - center[1]) / swell), center, radii, 2.15)
        floor = np.minimum(self.diaphragm(x, 1), self.diaphragm(x, -1)) - _FLOOR
        return np.maximum(egg, floor - y)

    def body(self, x: Field, y: Field) -> Field:
        """Distance to the skin: trunk, shoulders and neck."""
        wall, reach, shoulder, neck = self._wall
        trunk = superellipsoid((x, y), (0, -60), (self.width + wall, reach), 3.6)
        shoulders = superellipsoid((x, y), (0, self.apex[1] - 28), (1.7 * self.width, shoulder), 2.4)
        column = superellipsoid((x, y), (0, self.apex[1] + 60), (neck, 90), 4.0)
        return smooth_union(smooth_union(trunk, shoulders, 30), column, 50)

    def ribs(self, x: Field, y: Field, side: int) -> tuple[Field, Field]:
        """Distances to the posterior ribs, which fall to lateral, and to the anterior ones, which fall to medial."""
        u = side * x
        wall = self.borders(x, y, side)[0]
        behind, ahead = self._rib_course
        # Posterior: a flat arch that bends down near the wall. Anterior: steep, and cartilage ends them before midline.
        arch = y + behind * u + 0.0022 * np.maximum(u - 55, 0) ** 2
        posterior = _bands(arch, self.rib_spacing[0], self._rib_phase[0], 4.8) / np.hypot(1, behind)
        rise = y - ahead * u + 0.0016 * np.maximum(u - 60, 0) ** 2
        anterior = _bands(rise, self.rib_spacing[1], self._rib_phase[1], 5.5) / np.hypot(1, ahead)
        frame = np.maximum(wall - 4, 14 - u)
        lower = np.maximum(0.5 * self.width - u, y - 60)
        return np.maximum(posterior, frame), np.maximum(np.maximum(anterior, wall - 4), lower)

    def spine(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Distances to the vertebral bodies, and to the spinous processes in their middle."""
        half, period, phase = self._vertebra
        discs = _bands(y, period, phase, period / 2 - 2.5)
        processes = np.maximum(_bands(y, period, phase, 7), np.abs(x) - 3.5)
        return np.maximum(np.abs(x) - half, discs), processes

    def clavicle(self, x: Field, y: Field, side: int) -> Field:
        """Distance to one clavicle, from beside the midline up to the shoulder."""
        level, rise, bend = self._clavicle
        points = [(17.0, level), (0.42 * self.width, level + 0.5 * rise - bend), (1.12 * self.width, level + rise)]
        u = np.asarray(side * x, dtype=np.float32)
        return np.minimum(*(capsule((u, y), a, b, 6.0) for a, b in pairwise(points)))

    def scapula(self, x: Field, y: Field, side: int) -> Field:
        """Distance to the shoulder blade's edge beside the upper lung."""
        u = np.asarray(side * x, dtype=np.float32)
        start = (1.12 * self.width, self._clavicle[0] + 8)
        return capsule((u, y), start, (0.97 * self.width, self._clavicle[0] - 95), 9.0)

    def trachea(self, x: Field, y: Field) -> Field:
        """Distance to the windpipe and the two main bronchi."""
        carina = (0.0, self._knob[0] - 10)
        parts = [capsule((x, y), (0, 300), carina, 8.0)]
        parts += [capsule((x, y), carina, (s * 24.0, carina[1] - drop), 5.5) for s, drop in ((1, 24), (-1, 18))]
        return np.minimum(np.minimum(parts[0], parts[1]), parts[2])

    def vessels(self, x: Field, y: Field, side: int) -> Field:
        """Thickness in cm of the pulmonary vessels, thin to the periphery."""
        u = np.asarray(side * x, dtype=np.float32)
        hx, hy = self.hilum
        thickness = 2.6 * np.exp(-(((u - hx) / 13) ** 2 + ((y - hy - 6 * (side < 0)) / 24) ** 2))
        for points, radius in self._vessels[side]:
            for index, (start, end) in enumerate(pairwise(points)):
                taper = radius * (1 - 0.22 * index)
                depth = -capsule((u, y), start, end, taper)
                thickness = np.maximum(thickness, 0.3 * np.clip(depth + 1.5, 0, taper))
        return np.asarray(thickness, dtype=np.float32)

    def _grow_vessels(self, rng: np.random.Generator, side: int) -> list[tuple[np.ndarray, float]]:
        """Branches from the hilum, as points (4, 2) and the radius at their root in mm."""
        hx, hy = self.hilum
        branches = []
        for angle in np.radians(np.linspace(-75, 78, 8) + rng.uniform(-8, 8, 8)):
            length = rng.uniform(20, 27)
            turns = angle + np.cumsum([0, *rng.normal(0, 0.22, 2)])
            steps = np.stack([np.cos(turns), np.sin(turns) * 1.25], axis=1) * length
            start = np.array([hx, hy + 6 * (side < 0)])
            branches.append((np.vstack([start, start + np.cumsum(steps, axis=0)]), float(rng.uniform(3.6, 5.0))))
        return branches


def _bands(level: Field, period: float, phase: float, half: float) -> Field:
    """Distance to bands of a half width, one a period."""
    offset = np.mod(level / period + phase, 1) - 0.5
    return np.asarray(np.abs(offset) * period - half, dtype=np.float32)

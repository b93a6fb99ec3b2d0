"""A population of breast MRI phantoms: random anatomy from a seed, rendered at any size as image and label map."""

from __future__ import annotations

import numpy as np

from monai_segdiff.data.phantoms.axial import AxialPhantom, Labels, Paint
from monai_segdiff.data.phantoms.breast_side import BreastSide
from monai_segdiff.data.shapes import Field, WaveField, coverage, smooth_union, superellipsoid

__all__ = ["BREAST_PHANTOM_CLASSES", "BREAST_PHANTOM_PARENTS", "BREAST_PHANTOM_RANGE", "BreastPhantom"]

BREAST_PHANTOM_CLASSES = {"breast": 1, "fgt": 2, "vessel": 3}
BREAST_PHANTOM_PARENTS = {"fgt": "breast", "vessel": "breast"}
BREAST_PHANTOM_RANGE = (0.0, 1.0)

_MARGIN = 12.0  # mm of air around the breasts
_SKIN = 2.5  # mm


class BreastPhantom(AxialPhantom):
    """Chest of one simulated patient in a fat-suppressed T1-weighted MRI with contrast agent, prone.

    Two breasts hang to anterior from the chest wall. Their fat is dark, as it is suppressed; fibroglandular tissue
    (`fgt`) is bright and lies in strands and lobules, from almost none to dense; vessels are the brightest. Breast is
    everything in front of the muscle that belongs to no other class: skin, fat. Label ids are those of
    `BREAST_PHANTOM_CLASSES`; both other classes lie inside the breast and do not touch each other. The coil shades the
    image, and noise is Rician with a standard deviation of 1% to 2% of the range.

    The image has no unit, as in MRI; it is scaled so that nearly all of it lies in 0..1, which is what
    `prepare --percentiles` makes of a scan. Vessels are about four times as wide as real ones, 12 to 15 mm, so that a
    slice of 48x48 pixels still shows them.

    Args:
        seed: patient number; the same seed gives the same patient, at any resolution.

    Attributes:
        density: 0 (almost all fat) to 1 (extremely dense).
        extent: side of the square field of view in mm.
        z_range: lowest and highest position in mm for slices that show most classes at once.
        volume_range: lowest and highest position in mm of a volume that holds the breasts whole.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)
        rng = np.random.default_rng([self.seed, 3])
        u = rng.uniform
        self._thorax = (u(160, 172), u(98, 110))
        self._subcutaneous = u(6, 10)
        self.density = float(u(0, 1))
        radii, gap, taper = np.array([u(58, 66), u(80, 104), u(66, 82)]), u(3, 8), u(0.1, 0.35)
        self._breasts = []
        for side in (1, -1):
            own = radii * u(0.96, 1.04, 3)
            x = gap + own[0]
            density = float(np.clip(self.density + u(-0.08, 0.08), 0, 1))
            self._breasts.append(BreastSide(rng, side, (side * x, self._wall(x), u(-4, 4)), own, taper, density))
        self.extent = float(2 * (gap + 1.04 * radii[0]) + 2 * 1.04 * radii[0] + 2 * _MARGIN)
        self.front = float(self._wall(gap + radii[0]) + 1.04 * radii[1] + _MARGIN)
        self._intensity = {
            "air": 0.0, "skin": u(0.42, 0.5), "fat": u(0.2, 0.27), "fgt": u(0.5, 0.58), "vessel": u(0.84, 0.92),
            "muscle": u(0.36, 0.42), "lung": u(0.04, 0.07), "heart": u(0.5, 0.6), "rib": u(0.14, 0.2),
        }  # fmt: skip
        self._noise = u(0.01, 0.02)
        self._rib_phase = u(0, 2 * np.pi)
        self._fine, self._coarse = WaveField(rng, (12, 30), 14), WaveField(rng, (40, 90), 10)
        self._shading, self._shading_depth = WaveField(rng, (250, 500), 4), (u(0.05, 0.1), u(0.1, 0.25))
        height = float(radii[2])
        self.z_range = (-0.54 * height, 0.54 * height)
        self.volume_range = (-1.1 * height, 1.1 * height)

    def _wall(self, x: float) -> float:
        """Position y in mm of the chest wall at x."""
        a, b = self._thorax
        return float(b * (np.sqrt(1 - (x / a) ** 2) - 1))

    def _draw(self, x: Field, y: Field, z: Field, width: float, noise: np.random.Generator) -> tuple[Field, Labels]:
        """Tissue times the coil's sensitivity; the magnitude of a complex signal with Gaussian noise in both parts."""
        tissue, labels = self._compose(x, y, z, width)
        waves, depth = self._shading_depth
        # The coil lies around the breasts: the signal falls from there to the back.
        shading = waves * self._shading(x, y, z) - depth * (self.front - y) / self.extent
        signal = tissue * (1 + depth / 2 + shading)
        real, imaginary = self._noise * noise.standard_normal((2, *signal.shape), dtype=np.float32)
        return np.hypot(signal + real, imaginary), labels

    def _compose(self, x: Field, y: Field, z: Field, width: float) -> tuple[Field, Labels]:
        """Paint tissue over tissue; `width` in mm is how far a voxel smears an edge."""
        value_of = self._intensity
        fine, coarse = self._fine(x, y, z), self._coarse(x, y, z)
        image = np.full(fine.shape, value_of["air"], dtype=np.float32)
        labels: Labels = np.zeros(fine.shape, dtype=np.uint8)

        def paint(distance: Field, value: Field | float, label: str | None = None) -> None:
            share = coverage(distance, width)
            image[...] += share * (value - image)
            if label is not None:
                labels[np.broadcast_to(distance < 0, labels.shape)] = BREAST_PHANTOM_CLASSES[label]

        # Extruded along z: the thorax is far longer than the field of view.
        a, b = self._thorax
        muscle = superellipsoid((x, y), (0, -b), (a, b))
        breast = np.minimum(*(side.surface(x, y, z) for side in self._breasts))
        body = smooth_union(breast, muscle - self._subcutaneous, 16.0)
        paint(body, value_of["skin"])
        paint(body + _SKIN, value_of["fat"] + 0.02 * fine + 0.015 * coarse)
        in_front = np.maximum(breast, -muscle)
        labels[in_front < 0] = BREAST_PHANTOM_CLASSES["breast"]
        inside = np.maximum(breast, -muscle) + 4
        for side in self._breasts:
            paint(np.maximum(side.gland(x, y, z), inside), value_of["fgt"] + 0.04 * fine + 0.03 * coarse, "fgt")
            paint(np.maximum(side.vessels(x, y, z), inside), value_of["vessel"], "vessel")
        self._paint_thorax(paint, x, y, z, muscle, fine)
        return image, labels

    def _paint_thorax(self, paint: Paint, x: Field, y: Field, z: Field, muscle: Field, fine: Field) -> None:
        """Chest wall with ribs, lungs, heart on the left."""
        value_of = self._intensity
        paint(muscle, value_of["muscle"] + 0.02 * fine)
        angle = np.arctan2(x, y + 2 * self._thorax[1])
        pattern = np.cos(z * (2 * np.pi / 34) + 6 * np.abs(angle) + self._rib_phase)
        paint(np.maximum(np.abs(muscle + 16) - 4.5, 9 * (0.3 - pattern)), value_of["rib"])
        lungs = np.maximum(muscle + 24, 20 - np.abs(x + 12))
        paint(lungs, value_of["lung"] + 0.01 * fine)
        heart = superellipsoid((x, y, z), (-24, -78, 0), (46, 42, 70))
        paint(np.maximum(heart, muscle + 26), value_of["heart"] + 0.02 * fine)

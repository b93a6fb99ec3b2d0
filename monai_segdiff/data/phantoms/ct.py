"""A population of abdominal CT phantoms: random anatomy from a seed, rendered at any size as HU and label map."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from monai_segdiff.data.phantoms.axial import AxialPhantom, Labels, Paint
from monai_segdiff.data.shapes import Field, WaveField, coverage, rotate, smooth_union, superellipsoid

__all__ = ["CT_PHANTOM_CLASSES", "CT_PHANTOM_RANGE", "CTPhantom"]

CT_PHANTOM_CLASSES = {"body": 1, "lungs": 2, "liver": 3, "spleen": 4, "kidneys": 5, "spine": 6}
CT_PHANTOM_RANGE = (-200.0, 300.0)

_AIR = -1000.0
_WALL = 13.0  # mm of muscle around the abdominal cavity
_DIAPHRAGM = 4.0  # mm between lung and the organ below it


class CTPhantom(AxialPhantom):
    """Abdomen of one simulated patient in a contrast-enhanced CT.

    Every organ is an analytic shape in millimeters, x to the patient's right, y to anterior, z to superior (0 at the
    middle of the left kidney), bent by a smooth random warp. Label ids are those of `CT_PHANTOM_CLASSES`. Body is
    everything inside the skin that belongs to no other class: fat, muscle, bowel, aorta, ribs, spinal canal. Image and
    label map come from the same surfaces; the image is in HU.

    Args:
        seed: patient number; the same seed gives the same patient, at any resolution.

    Attributes:
        extent: side of the square field of view in mm.
        z_range: lowest and highest position in mm for slices that show most classes at once.
        volume_range: lowest and highest position in mm of a volume that holds the kidneys whole.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)
        rng = np.random.default_rng([self.seed, 0])
        u = rng.uniform
        size = u(0.92, 1.08)
        self._body = (size * u(158, 182), size * u(122, 144))
        self._body_exponent = u(2.2, 2.7)
        self.extent = float(2 * self._body[0] * u(1.05, 1.13))
        self.front = self.extent / 2
        self._fat = (u(9, 22), u(8, 18))  # laterally, front and back
        a, b = self._body[0] - self._fat[0], self._body[1] - self._fat[1]
        self._cavity = (a - _WALL, b - _WALL)
        # Levels along z: kidneys about 0, spleen and liver above, lungs down to the posterior recess.
        recess = u(36, 46)
        self._domes = ((0.46 * a, u(84, 98)), (-0.46 * a, u(76, 90)))
        self._recess = recess
        self._dome_shape = (0.5 * a, 0.92 * b, u(-0.02, 0.08) * b)
        self._right_lobe = ((0.44 * a, u(-0.02, 0.06) * b, u(22, 32)), (0.46 * a, u(0.62, 0.7) * b, u(82, 96)))
        self._left_lobe = ((u(0.0, 0.1) * a, u(0.44, 0.52) * b, u(45, 60)), (u(0.36, 0.48) * a, 0.33 * b, u(42, 56)))
        self._lobe_angle = u(-0.25, 0.0)
        self._spleen = ((-u(0.64, 0.7) * a, -u(0.22, 0.36) * b, u(33, 41)), (u(25, 33), u(46, 58), u(56, 64)))
        self._spleen_angle = u(-0.5, -0.2)
        self._kidneys = []
        for side, level in ((1, -u(8, 18)), (-1, 0.0)):
            center = (side * u(0.38, 0.43) * a, -u(0.38, 0.46) * b, level)
            radii = (u(25, 30), u(28, 34), u(52, 60))
            self._kidneys.append((center, radii, side * u(0.35, 0.75), side))
        self._spine = (u(-3, 3), -u(0.42, 0.47) * b)
        self._vertebra = (u(23, 27), u(18.5, 22))
        self._aorta = (-u(8, 16), u(9, 12))
        self._stomach = (
            (-u(0.42, 0.5) * a, u(0.28, 0.4) * b, u(25, 45)),
            (u(0.26, 0.34) * a, u(0.26, 0.34) * b, u(40, 60)),
        )
        self._rib_phase = u(0, 2 * np.pi, size=2)
        self._hu = {
            "fat": u(-112, -92), "muscle": u(48, 64), "bowel": u(20, 45), "stomach": u(5, 25), "aorta": u(165, 195),
            "lungs": u(-860, -780), "liver": u(98, 120), "spleen": u(142, 162), "kidneys": u(200, 225),
            "spine": u(275, 310), "canal": u(25, 40), "rib": u(170, 230),
        }  # fmt: skip
        self._noise = u(6.0, 8.5)
        self._warps = [WaveField(rng, (110, 260), 4) for _ in range(3)]
        self._fine, self._coarse = WaveField(rng, (12, 30), 14), WaveField(rng, (40, 90), 10)
        low = self._spleen[0][2] - self._spleen[1][2] + 12
        # Lungs then reach into about 40% of the range, and kidneys and spleen share well over half of it.
        self.z_range = (float(low), float(low + (recess - low) / 0.6))
        self.volume_range = (float(min(k[0][2] - k[1][2] for k in self._kidneys) - 6), self.z_range[1] + 6)

    def _draw(self, x: Field, y: Field, z: Field, width: float, noise: np.random.Generator) -> tuple[Field, Labels]:
        """In HU; quantum noise, part of it smooth as after reconstruction."""
        hu, labels = self._compose(x, y, z, width)
        grain = noise.standard_normal(hu.shape, dtype=np.float32)
        hu += self._noise * (0.8 * grain + 1.4 * gaussian_filter(grain, (0.7, 0.7, 0.0), truncate=2.5))
        return np.maximum(hu, -1024), labels

    def _compose(self, x0: Field, y0: Field, z0: Field, width: float) -> tuple[Field, Labels]:
        """Paint tissue over tissue in HU; `width` in mm is how far a voxel smears an edge."""
        hu_of = self._hu
        x, y, z = (axis + 5.0 * warp(x0, y0, z0) for axis, warp in zip((x0, y0, z0), self._warps, strict=True))
        fine, coarse = self._fine(x0, y0, z0), self._coarse(x0, y0, z0)
        hu = np.full(x.shape, _AIR, dtype=np.float32)
        labels: Labels = np.zeros(x.shape, dtype=np.uint8)

        def paint(distance: Field, value: Field | float, label: str | None = None) -> None:
            share = coverage(distance, width)
            hu[...] += share * (value - hu)
            if label is not None:
                labels[distance < 0] = CT_PHANTOM_CLASSES[label]

        body = superellipsoid((x, y), (0, 0), self._body, self._body_exponent)
        inner_radii = [r - f for r, f in zip(self._body, self._fat, strict=True)]
        muscle = superellipsoid((x, y), (0, 0), inner_radii, self._body_exponent)
        cavity = superellipsoid((x, y), (0, 0), self._cavity, self._body_exponent)
        paint(body, hu_of["muscle"] - 30, "body")
        paint(body + 2.5, hu_of["fat"] + 6 * fine)
        paint(muscle, hu_of["muscle"] + 8 * fine)
        self._paint_ribs(paint, x, y, z, muscle)
        # Mesenteric fat with bowel loops in it: a smooth step over a random field.
        loops = np.clip(0.5 + 2.2 * (coarse + 0.5 * fine - 0.1), 0, 1)
        paint(cavity, hu_of["fat"] + loops * (hu_of["bowel"] - hu_of["fat"]) + 5 * fine)
        self._paint_back(paint, x, y, fine)
        paint(np.maximum(superellipsoid((x, y, z), *self._stomach), cavity), hu_of["stomach"] + 5 * fine)

        lungs, below = self._diaphragm(x, y, z, cavity)
        paint(np.maximum(np.maximum(self._liver(x, y, z), below), cavity + 2), hu_of["liver"] + 5 * fine, "liver")
        sx, sy = rotate(x, y, self._spleen[0], self._spleen_angle)
        spleen = np.maximum(superellipsoid((sx, sy, z), *self._spleen, 2.2), np.maximum(below, cavity + 2))
        paint(spleen, hu_of["spleen"] + 5 * fine, "spleen")
        for center, radii, angle, side in self._kidneys:
            kx, ky = rotate(x, y, center, angle)
            hilum = (center[0] - side * 1.15 * radii[0], center[1], center[2])
            notch = superellipsoid((kx, ky, z), hilum, (0.75 * radii[0], 0.4 * radii[1], 0.5 * radii[2]))
            kidney = superellipsoid((kx, ky, z), center, radii, 2.2)
            capsule = np.maximum(kidney - 3.5, below)
            paint(capsule, hu_of["fat"])
            labels[capsule < 0] = CT_PHANTOM_CLASSES["body"]
            kidney = np.maximum(kidney, -notch)
            paint(np.maximum(kidney, below + 5), hu_of["kidneys"] + 8 * fine, "kidneys")
        vessels = np.clip(fine + 0.6 * coarse - 1.9, 0, 1) * 700
        paint(lungs, hu_of["lungs"] + vessels + 20 * fine, "lungs")
        self._paint_spine(paint, labels, x, y, z, fine)
        return hu, labels

    def _diaphragm(self, x: Field, y: Field, z: Field, cavity: Field) -> tuple[Field, Field]:
        """Signed distances to the lungs, and to the room that the diaphragm leaves below them."""
        rx, ry, cy = self._dome_shape
        height: Field | None = None
        for cx, dome in self._domes:
            radius = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
            sheet = dome - (dome - self._recess) * np.clip(radius, 0, 1.6)
            height = sheet if height is None else np.maximum(height, sheet)
        # The mediastinum: between the lungs, narrow behind and wide in front.
        gap = 34 + 0.16 * (y - cy) - np.abs(x)
        lungs = np.maximum(np.maximum((height - z) * 0.8, gap), cavity + 1)
        return lungs, (z - height) * 0.8 + _DIAPHRAGM

    def _liver(self, x: Field, y: Field, z: Field) -> Field:
        rx, ry = rotate(x, y, self._right_lobe[0], self._lobe_angle)
        right = superellipsoid((rx, ry, z), *self._right_lobe, 2.4)
        return smooth_union(right, superellipsoid((x, y, z), *self._left_lobe), 24.0)

    def _paint_ribs(self, paint: Paint, x: Field, y: Field, z: Field, muscle: Field) -> None:
        """Oblique ribs in the wall, above the costal margin."""
        angle = np.arctan2(x / self._body[0], -y / self._body[1])
        phase = np.where(angle > 0, *self._rib_phase)
        pattern = np.cos(9 * np.abs(angle) + z * (2 * np.pi / 34) + phase)
        costal_margin = 20 - 60 * (1 - np.abs(angle) / np.pi) - z
        rib = np.maximum(np.maximum(np.abs(muscle + 7) - 4.5, 11 * (0.62 - pattern)), costal_margin)
        paint(rib, self._hu["rib"])

    def _paint_back(self, paint: Paint, x: Field, y: Field, fine: Field) -> None:
        """Muscles beside the spine, and the aorta in front of it."""
        sx, sy = self._spine
        value = self._hu["muscle"] + 8 * fine
        for side in (-1, 1):
            paint(superellipsoid((x, y), (sx + side * 36, sy - 30), (30, 24), 2.4), value)
            paint(superellipsoid((x, y), (sx + side * 34, sy + 2), (15, 18)), value)
        offset, radius = self._aorta
        center = (sx + offset, sy + self._vertebra[1] + radius + 3)
        paint(superellipsoid((x, y), center, (radius, radius)), self._hu["aorta"])

    def _paint_spine(self, paint: Paint, labels: Labels, x: Field, y: Field, z: Field, fine: Field) -> None:
        """Vertebral body, arch and processes around the canal, which stays body."""
        sx, sy = self._spine
        rx, ry = self._vertebra
        arch_y = sy - ry - 8
        waist = 1 + 0.05 * np.cos(2 * np.pi * z / 33)
        vertebra = superellipsoid((x, y), (sx, sy), (rx, ry), 2.5) - rx * (waist - 1)
        arch = superellipsoid((x, y), (sx, arch_y), (22, 18))
        spinous = superellipsoid((x, y), (sx, arch_y - 22), (7, 20))
        transverse = superellipsoid((x, y), (sx, arch_y - 1), (36, 7))
        bone = smooth_union(np.minimum(arch, np.minimum(spinous, transverse)), vertebra, 6.0)
        canal = superellipsoid((x, y), (sx, arch_y), (11, 9.5))
        paint(np.maximum(bone, -canal), self._hu["spine"] + 90 * np.clip(1 + bone / 4, 0, 1) + 12 * fine, "spine")
        paint(canal, self._hu["canal"])
        labels[canal < 0] = CT_PHANTOM_CLASSES["body"]

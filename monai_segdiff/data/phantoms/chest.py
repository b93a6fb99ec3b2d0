"""A population of chest X-ray phantoms: random anatomy from a seed, with findings in known places or without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from monai_segdiff.data.phantoms.chest_anatomy import ChestAnatomy
from monai_segdiff.data.phantoms.chest_findings import CHEST_PHANTOM_FINDINGS, ChestFinding
from monai_segdiff.data.shapes import Field, WaveField, coverage, rotate, superellipsoid

__all__ = ["CHEST_PHANTOM_CLASSES", "CHEST_PHANTOM_RANGE", "ChestPhantom"]

CHEST_PHANTOM_CLASSES = {"lung_right": 1, "lung_left": 2, "heart": 3}
CHEST_PHANTOM_RANGE = (0.0, 1.0)

_BLUR = np.array([0.1, 0.8, 0.1])  # of the detector, in pixels


class ChestPhantom:
    """Frontal chest radiograph of one simulated adult.

    The image is what a film makes of the attenuation along the beam, the sum over tissues of thickness times
    attenuation: a chest wall, lungs that are less tissue, heart and mediastinum, windpipe, vessels, ribs, spine,
    clavicles, shoulder blades, abdomen below the diaphragm. It has no unit and lies in about 0..1, what is dense being
    bright, as `prepare --percentiles` leaves radiographs. Noise has a standard deviation of 1% to 2% of the range, is
    slightly blurred by the detector, and depends on the seed and the number of pixels only: the same patient with and
    without a finding differs where the finding is and nowhere else.

    Label ids are those of `CHEST_PHANTOM_CLASSES`; the lungs are what the heart and the mediastinum leave of them, and
    a finding does not change them. Images lie as `prepare` lays radiographs: the first axis runs to the patient's
    right, the second upwards.

    Args:
        seed: patient number; the same seed gives the same patient, at any resolution.
        healthy: share of the patients, 0..1, in whom nothing is found.

    Attributes:
        findings: what is found in the patient: nothing, one of `CHEST_PHANTOM_FINDINGS`, or two.
        extent: side of the square field of view in mm.
        cardiothoracic_ratio: width of the heart over that of the thorax.
    """

    def __init__(self, seed: int, healthy: float = 0.5) -> None:
        if not 0 <= healthy <= 1:
            raise ValueError(f"healthy must be a share of 0..1, got {healthy}")
        self.seed = int(seed)
        rng = np.random.default_rng([self.seed, 4])
        u = rng.uniform
        self._anatomy = anatomy = ChestAnatomy(rng)
        self.cardiothoracic_ratio = anatomy.ratio
        self.extent = float(np.clip(2 * (anatomy.width + u(34, 44)), 320, 360))
        middle = (anatomy.apex[1] + anatomy.dome[1] - 30) / 2
        self._place = (u(-7, 7), middle + u(-8, 8), np.radians(u(-3, 3)))
        # Attenuation per cm and thickness in cm, at the mean energy of a chest radiograph.
        self._tissue, self._air, self._bone = 0.2, u(0.045, 0.06), 0.27
        self._depth, self._lung_depth = u(19.5, 22.5), u(13.0, 15.0)
        self._film = (u(2.5, 2.8), u(0.68, 0.82))
        self._noise = u(0.01, 0.02)
        self._breast = (u(0, 1.1) * (u() < 0.5), u(0.5, 0.58), u(30, 40))
        self._bubble = (u() < 0.7, u(0.3, 0.5), (u(16, 30), u(9, 15)))
        self._texture = WaveField(rng, (14, 40), 14)
        ill = np.random.default_rng([self.seed, 5])
        number = 0 if ill.uniform() < healthy else 1 + int(ill.uniform() < 0.2)
        chosen = ill.permutation(len(CHEST_PHANTOM_FINDINGS))[:number]
        self.findings = tuple(CHEST_PHANTOM_FINDINGS[i] for i in sorted(chosen))

    def place(self, name: str, draw: int = 0) -> ChestFinding:
        """A finding at a plausible place in this patient.

        Args:
            name: one of `CHEST_PHANTOM_FINDINGS`.
            draw: 0 for the place that `render` uses by default; other numbers for others.

        Returns:
            The finding, whose center is in mm in the patient's frame.

        Raises:
            ValueError: for an unknown finding.
        """
        key = [self.seed, 6, draw, *name.encode()]
        return ChestFinding(self._anatomy, name, np.random.default_rng(key))

    def affine(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """RAS affine in mm, shape (4, 4), of what `render` returns; the image's middle is 0."""
        spacing = [self.extent / shape[0], self.extent / shape[1], 1.0]
        affine = np.diag([*spacing, 1.0])
        affine[:2, 3] = [(s - self.extent) / 2 for s in spacing[:2]]
        return affine

    def render(
        self, shape: Sequence[int], findings: Sequence[str] | None = None, draw: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Render the radiograph over the field of view.

        Args:
            shape: (X, Y), to the patient's right and upwards.
            findings: what is found; by default the patient's own `findings`, () for none. Anatomy, exposure and noise
                stay the same.
            draw: which of the places that `place` gives.

        Returns:
            Image, float32; label map, uint8; region map of the findings, uint8, 1 + k where the k-th of
            `CHEST_PHANTOM_FINDINGS` is; all of the given shape.

        Raises:
            ValueError: if the shape is not 2D, or for an unknown finding.
        """
        if len(shape) != 2:
            raise ValueError(f"shape must be (X, Y), got {tuple(shape)}")
        placed = [self.place(name, draw) for name in dict.fromkeys(self.findings if findings is None else findings)]
        affine = self.affine(shape)
        axes = [affine[i, 3] + affine[i, i] * np.arange(n) for i, n in enumerate(shape)]
        x, y = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij")
        width = float(max(affine[0, 0], affine[1, 1], 1.0))
        shift_x, shift_y, angle = self._place
        x, y = rotate(x - np.float32(shift_x), y, (0, 0), angle)
        x, y = self._anatomy.bend(x, y + np.float32(shift_y))
        center, slope = self._film
        film = 1 / (1 + np.exp((center - self._attenuation(x, y, width, placed)) / slope))
        image = 0.03 + 0.92 * film + self._noise * self._grain(shape)
        region = np.zeros(image.shape, dtype=np.uint8)
        for finding in placed:
            region[finding.distance(x, y) < 0] = 1 + CHEST_PHANTOM_FINDINGS.index(finding.name)
        return image.astype(np.float32), self._labels(x, y), region

    def _grain(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Noise of unit variance, slightly correlated between neighbors."""
        grain = np.random.default_rng([self.seed, 7, *shape]).standard_normal(tuple(shape))
        for axis in (0, 1):
            grain = convolve1d(grain, _BLUR / np.linalg.norm(_BLUR), axis=axis, mode="wrap")
        return grain

    def _labels(self, x: Field, y: Field) -> NDArray[np.uint8]:
        labels = np.zeros(x.shape, dtype=np.uint8)
        for name, side in (("lung_right", 1), ("lung_left", -1)):
            labels[self._anatomy.lung(x, y, side) < 0] = CHEST_PHANTOM_CLASSES[name]
        labels[self._anatomy.heart(x, y) < 0] = CHEST_PHANTOM_CLASSES["heart"]
        return labels

    def _attenuation(self, x: Field, y: Field, width: float, findings: Sequence[ChestFinding]) -> Field:
        """Sum of thickness times attenuation along the beam; `width` in mm is how far a pixel smears an edge."""
        anatomy = self._anatomy
        texture = self._texture(x, y, np.zeros(1, dtype=np.float32))
        body = anatomy.body(x, y)
        # Neck and shoulders are less deep than the chest.
        depth = self._depth * (1 - 0.38 * np.clip((y - anatomy.apex[1] + 70) / 90, 0, 1))
        total = self._tissue * depth * _rounded(body, 65) * coverage(body, width)
        heart = anatomy.heart(x, y)
        in_front = 0.85 * coverage(heart, width) * (0.5 + 0.5 * _rounded(heart, 40))
        for side in (1, -1):
            wall, below, beside = anatomy.borders(x, y, side)
            lung = self._lung_depth * coverage(np.maximum(np.maximum(wall, below), beside), width)
            lung = lung * _rounded(wall, 48) * _rounded(below, 20) * _rounded(beside, 24) * (1 - in_front)
            solid = np.minimum(anatomy.vessels(x, y, side), 0.5 * lung)
            for finding in findings:
                if finding.side == side:
                    solid = solid + finding.thickness(x, y, lung, width)
            # Tissue may stand out of the lung a little (a mass does), but takes no more than its room.
            solid = np.minimum(solid, 1.2 * lung)
            total = total - (self._tissue - self._air * (1 + 0.08 * texture)) * (lung - solid)
        return np.asarray(total + self._structures(x, y, width, heart), dtype=np.float32)

    def _structures(self, x: Field, y: Field, width: float, heart: Field) -> Field:
        """What bones and breasts add, and the air of windpipe and stomach takes away."""
        anatomy = self._anatomy
        bone = 1.6 * coverage(anatomy.spine(x, y)[0], width) + 0.8 * coverage(anatomy.spine(x, y)[1], width)
        soft = -2.2 * coverage(np.maximum(anatomy.trachea(x, y), -heart), width)
        thickness, level, radius = self._breast
        for side in (1, -1):
            posterior, anterior = anatomy.ribs(x, y, side)
            bone = bone + 0.9 * coverage(posterior, width) + 0.5 * coverage(anterior, width)
            bone = bone + 1.8 * coverage(anatomy.clavicle(x, y, side), width)
            bone = bone + 0.6 * coverage(anatomy.scapula(x, y, side), width)
            middle = (side * level * anatomy.width, anatomy.dome[1] + 42)
            breast = superellipsoid((x, y), middle, (1.5 * radius, 1.3 * radius))
            soft = soft + thickness * _rounded(breast, radius)
        there, place, radii = self._bubble
        if there:
            cx = np.array([-place * anatomy.width], dtype=np.float32)
            middle = (float(cx[0]), float(anatomy.diaphragm(cx, -1)[0]) - radii[1] - 7)
            soft = soft - 4.0 * _rounded(superellipsoid((x, y), middle, radii), radii[1])
        return self._bone * bone + self._tissue * soft


def _rounded(distance: Field, radius: float) -> Field:
    """Thickness of a body with rounded sides as a share: 0 at its edge, 1 from `radius` mm inside on."""
    depth = np.clip(-distance / radius, 0, 1)
    return np.asarray(np.sqrt(depth * (2 - depth)), dtype=np.float32)

"""Bones of a knee as analytic shapes: femur, tibia, fibula and patella, in millimeters about the condyle axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_segdiff.data.shapes import Field, Profile, Tube, smooth_union, superellipsoid

__all__ = ["BONES", "BoneInside", "KneeBones"]

BONES = ("femur", "tibia", "fibula", "patella")


@dataclass(frozen=True)
class BoneInside:
    """What a bone is made of along its axis.

    Args:
        cortex: thickness of the cortical shell in mm.
        marrow: HU inside it, texture left out.
    """

    cortex: Profile
    marrow: Profile


class KneeBones:
    """Signed distances to the bones of one knee in extension, and what is inside them.

    Coordinates are those of a leg of average size: x to lateral, y to anterior, z to superior, 0 at the condyle axis.
    Every bone has its own frame of this kind; whoever poses the knee turns the frames against each other.

    Args:
        rng: source of the variation between knees.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self._width, self._depth = u(0.95, 1.05), u(0.95, 1.05)
        self.joint = -21.5 * self._depth  # level of the lowest point of the condyles
        self.gap = float(u(4.0, 6.0))  # cartilage and joint space between femur and tibia
        self.slope = float(np.tan(np.radians(u(4, 10))))  # of the plateau, falling to posterior
        valgus = u(0.07, 0.12)
        shaft = u(0.93, 1.08)
        flare = u(0.96, 1.04)
        self._femur_shaft = Tube(
            (-6, 8, 22, 36, 52, 75, 105, 140, 260),
            [
                (0, 11, 35 * flare, 20),
                (0, 14, 36 * flare, 22.5),
                (8 * valgus, 16.5, 34 * flare, 21.5),
                (22 * valgus, 18, 28 * flare, 18.5),
                (38 * valgus, 19, 21.5, 16 * shaft),
                (62 * valgus, 19.5, 17 * shaft, 14.8 * shaft),
                (92 * valgus, 20, 14.5 * shaft, 14.3 * shaft),
                (127 * valgus, 20, 13.7 * shaft, 14 * shaft),
                (247 * valgus, 20, 13.7 * shaft, 14 * shaft),
            ],
            exponent=2.25,
            closed=(True, False),
        )
        self._notch = (u(9.0, 11.5), u(19, 23))
        self._groove = u(12, 15)
        self._medial = u(0.98, 1.04)
        tibia_shaft = u(0.93, 1.08)
        plateau = u(0.97, 1.03)
        top = self.joint - self.gap
        self._top = top
        self._tibia_tube = Tube(
            tuple(top + level for level in (-240, -115, -85, -62, -45, -32, -20, -8, 6)),
            [
                (1, 12, 12.5 * tibia_shaft, 14 * tibia_shaft),
                (1, 12, 12.8 * tibia_shaft, 14.5 * tibia_shaft),
                (1, 11.5, 14 * tibia_shaft, 16 * tibia_shaft),
                (1, 10.5, 17.5 * tibia_shaft, 18 * tibia_shaft),
                (1, 9, 22.5, 19.8),
                (0, 7, 28.5 * plateau, 21.5),
                (0, 4.5, 34.5 * plateau, 24.5),
                (0, 2, 38.0 * plateau, 26.0),
                (0, 2, 38.0 * plateau, 25.5),
            ],
            exponent=2.35,
        )
        self._crest = Tube(
            tuple(top + level for level in (-240, -110, -75, -50)),
            [(3, 25, 5, 6), (3, 24.5, 5.5, 6), (3.5, 24, 7, 6), (4, 21, 9, 5)],
            closed=(False, True),
        )
        self.tuberosity = (3.0, 29.0, top + u(-42, -36))
        self._eminence = u(7.5, 10.0)
        self._concave = u(1.0, 2.5)
        self._fibula_head = (u(33.0, 36.0), u(-17, -13), top + u(-25, -20))
        hx, hy, hz = self._fibula_head
        fibula_shaft = u(0.9, 1.1)
        self._fibula_tube = Tube(
            (hz - 210, hz - 70, hz - 28, hz - 10, hz),
            [
                (hx - 6, hy + 1, 6.5 * fibula_shaft, 6.5 * fibula_shaft),
                (hx - 3, hy + 1, 6.3 * fibula_shaft, 6.5 * fibula_shaft),
                (hx, hy, 5.4 * fibula_shaft, 5.8 * fibula_shaft),
                (hx + 0.5, hy, 8, 8.5),
                (hx, hy, 9, 10),
            ],
            closed=(False, True),
        )
        self.patella_radii = (u(20.5, 23.5), u(9.8, 11.2), u(19, 22))
        self.inside = self._insides(rng)

    def femur(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the femur, in its frame."""
        x, y = x / np.float32(self._width), y / np.float32(self._depth)
        z = z / np.float32(self._depth)
        bone: Field | None = None
        for side, larger in ((1, 1.0), (-1, self._medial)):
            back = superellipsoid((x, y, z), (side * 24.5, 0, 0), (14.5, 21.2 * larger, 21.2), 2.2)
            front = superellipsoid((x, y, z), (side * 24, 14, 1), (15.5, 25.5, 22.3), 2.2)
            epicondyle = superellipsoid((x, y, z), (side * 37, 3, 5), (6.5, 11, 13))
            condyle = smooth_union(smooth_union(back, front, 6.0), epicondyle, 8.0)
            bone = condyle if bone is None else np.minimum(bone, condyle)
        trochlea = superellipsoid((x, y, z), (3, 20, 10), (33, 20.5, 23), 2.4)
        bone = smooth_union(smooth_union(bone, trochlea, 5.0), self._femur_shaft(x, y, z), 9.0)
        groove = superellipsoid((x, y, z), (1, 54, 2), (self._groove, 16, 36))
        width, height = self._notch
        notch = superellipsoid((x, y, z), (0, -16, -16), (width, 25, height), 2.6)
        bone = -smooth_union(-bone, np.minimum(groove, notch), 2.0)
        bone *= np.float32(min(self._width, self._depth))
        return np.asarray(bone, dtype=np.float32)

    def tibia(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the tibia, in its frame."""
        x, y = x / np.float32(self._width), y / np.float32(self._depth)
        shaft = smooth_union(self._tibia_tube(x, y, z), self._crest(x, y, z), 6.0)
        # Two shallow dishes with the eminence between them.
        dish = np.clip(1 - ((np.abs(x) - 21) / 17) ** 2 - ((y - 3) / 22) ** 2, 0, 1)
        surface = z - self._top - self.slope * (y - 4) + self._concave * dish
        bone = -smooth_union(-shaft, -surface, 4.0)
        for side in (-1, 1):
            center = (side * 6.5, 1 - 3 * side, self._top - 3)
            tubercle = superellipsoid((x, y, z), center, (5, 9, self._eminence + 3))
            bone = smooth_union(bone, tubercle, 3.0)
        tuberosity = superellipsoid((x, y, z), self.tuberosity, (9, 6.5, 14))
        bone = smooth_union(bone, tuberosity, 6.0)
        bone *= np.float32(min(self._width, self._depth))
        return np.asarray(bone, dtype=np.float32)

    def fibula(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the fibula, in the frame of the tibia."""
        hx, hy, hz = self._fibula_head
        x = x / np.float32(self._width)
        head = superellipsoid((x, y, z), (hx, hy, hz), (10, 11.5, 12))
        styloid = superellipsoid((x, y, z), (hx + 1, hy - 4, hz + 8), (4.5, 5, 9))
        bone = smooth_union(smooth_union(head, styloid, 4.0), self._fibula_tube(x, y, z), 6.0)
        return np.asarray(bone, dtype=np.float32)

    def patella(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the patella, in its own frame, 0 at its center."""
        rx, ry, rz = self.patella_radii
        # Narrower to the apex below; the back is a keel that fits into the groove.
        taper = 1 + np.clip(z / (2.4 * rz), -0.45, 0.1)
        front = superellipsoid((x / taper, y, z), (0, 0, 0), (rx, ry, rz), 2.4)
        keel = -(y + ry) + 0.42 * np.abs(x - 1) + np.clip(-(z + 0.5 * rz), 0, None) * 0.5
        bone = -smooth_union(-front, -keel, 4.0)
        return np.asarray(bone, dtype=np.float32)

    def _insides(self, rng: np.random.Generator) -> dict[str, BoneInside]:
        u = rng.uniform
        thick, dense, fatty = u(0.8, 1.2), u(0.8, 1.2), u(-30, 25)
        joint, top, head = self.joint, self._top, self._fibula_head[2]

        def marrow(knots: tuple[float, ...], values: tuple[float, ...]) -> Profile:
            return Profile(knots, [fatty + dense * value for value in values])

        def cortex(knots: tuple[float, ...], values: tuple[float, ...]) -> Profile:
            return Profile(knots, [thick * value for value in values])

        return {
            "femur": BoneInside(
                cortex((-25, 15, 35, 60, 90, 140), (1.3, 1.1, 1.5, 3.0, 4.6, 6.0)),
                marrow((joint, joint + 12, 10, 35, 65, 100), (420, 360, 280, 180, 70, 0)),
            ),
            "tibia": BoneInside(
                cortex((top - 120, top - 80, top - 50, top - 30, top - 10, top), (5.2, 4.0, 2.4, 1.4, 1.1, 1.6)),
                marrow((top - 95, top - 60, top - 35, top - 12, top), (0, 60, 170, 300, 430)),
            ),
            "fibula": BoneInside(
                cortex((head - 70, head - 30, head - 12, head), (3.0, 2.2, 1.2, 1.0)),
                marrow((head - 50, head - 20, head), (20, 110, 220)),
            ),
            "patella": BoneInside(cortex((-20, 0, 20), (1.6, 1.8, 1.6)), marrow((-20, 0, 20), (330, 370, 330))),
        }

"""Soft tissue of a straight leg around the knee as analytic shapes: outline, fat and muscles, in millimeters."""

from __future__ import annotations

import numpy as np

from monai_segdiff.data.shapes import Field, Profile, Tube, smooth_union

__all__ = ["KneeSoftTissue"]

# Level along the leg, then center x, y and radii x, y of the cross-section; x to lateral, y to anterior, z to superior.
_OUTLINE = (
    (-220, 0, -16, 40, 37),
    (-160, 0, -17, 49, 45),
    (-115, 0, -17, 51, 47),
    (-60, 0, -9, 48, 46),
    (-25, 0, -4, 48, 45),
    (0, 0, -2, 50, 50),
    (40, 1, -1, 51, 53),
    (80, 4, -1, 56, 58),
    (120, 7, -2, 62, 63),
    (170, 12, -3, 67, 68),
    (240, 18, -4, 72, 73),
)
_FAT = ((-220, 5), (-115, 6), (-60, 5), (-25, 5), (0, 6), (40, 7), (80, 9), (120, 11), (240, 13))
_MUSCLES = {
    "vastus medialis": (
        (6, -31, 22, 1, 1), (20, -32, 24, 11, 13), (50, -32, 26, 18, 22), (100, -32, 22, 23, 28), (240, -30, 20, 25, 30)
    ),
    "vastus lateralis": ((30, 33, 20, 1, 2), (55, 36, 20, 11, 21), (100, 40, 18, 19, 32), (240, 50, 16, 24, 38)),
    "rectus femoris": ((38, 0, 46, 2, 2), (60, 2, 46, 19, 8), (100, 6, 46, 29, 15), (240, 12, 46, 34, 22)),
    "vastus intermedius": ((52, 4, 21, 8, 8), (75, 7, 21, 24, 22), (240, 22, 21, 26, 25)),
    "biceps femoris": (
        (-48, 38, -20, 3, 4), (-20, 36, -26, 8, 9), (30, 33, -34, 12, 14), (80, 31, -41, 17, 19), (240, 34, -46, 25, 24)
    ),
    "semimembranosus": (
        (-45, -29, -16, 2, 3), (-20, -28, -25, 7, 8), (20, -20, -37, 14, 13), (70, -16, -44, 20, 18),
        (240, -8, -50, 27, 23)
    ),
    "sartorius": ((-50, -35, -2, 3, 6), (0, -43, -15, 6, 12), (60, -45, -19, 9, 16), (240, -44, -24, 15, 23)),
    "adductor": ((85, -22, -8, 2, 2), (120, -24, -12, 11, 14), (240, -24, -18, 22, 22)),
    "medial gastrocnemius": (
        (-160, -22, -42, 26, 21), (-110, -24, -42, 27, 22), (-50, -21, -39, 22, 16), (-5, -19, -34, 12, 11),
        (20, -20, -23, 2, 2)
    ),
    "lateral gastrocnemius": (
        (-160, 20, -40, 23, 19), (-110, 21, -40, 24, 20), (-50, 19, -39, 20, 15), (-5, 18, -34, 11, 11),
        (20, 20, -23, 2, 2)
    ),
    "soleus": ((-160, 4, -22, 33, 17), (-110, 4, -22, 31, 16), (-60, 2, -24, 23, 12), (-36, 0, -24, 8, 3)),
    "tibialis anterior": ((-160, 26, 8, 15, 18), (-115, 27, 8, 15, 17), (-70, 27, 7, 11, 14), (-45, 26, 4, 3, 5)),
    "peroneus": ((-160, 37, -12, 11, 16), (-115, 38, -12, 11, 16), (-80, 38, -11, 9, 14), (-50, 39, -13, 2, 4)),
}  # fmt: skip
_VESSELS = {
    "artery": ((-200, 4, -24), (-70, 4, -26), (-30, 1, -29), (20, -2, -28), (80, -10, -16), (240, -24, 0)),
    "vein": ((-200, 8, -26), (-70, 8, -30), (-30, 4, -35), (20, 2, -35), (80, -9, -24), (240, -24, -8)),
}
_SKIN = 1.8  # mm


class KneeSoftTissue:
    """Signed distances to skin, fat and muscles of one straight leg.

    Coordinates are those of a leg of average size: x to lateral, y to anterior, z to superior, 0 at the condyle axis.

    Args:
        rng: source of the variation between legs.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        strength, fatness = u(0.92, 1.1), u(0.3, 1.4)
        knots = [row[0] for row in _OUTLINE]
        outline = np.array([row[1:] for row in _OUTLINE], dtype=float)
        outline[:, 2:] *= strength * u(0.98, 1.02, size=2)
        levels, thickness = zip(*_FAT, strict=True)
        self._outline = Tube(knots, outline, exponent=u(2.1, 2.4))
        # Fat lies thicker on one side than on the other.
        self._fat = Profile(levels, [1.0 + fatness * t for t in thickness])
        self._uneven = (u(-0.25, 0.1), u(-0.25, 0.05))
        self._muscles = {}
        for name, rows in _MUSCLES.items():
            sections = np.array([row[1:] for row in rows], dtype=float)
            sections[:, 2:] *= u(0.92, 1.08, size=2) * strength
            sections[:, :2] += u(-1.5, 1.5, size=2)
            ends = (rows[0][0] > -160, rows[-1][0] < 240)
            self._muscles[name] = ([row[0] for row in rows], Tube([row[0] for row in rows], sections, closed=ends))
        self._vessels = []
        for course in _VESSELS.values():
            radius = u(3.0, 4.2)
            self._vessels.append(Tube([p[0] for p in course], [(*p[1:], radius, radius) for p in course]))

    def outline(self, x: Field, y: Field, z: Field) -> tuple[Field, Field]:
        """Signed distances to the fascia around the muscles, and to the outside of the skin."""
        fascia = self._outline(x, y, z)
        (fat,) = self._fat(z)
        lean_x, lean_y = self._uneven
        share = 1 + np.clip(lean_x * x / 50 + lean_y * y / 50, -0.5, 0.5)
        return fascia, fascia - fat * share - np.float32(_SKIN)

    @property
    def skin(self) -> float:
        """Thickness of the skin in mm."""
        return _SKIN

    def muscles(self, x: Field, y: Field, z: Field, fascia: Field) -> Field:
        """Signed distance to all muscles."""
        low, high = float(z.min()), float(z.max())
        union = np.full(x.shape, 50.0, dtype=np.float32)
        for knots, tube in self._muscles.values():
            if (knots[0] > -160 and knots[0] > high + 3) or (knots[-1] < 240 and knots[-1] < low - 3):
                continue
            union = smooth_union(union, tube(x, y, z), 2.0)
        return np.maximum(union, fascia + np.float32(0.8))

    def vessels(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the popliteal artery and vein."""
        first, second = (tube(x, y, z) for tube in self._vessels)
        return np.minimum(first, second)

"""How a leg lies in the scanner and bends at the knee: from world coordinates to those of its structures."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from monai_segdiff.data.phantoms.knee_bones import KneeBones
from monai_segdiff.data.shapes import Field, rotate

__all__ = ["KneePose", "Point"]

Point: TypeAlias = tuple[Field, Field, Field]

_BEND = 45.0  # mm above and below the joint over which soft tissue takes up the flexion
_PATELLA_SHARE = 0.3  # of the flexion, by which the patella turns against the tibia


class KneePose:
    """Side, size and position of a leg, and the angle between femur and tibia.

    The world is RAS in mm with 0 at the middle of the condyle axis. The leg's own coordinates are those of a leg of
    average size: x to lateral, y to anterior, z to superior. In the frames of femur and tibia the knee is straight.

    Args:
        rng: source of side, size and angles.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self.side = "right" if u() < 0.5 else "left"
        self.flexion = float(u(-5, 35))
        self.rotation = float(u(-15, 20))
        self.size = float(u(0.9, 1.1))
        self._sign = np.float32(1 if self.side == "right" else -1)
        share = u(0.35, 0.65)
        self.femur_angle = float(np.radians(self.flexion) * share)
        self.tibia_angle = float(np.radians(self.flexion) * (share - 1))
        self._tilt, self._varus = np.radians(u(-3, 3)), np.radians(u(-3, 3))
        self._patella_turn = _PATELLA_SHARE * float(np.radians(self.flexion))
        self.patella = (0.0, 0.0, 0.0)

    def leg(self, x: Field, y: Field, z: Field) -> Point:
        """World to leg."""
        scale = np.float32(1 / self.size)
        x, y, z = self._sign * x * scale, y * scale, z * scale
        x, z = rotate(x, z, (0, 0), self._varus)
        y, z = rotate(y, z, (0, 0), self._tilt)
        x, y = rotate(x, y, (0, 0), -np.radians(self.rotation))
        return x, y, z

    def straight(self, x: Field, y: Field, z: Field) -> Point:
        """Leg to the frame of its soft tissue, in which it is straight; the flexion is spread over some length."""
        share = np.clip(0.5 + z / np.float32(2 * _BEND), 0, 1)
        share = share * share * (3 - 2 * share)
        angle = np.float32(self.tibia_angle) + np.float32(self.femur_angle - self.tibia_angle) * share
        cos, sin = np.cos(angle), np.sin(angle)
        return x, cos * y + sin * z, cos * z - sin * y

    def frame(self, bone: str, x: Field, y: Field, z: Field) -> Point:
        """Leg to the frame of a bone; the fibula's is the tibia's."""
        y, z = rotate(y, z, (0, 0), self.femur_angle if bone == "femur" else self.tibia_angle)
        if bone == "patella":
            px, py, pz = self.patella
            x, y, z = x - np.float32(px), y - np.float32(py), z - np.float32(pz)
            y, z = rotate(y, z, (0, 0), self._patella_turn)
        return x, y, z

    def tibia_to_femur(self, y: Field, z: Field) -> tuple[Field, Field]:
        """Frame of the tibia to that of the femur."""
        return rotate(y, z, (0, 0), self.femur_angle - self.tibia_angle)

    def place_patella(self, bones: KneeBones, x: float, ligament: float, gap: float) -> None:
        """Put the patella a ligament's length above the tuberosity, and `gap` mm off the femur.

        Args:
            bones: shapes of the bones.
            x: how far lateral its center is, in mm.
            ligament: length in mm from its apex to the tuberosity.
            gap: smallest distance in mm between patella and femur.
        """
        radii = bones.patella_radii
        level = bones.tuberosity[2] + 8 + ligament + radii[2]
        directions = np.random.default_rng(0).normal(size=(3, 400)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        points = directions * np.array(radii, dtype=np.float32)[:, None]
        # Onto the surface, along the ray from the center.
        for _ in range(4):
            points -= directions * bones.patella(*points)
        py, pz = rotate(points[1], points[2], (0, 0), -self._patella_turn)
        low, high = 20.0, 90.0
        for _ in range(18):
            depth = (low + high) / 2
            y, z = self.tibia_to_femur(py + np.float32(depth), pz + np.float32(level))
            if bones.femur(points[0] + np.float32(x), y, z).min() < gap:
                low = depth
            else:
                high = depth
        self.patella = (float(x), high, float(level))

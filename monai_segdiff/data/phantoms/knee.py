"""A population of leg CT phantoms: random anatomy from a seed, rendered at any resolution as HU and label map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from monai_segdiff.data.phantoms.knee_bones import BONES, KneeBones
from monai_segdiff.data.phantoms.knee_pose import KneePose, Point
from monai_segdiff.data.phantoms.knee_soft_tissue import KneeSoftTissue
from monai_segdiff.data.shapes import Field, WaveField, capsule, coverage, smooth_union, superellipsoid

Labels: TypeAlias = NDArray[np.uint8]

__all__ = ["KNEE_PHANTOM_CLASSES", "KneePhantom"]

KNEE_PHANTOM_CLASSES = {"skin": 1, "fat": 2, "muscle": 3, "femur": 4, "tibia": 5, "fibula": 6, "patella": 7}

_AIR = -1000.0
_BLOCK = 130_000  # voxels at a time: their arrays stay in the cache
_TILE = 96  # voxels along the first two axes of a block
_COARSE = 6.0  # mm, spacing at which the extent of a structure is looked up
_TENDON = 0.4  # how thick a tendon is for its width


class KneePhantom:
    """Leg of one simulated patient around the knee, in a CT without contrast agent.

    Every structure is an analytic shape in millimeters, x to the patient's right, y to anterior, z to superior, 0 at
    the middle of the condyle axis. Femur and tibia turn against each other about that axis, the patella keeps its
    distance to both, and soft tissue bends smoothly with them. The class muscle takes in every soft tissue that is
    neither fat nor skin: tendons, cartilage, vessels. The leg runs through the lower and upper face of its field of
    view, with air beside it.

    Args:
        seed: patient number; the same seed gives the same patient, at any resolution.

    Attributes:
        side: "right" or "left".
        flexion: angle between femur and tibia in degrees; 0 is a straight leg.
        rotation: how far the leg is turned outward about its long axis, in degrees.
        extent: lowest and highest edge of the field of view in mm, shape (2, 3).
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)
        rng = np.random.default_rng([self.seed, 0])
        u = rng.uniform
        pose = self._pose = KneePose(rng)
        self.side, self.flexion, self.rotation = pose.side, pose.flexion, pose.rotation
        self._bones = KneeBones(rng)
        self._soft = KneeSoftTissue(rng)
        pose.place_patella(self._bones, u(-1, 3), u(0.9, 1.15) * 2 * self._bones.patella_radii[2], u(2.5, 4.0))
        self._hu = {
            "skin": u(20, 45), "fat": u(-112, -92), "muscle": u(48, 64), "joint": u(25, 50), "tendon": u(75, 105),
            "cartilage": u(75, 100), "vessel": u(38, 55), "cortex": u(1250, 1650),
        }  # fmt: skip
        self._noise = u(6.0, 10.0)
        self._warps = [WaveField(rng, (70, 170), 8) for _ in range(3)]
        self._fine, self._coarse = WaveField(rng, (7, 16), 40), WaveField(rng, (16, 45), 24)
        self._rough = WaveField(rng, (22, 60), 24)
        self._mesh = WaveField(rng, (3.5, 9), 60)
        self.extent = self._field_of_view(u(8, 16), u(-4, 4, size=2), u(1.2, 1.3), u(-8, 8))

    def affine(
        self, shape: Sequence[int] | None = None, spacing: float | Sequence[float] | None = None
    ) -> NDArray[np.float64]:
        """RAS affine in mm, shape (4, 4), of what `render` returns for the same arguments."""
        shape, voxel = self._grid(shape, spacing)
        affine = np.diag([*voxel, 1.0])
        affine[:3, 3] = self.extent.mean(axis=0) - voxel * (np.array(shape) - 1) / 2
        return affine

    def render(
        self, shape: Sequence[int] | None = None, spacing: float | Sequence[float] | None = None
    ) -> tuple[NDArray[np.float32], Labels]:
        """Render a volume over the field of view.

        Args:
            shape: (X, Y, Z); axes run to the right, to anterior, to superior.
            spacing: voxel size in mm, one number or three; with it the grid is as large as the field of view. Give
                shape or spacing; neither means 2.5 mm.

        Returns:
            Image in HU, float32, and label map, uint8, ids as in `KNEE_PHANTOM_CLASSES`.

        Raises:
            ValueError: if both are given, or one is out of range.
        """
        size, voxel = self._grid(shape, spacing)
        affine = self.affine(shape, spacing)
        axes = [(affine[i, 3] + affine[i, i] * np.arange(n)).astype(np.float32) for i, n in enumerate(size)]
        hu = np.full(size, _AIR, dtype=np.float32)
        labels: Labels = np.zeros(size, dtype=np.uint8)
        for part in _blocks(size):
            self._paint(hu[part], labels[part], [axis[p] for axis, p in zip(axes, part, strict=True)], voxel)
        noise = np.random.default_rng([self.seed, 1, *size]).standard_normal(size, dtype=np.float32)
        hu += self._noise * (0.8 * noise + 1.4 * gaussian_filter(noise, (0.7, 0.7, 0.0), truncate=2.5))
        return np.maximum(hu, -1024, out=hu), labels

    def _grid(
        self, shape: Sequence[int] | None, spacing: float | Sequence[float] | None
    ) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        extent = self.extent[1] - self.extent[0]
        if shape is not None:
            if spacing is not None or len(shape) != 3 or min(shape) < 1:
                raise ValueError(f"give shape=(X, Y, Z) or spacing, not both; got shape={shape} and spacing={spacing}")
            return tuple(int(n) for n in shape), extent / np.array(shape)
        voxel = np.broadcast_to(np.asarray(2.5 if spacing is None else spacing, dtype=float), (3,))
        if not (voxel > 0).all():
            raise ValueError(f"spacing must be one or three positive numbers in mm, got {spacing}")
        return tuple(int(n) for n in np.maximum(np.round(extent / voxel), 1)), np.array(voxel)

    def _field_of_view(
        self, margin: float, shift: NDArray[np.float64], length: float, level: float
    ) -> NDArray[np.float64]:
        """Box around the leg with some air beside it; its height is `length` times its width.

        A cone beam that leaves the box through its sides, not its ends, then sees all of the leg's width.
        """
        half_height = 100.0 * self._pose.size
        lateral = np.arange(-210, 211, _COARSE, dtype=np.float32)
        for _ in range(5):  # a bent leg is wider the longer it is; this converges
            levels = np.linspace(level - half_height, level + half_height, 24, dtype=np.float32)
            leg = self._pose.leg(*np.meshgrid(lateral, lateral, levels, indexing="ij", sparse=True))
            outline = self._soft.outline(*self._pose.straight(*leg))[1]
            inside = np.minimum(outline, self._bones.patella(*self._pose.frame("patella", *leg)) - 6) < _COARSE
            edges = np.array([lateral[np.nonzero(inside.any(axis=axes))[0][[0, -1]]] for axes in ((1, 2), (0, 2))])
            half = float(np.diff(edges).max()) / 2 + margin
            half_height = length * half
        center = np.array([*edges.mean(axis=1) + shift, level])
        return np.array([center, center]) + np.outer((-1, 1), (half, half, half_height))

    def _paint(self, hu: Field, labels: Labels, axes: Sequence[Field], voxel: NDArray[np.float64]) -> None:
        """Paint tissue over tissue in HU, from outside to inside, in one block."""
        hu_of, mm = self._hu, np.float32(self._pose.size)
        width = max(float(voxel.min()), 0.5)  # how far a voxel smears an edge

        def paint(part: tuple[slice, ...], distance: Field, value: Field | float, label: str | None = None) -> None:
            share = coverage(distance * mm, width)
            hu[part] += share * (value - hu[part])
            if label is not None:
                labels[part][distance < 0] = KNEE_PHANTOM_CLASSES[label]

        everything = (slice(None),) * 3
        world = np.meshgrid(*axes, indexing="ij", sparse=True)
        leg = self._pose.leg(*world)
        warps = (np.float32(2.0) * warp.on_grid(*axes) for warp in self._warps)
        warped = self._pose.leg(*(a + warp for a, warp in zip(world, warps, strict=True)))
        soft = self._pose.straight(*warped)
        fascia, outline = self._soft.outline(*soft)
        bones = self._bone_distances(leg, axes, voxel)
        for part, distance in bones.values():
            # Skin and some fat over every bone.
            outline[part] = smooth_union(outline[part], distance - np.float32(4.5), 10.0)
        fine, coarse, mesh = (field.on_grid(*axes) for field in (self._fine, self._coarse, self._mesh))
        paint(everything, outline, hu_of["skin"], "skin")
        paint(everything, outline + np.float32(self._soft.skin), hu_of["fat"] + 5 * coarse + 4 * fine, "fat")
        muscle = np.maximum(self._soft.muscles(*soft, fascia), outline + np.float32(self._soft.skin + 1.5))
        # Fat between the fibers of a muscle.
        paint(everything, muscle + 0.6 * coarse, hu_of["muscle"] + 5 * fine - 12 * np.clip(coarse - 1, 0, 2), "muscle")
        paint(everything, self._soft.vessels(*soft), hu_of["vessel"], "muscle")
        self._paint_joint(paint, leg, bones)
        for name, (part, distance) in bones.items():
            place = tuple(np.ascontiguousarray(c[part]) for c in leg)
            frame = self._pose.frame(name, *place)
            (cortex,), (marrow,) = self._bones.inside[name].cortex(frame[2]), self._bones.inside[name].marrow(frame[2])
            paint(part, distance, hu_of["cortex"], name)
            texture = np.clip(marrow + 70, 0, 400) * (0.22 * mesh[part] + 0.10 * coarse[part])
            paint(part, distance + cortex, marrow + texture)

    def _bone_distances(
        self, leg: Point, axes: Sequence[Field], voxel: NDArray[np.float64]
    ) -> dict[str, tuple[tuple[slice, ...], Field]]:
        """Boxes around the bones in this block, and signed distances in them; no bone reaches into another."""
        rough = np.float32(0.5) * self._rough.on_grid(*axes)
        shapes = {"femur": self._bones.femur, "tibia": self._bones.tibia, "fibula": self._bones.fibula,
                  "patella": self._bones.patella}  # fmt: skip
        steps = [max(1, int(_COARSE // v)) for v in voxel]
        margin = 16 + _COARSE / self._pose.size
        found: dict[str, tuple[tuple[slice, ...], Field]] = {}
        for name in BONES:
            sparse = tuple(c[:: steps[0], :: steps[1], :: steps[2]] for c in leg)
            near = np.nonzero(shapes[name](*self._pose.frame(name, *sparse)) < margin)
            if not near[0].size:
                continue
            part = tuple(
                slice(max(0, int(i.min() - 1) * s), int(i.max() + 1) * s + 1) for i, s in zip(near, steps, strict=True)
            )
            place = tuple(np.ascontiguousarray(c[part]) for c in leg)
            distance = shapes[name](*self._pose.frame(name, *place)) + rough[part]
            if name == "tibia":
                distance = np.maximum(distance, 3.0 - self._bones.femur(*self._pose.frame("femur", *place)))
            elif name == "fibula":
                distance = np.maximum(distance, 1.5 - self._bones.tibia(*self._pose.frame("tibia", *place)))
            elif name == "patella":
                distance = np.maximum(distance, 2.5 - self._bones.femur(*self._pose.frame("femur", *place)))
            found[name] = (part, distance)
        return found

    def _paint_joint(
        self, paint: Callable[..., None], leg: Point, bones: dict[str, tuple[tuple[slice, ...], Field]]
    ) -> None:
        """Capsule, cartilage, the ligament of the patella and the tendon above it."""
        hu_of, shapes = self._hu, self._bones
        if "femur" in bones:
            part, femur = bones["femur"]
            place = tuple(np.ascontiguousarray(c[part]) for c in leg)
            x, y, z = self._pose.frame("tibia", *place)
            middle = shapes.joint - shapes.gap / 2
            paint(part, superellipsoid((x, y, z), (0, 1, middle + 3), (39, 25, 13), 2.4), hu_of["joint"], "muscle")
            x, y, z = self._pose.frame("femur", *place)
            cartilage = np.maximum(femur - np.float32(0.45 * shapes.gap), z - np.float32(14))
            paint(part, cartilage, hu_of["cartilage"], "muscle")
        everything = (slice(None),) * 3
        px, py, pz = self._pose.patella
        rz = shapes.patella_radii[2]
        tx, ty, tz = shapes.tuberosity
        flat = np.float32(_TENDON)
        x, y, z = self._pose.frame("tibia", *leg)
        apex, insertion = (px * flat, py, pz - 0.8 * rz), (tx * flat, ty + 6.5, tz + 4)
        paint(everything, capsule((x * flat, y, z), insertion, apex, 3.2), hu_of["tendon"], "muscle")
        start = (px * flat, *self._pose.tibia_to_femur(py, pz + 0.8 * rz))
        x, y, z = self._pose.frame("femur", *leg)
        paint(everything, capsule((x * flat, y, z), start, (4 * flat, 42, 75), 3.4), hu_of["tendon"], "muscle")


def _blocks(size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Cut a grid into blocks of some hundred thousand voxels."""
    thickness = max(1, _BLOCK // (min(size[0], _TILE) * min(size[1], _TILE)))
    steps = (_TILE, _TILE, thickness)
    yield from product(*([slice(i, i + step) for i in range(0, n, step)] for n, step in zip(size, steps, strict=True)))

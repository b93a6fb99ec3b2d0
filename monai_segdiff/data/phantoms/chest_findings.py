"""What may be found in a phantom's lungs: a soft patch, a round mass, fluid at the base."""

from __future__ import annotations

import numpy as np

from monai_segdiff.data.phantoms.chest_anatomy import ChestAnatomy
from monai_segdiff.data.shapes import Field, WaveField, coverage

__all__ = ["CHEST_PHANTOM_FINDINGS", "ChestFinding"]

CHEST_PHANTOM_FINDINGS = ("opacity", "mass", "effusion")

_CLEARANCE = {"opacity": 24.0, "mass": 7.0}  # mm from the middle, or the edge, to the lung's border


class ChestFinding:
    """One finding at its place in a lung.

    - `opacity`: an ill-defined patch of 72 to 108 mm, densest in its middle and uneven, in which the lung holds fluid
      instead of air;
    - `mass`: a round solid body of 32 to 50 mm with a sharp edge;
    - `effusion`: fluid between lung and chest wall that hides the costophrenic angle; its upper edge is a meniscus,
      high at the wall and low towards the middle.

    Args:
        anatomy: whose lungs.
        name: one of `CHEST_PHANTOM_FINDINGS`.
        rng: source of size, side and place.

    Attributes:
        side: 1 for the right lung, -1 for the left.
        center: middle, (x, y) in mm; of an effusion the costophrenic angle.
        radius: of a mass or an opacity, or height of an effusion at the wall, in mm.
    """

    def __init__(self, anatomy: ChestAnatomy, name: str, rng: np.random.Generator) -> None:
        if name not in CHEST_PHANTOM_FINDINGS:
            raise ValueError(f"unknown finding {name!r}; a chest phantom can have {', '.join(CHEST_PHANTOM_FINDINGS)}")
        u = rng.uniform
        self.name, self._anatomy = name, anatomy
        self.side = int(rng.choice((1, -1)))
        low, high = {"opacity": (36, 54), "mass": (16, 25), "effusion": (80, 124)}[name]
        self.radius = float(u(low, high))
        self._aspect, self._density = np.exp(u(-0.2, 0.2)), u(0.85, 1.15)
        self._uneven = WaveField(rng, (28, 60), 8)
        if name == "effusion":
            edge = np.array([0.96 * self.side * anatomy.width], dtype=np.float32)
            self.center = (float(edge[0]), float(anatomy.diaphragm(edge, self.side)[0]))
        else:
            self.center = self._draw_center(rng)

    def _draw_center(self, rng: np.random.Generator) -> tuple[float, float]:
        """A place in the lung, far enough from its borders; the farthest of all tried where none is."""
        anatomy, number = self._anatomy, 400
        x = self.side * anatomy.width * rng.uniform(0.15, 0.95, number)
        y = rng.uniform(anatomy.dome[self.side], anatomy.apex[self.side], number)
        x, y = x.astype(np.float32), y.astype(np.float32)
        room = -anatomy.lung(x, y, self.side)
        wanted = _CLEARANCE[self.name] + (self.radius if self.name == "mass" else 0.0)
        chosen = int(np.argmax(room > wanted)) if (room > wanted).any() else int(np.argmax(room))
        return float(x[chosen]), float(y[chosen])

    def distance(self, x: Field, y: Field) -> Field:
        """Distance in mm to where the finding is, negative inside; it does not leave the lung."""
        return np.maximum(self._outline(x, y), self._anatomy.lung(x, y, self.side))

    def _outline(self, x: Field, y: Field) -> Field:
        """The same without the lung's borders."""
        cx, cy = self.center
        if self.name == "effusion":
            # The meniscus, down to below the dome of the diaphragm.
            share = np.clip(self.side * x / self._anatomy.width, 0, 1)
            return np.asarray((y - cy - self.radius * (1.25 * share**2 - 0.25)) * 0.8, dtype=np.float32)
        if self.name == "mass":
            return np.asarray(np.hypot(x - cx, y - cy) - self.radius, dtype=np.float32)
        uneven = np.clip(0.14 * self._uneven(x, y, np.zeros(1, dtype=np.float32)), -0.3, 0.3)
        patch = np.hypot((x - cx) * self._aspect, (y - cy) / self._aspect) - self.radius * (1 + uneven)
        return np.asarray(patch, dtype=np.float32)

    def thickness(self, x: Field, y: Field, lung: Field, width: float) -> Field:
        """How much of the lung is tissue or fluid instead.

        Args:
            x: positions in mm.
            y: positions in mm.
            lung: thickness of the lung in cm.
            width: in mm, how far a pixel smears an edge.

        Returns:
            Thickness in cm, 0 beyond a pixel from where the finding is.
        """
        outline = self._outline(x, y)
        inside = coverage(self._anatomy.lung(x, y, self.side), width)
        if self.name == "mass":
            share = np.clip(1 + outline / self.radius, 0, 1)
            # Solid and partly calcified, so denser than its size in soft tissue.
            thickness = 0.1 * 2 * self.radius * 2.0 * np.sqrt(1 - share**4)
        elif self.name == "effusion":
            thickness = 0.85 * lung * np.clip(-outline / 8, 0, 1)
        else:
            depth = np.clip(-outline / (0.8 * self.radius), 0, 1)
            thickness = 0.6 * lung * depth**2 * (3 - 2 * depth)
        return np.asarray(self._density * thickness * inside, dtype=np.float32)

"""Whether several views show one patient: each must give the same mass along the axis of rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["ViewConsistency", "mass_profiles", "view_consistency"]

_SAME_HEIGHT = 1e-3  # of a pixel


@dataclass(frozen=True)
class ViewConsistency:
    """How far each view's mass profile is from that of the other views.

    Args:
        profiles: (views, V) float64, each view's mass in every row, in (attenuation x area).
        deviations: (views,) root mean square over the rows of a profile's difference from the mean of the others, as a
            share of the root mean square of that mean; NaN where a view is not finite, or the others show nothing.
    """

    profiles: torch.Tensor
    deviations: torch.Tensor

    @property
    def mean(self) -> float:
        """The deviation averaged over views: 0 where all views show the same mass at every height."""
        return float(self.deviations.nanmean())


def view_consistency(
    images: torch.Tensor, geometry: Mapping[str, Any], views: Sequence[int] | None = None
) -> ViewConsistency:
    """Compare the mass profiles of several views of one volume.

    The figure is linear in an error of one view's scale: of n views of which one is too bright by a share e, that one
    deviates by e and each other one by e / (n - 1), to first order.

    Args:
        images: (views, U, V) in [0, 1], at least two.
        geometry: what the volume's views were made with, as `geometry/<volume>.json` holds it.
        views: index in `geometry["views"]` of each image; default: all of them in order.

    Returns:
        Profiles and deviations.

    Raises:
        ValueError: as `mass_profiles`, or if there are fewer than two views.
    """
    if len(images) < 2:
        raise ValueError(f"view consistency needs at least two views, got {len(images)}")
    profiles = mass_profiles(images, geometry, views)
    # A view that is not finite must not spoil the mean of the others.
    finite = torch.isfinite(profiles).all(1, keepdim=True)
    kept = torch.where(finite, profiles, 0.0)
    others = (kept.sum(0) - kept) / (finite.sum() - finite.long())
    size = others.square().mean(1).sqrt()
    deviations = (profiles - others).square().mean(1).sqrt() / size
    return ViewConsistency(profiles, torch.where(size > 0, deviations, torch.nan))


def mass_profiles(
    images: torch.Tensor, geometry: Mapping[str, Any], views: Sequence[int] | None = None
) -> torch.Tensor:
    """Mass of each view at every height along the axis of rotation, with the normalization undone.

    For a parallel beam this is the sum of line integrals over a row of pixels times their width: the integral of the
    attenuation over the plane that the row sees, the same plane for every angle.

    For a cone beam a row sees the plane through the source. What is exactly known is corrected: rays of equal distance
    on the detector are not of equal angle (cosine squared of the fan's angle), the detector shows the isocenter
    enlarged, and the plane is inclined. A row's figure is then the integral of attenuation times R / r over its plane,
    projected along the axis; r is a point's distance from the source, R that of the axis in the same plane. What
    remains: mass nearer to the source than the axis counts more, by the share of its distance from the axis in R, and
    the planes of two views meet at the axis only. Both change sign when the source goes to the other side, and are
    what the same figure of the true views shows.

    Args:
        images: (views, U, V) in [0, 1].
        geometry: as for `view_consistency`.
        views: index in `geometry["views"]` of each image; default: all of them in order.

    Returns:
        (views, V) float64.

    Raises:
        ValueError: if the images do not fit the geometry, or rows of the views do not lie at one height.
    """
    chosen = list(range(len(geometry["views"]))) if views is None else list(views)
    if images.ndim != 3 or len(images) != len(chosen) or not all(0 <= i < len(geometry["views"]) for i in chosen):
        raise ValueError(
            f"images must be (views, U, V), one for each view of the geometry ({len(geometry['views'])}) or for each "
            f"index of it; got shape {tuple(images.shape)} for views {chosen[:5]}"
        )
    du, dv = np.broadcast_to(np.asarray(geometry["detector_spacing"], dtype=np.float64), 2).tolist()
    columns, rows = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) for n in images.shape[1:])
    profiles, heights = [], []
    for image, index in zip(images.detach().as_subclass(torch.Tensor).cpu().double(), chosen, strict=True):
        integrals = geometry["offset"][index] + geometry["scale"][index] * image
        weights, height = _weights(geometry, geometry["views"][index], columns * du, rows * dv)
        profiles.append((integrals * weights).sum(0) * du)
        heights.append(height)
    if max(float((height - heights[0]).abs().max()) for height in heights) > _SAME_HEIGHT * dv:
        raise ValueError(
            f"rows of the views of {geometry.get('volume', 'this volume')!r} do not lie at one height along the axis: "
            "mass profiles need views of one rotation"
        )
    return torch.stack(profiles)


def _weights(
    geometry: Mapping[str, Any], view: Mapping[str, Any], u: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight of every pixel, (U, V), and height of every row along the axis, (V,)."""
    center, u_axis, v_axis = (
        torch.tensor(view[key], dtype=torch.float64) for key in ("detector_center", "u_axis", "v_axis")
    )
    along = float(center @ v_axis)
    if geometry["beam"] == "parallel":
        return torch.ones(len(u), len(v), dtype=torch.float64), along + v
    source = torch.tensor(view["source"], dtype=torch.float64)
    distance = float(geometry["source_to_detector"])
    shrunk = float(geometry["source_to_isocenter"]) / distance
    # Rays are counted from the foot of the source on the detector.
    u, v = u + float((center - source) @ u_axis), v + float((center - source) @ v_axis)
    in_plane = distance**2 + v.square()
    fan = in_plane / (in_plane + u[:, None].square())
    tilt = distance / in_plane.sqrt()
    return shrunk * tilt * fan, float(source @ v_axis) + shrunk * v

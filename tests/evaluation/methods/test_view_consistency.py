"""Mass profiles of views whose volume is known."""

from __future__ import annotations

import math

import pytest
import torch

from monai_segdiff.evaluation import mass_profiles, view_consistency

U, V, SPACING = 128, 48, 1.5
SID, SDD = 1000.0, 1500.0
# Gaussian blobs: center in mm (RAS), standard deviations across and along the axis, attenuation.
BLOBS = [
    ((12.0, -9.0, -14.0), 9.0, 6.0, 0.02),
    ((-15.0, 6.0, 10.0), 5.0, 7.0, 0.05),
    ((0.0, 14.0, 2.0), 12.0, 5.0, 0.01),
]


def geometry(angles: list[float], beam: str, sid: float = SID, sdd: float = SDD) -> dict:
    """As `geometry/<volume>.json` has it; the axis is S, the isocenter the origin."""
    views = []
    for angle in angles:
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        views.append(
            {
                "angle": angle,
                "source": [sid * sine, -sid * cosine, 0.0],
                "detector_center": [-(sdd - sid) * sine, (sdd - sid) * cosine, 0.0],
                "u_axis": [cosine, sine, 0.0],
                "v_axis": [0.0, 0.0, 1.0],
            }
        )
    return {
        "volume": "blobs",
        "beam": beam,
        "source_to_isocenter": sid,
        "source_to_detector": sdd,
        "detector_spacing": [SPACING, SPACING],
        "views": views,
        "offset": [0.1 * i for i in range(len(angles))],
        "scale": [2.0 + i for i in range(len(angles))],
    }


def project(geometry: dict, blobs=BLOBS) -> torch.Tensor:
    """Line integrals of Gaussian blobs in closed form, then each view's affine map to image intensities."""
    u, v = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * SPACING for n in (U, V))
    images = []
    for view, offset, scale in zip(geometry["views"], geometry["offset"], geometry["scale"], strict=True):
        center, u_axis, v_axis, source = (
            torch.tensor(view[key], dtype=torch.float64) for key in ("detector_center", "u_axis", "v_axis", "source")
        )
        points = center + u[:, None, None] * u_axis + v[None, :, None] * v_axis
        if geometry["beam"] == "parallel":
            along = (center - source) / (center - source).norm()
            starts, directions = points, along.expand_as(points)
        else:
            starts, directions = source.expand_as(points), points - source
            directions = directions / directions.norm(dim=-1, keepdim=True)
        total = torch.zeros(U, V, dtype=torch.float64)
        for position, across, length, attenuation in blobs:
            scaled = 1 / torch.tensor([across, across, length], dtype=torch.float64)
            a, b = (starts - torch.tensor(position, dtype=torch.float64)) * scaled, directions * scaled
            aa, ab, bb = (a * a).sum(-1), (a * b).sum(-1), (b * b).sum(-1)
            total += attenuation * torch.sqrt(2 * math.pi / bb) * torch.exp(-(aa - ab**2 / bb) / 2)
        images.append((total - offset) / scale)
    return torch.stack(images)


def exact_profile(blobs=BLOBS) -> torch.Tensor:
    """Mass per mm of height, at the rows of a parallel beam."""
    v = (torch.arange(V, dtype=torch.float64) - (V - 1) / 2) * SPACING
    return sum(
        attenuation * 2 * math.pi * across**2 * torch.exp(-(((v - position[2]) / length) ** 2) / 2)
        for position, across, length, attenuation in blobs
    )


ANGLES = [float(angle) for angle in range(0, 360, 30)]


def test_views_of_a_parallel_beam_show_one_and_the_true_profile():
    how = geometry(ANGLES, "parallel")
    found = view_consistency(project(how), how)
    assert found.mean < 1e-9
    torch.testing.assert_close(found.profiles, exact_profile().expand(len(ANGLES), -1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("error", [0.01, 0.1, -0.2])
def test_an_error_of_one_view_s_scale_is_found_as_large_as_it_is(error):
    how = geometry(ANGLES, "parallel")
    images = project(how)
    images[4] = images[4] * (1 + error) + error * how["offset"][4] / how["scale"][4]  # line integrals times 1 + error
    found = view_consistency(images, how)
    n = len(ANGLES)
    assert found.deviations[4].item() == pytest.approx(abs(error), rel=1e-6)
    others = torch.cat([found.deviations[:4], found.deviations[5:]])
    expected = abs(error) / (n - 1) / (1 + error / (n - 1))
    torch.testing.assert_close(others, torch.full_like(others, expected), rtol=1e-6, atol=0)
    assert found.mean == pytest.approx((abs(error) + (n - 1) * expected) / n, rel=1e-6)


def test_some_views_are_compared_by_their_own_entries():
    how = geometry(ANGLES, "parallel")
    assert view_consistency(project(how)[[7, 2, 9]], how, [7, 2, 9]).mean < 1e-9
    assert view_consistency(project(how)[[7, 2, 9]], how, [2, 7, 9]).mean > 0.1  # another view's scale


def test_a_thin_object_on_the_axis_has_its_profile_in_a_cone_beam_too():
    """On the axis distances are R, and all planes meet: nothing remains uncorrected."""
    blobs = [((0.0, 0.0, 8.0), 2.0, 6.0, 0.05), ((0.0, 0.0, -16.0), 2.5, 5.0, 0.03)]
    how = geometry(ANGLES, "cone", sid=400.0, sdd=600.0)
    found = view_consistency(project(how, blobs), how)
    v = (torch.arange(V, dtype=torch.float64) - (V - 1) / 2) * SPACING * 400 / 600
    true = sum(m * 2 * math.pi * s**2 * torch.exp(-(((v - p[2]) / h) ** 2) / 2) for p, s, h, m in blobs)
    assert found.mean < 1e-6
    assert float((found.profiles - true).abs().max() / true.max()) < 1e-3


def test_what_a_cone_beam_leaves_falls_with_the_distance_of_the_source_and_cancels_between_opposite_views():
    left = []
    for sid in (1000.0, 2000.0, 4000.0):
        how = geometry(ANGLES, "cone", sid=sid, sdd=1.5 * sid)
        found = view_consistency(project(how), how)
        left.append(found.mean)
        opposite = (found.profiles[:6] + found.profiles[6:]) / 2
        spread = (opposite - opposite.mean(0)).square().mean().sqrt() / opposite.square().mean().sqrt()
        assert spread < 0.1 * found.mean
    assert left[0] < 0.02
    assert left[1] == pytest.approx(left[0] / 2, rel=0.05)
    assert left[2] == pytest.approx(left[0] / 4, rel=0.05)


def test_without_the_corrections_a_cone_beam_would_leave_more():
    """A wide object far from the mid-plane: rays at the detector's rim are longer per pixel."""
    blobs = [((0.0, 0.0, 0.0), 25.0, 10.0, 0.01)]
    how = geometry([0.0, 90.0], "cone", sid=200.0, sdd=300.0)
    profile = mass_profiles(project(how, blobs), how)[0]
    naive = mass_profiles(project(how, blobs), {**how, "beam": "parallel"})[0] * 2 / 3
    v = (torch.arange(V, dtype=torch.float64) - (V - 1) / 2) * SPACING * 2 / 3
    true = 0.01 * 2 * math.pi * 25.0**2 * torch.exp(-((v / 10.0) ** 2) / 2)
    assert abs(float(profile.sum() / true.sum()) - 1) < abs(float(naive.sum() / true.sum()) - 1) / 2


def test_a_view_that_is_not_finite_spoils_no_other():
    how = geometry(ANGLES, "parallel")
    images = project(how)
    images[3, 5, 5] = torch.nan
    found = view_consistency(images, how)
    assert torch.isnan(found.deviations).nonzero().flatten().tolist() == [3]
    assert found.mean < 1e-9


def test_what_does_not_fit_is_refused():
    how = geometry(ANGLES, "parallel")
    images = project(how)
    with pytest.raises(ValueError, match="at least two"):
        view_consistency(images[:1], how, [0])
    with pytest.raises(ValueError, match=r"one for each view of the geometry \(12\)"):
        view_consistency(images[:3], how)
    how["views"][2]["detector_center"] = [0.0, 500.0, 3.0]
    with pytest.raises(ValueError, match="'blobs' do not lie at one height"):
        view_consistency(images, how)

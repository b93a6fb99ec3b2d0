from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.transforms import ProjectDRR
from monai_segdiff.transforms.drr.attenuation import (
    SPECTRA,
    add_photon_noise,
    attenuation,
    basis_volumes,
    checked_spectrum,
    mu_of_bone,
    mu_of_water,
    polychromatic,
)


def test_attenuation_is_that_of_the_tables() -> None:
    assert mu_of_water(60) == pytest.approx(0.02059)
    assert mu_of_water(40) == pytest.approx(0.02683)
    assert mu_of_bone(60) == pytest.approx(0.3148 * 1.92 / 10)
    # Between entries: XCOM gives 0.1929 cm2/g for water at 70 keV.
    assert mu_of_water(70) == pytest.approx(0.01929, rel=0.01)
    for kev in (9.9, 201):
        with pytest.raises(ValueError, match="10 to 200 keV"):
            mu_of_water(kev)


def test_hounsfield_units_become_attenuation_by_their_definition() -> None:
    hu = torch.tensor([-1024.0, -1000.0, -500.0, 0.0, 1000.0])
    torch.testing.assert_close(attenuation(hu, 60), 0.02059 * torch.tensor([0.0, 0.0, 0.5, 1.0, 2.0]))


def test_water_and_bone_together_keep_the_attenuation_that_the_scanner_saw() -> None:
    hu = torch.linspace(-1200, 4000, 500).reshape(1, 500, 1, 1)
    water, bone = basis_volumes(hu)
    assert min(water.min(), bone.min()) >= 0
    torch.testing.assert_close(water * mu_of_water(70) + bone * mu_of_bone(70), attenuation(hu, 70)[0])
    assert bone[hu[0] <= 0].max() == 0
    cortical = 1000 * (mu_of_bone(70) / mu_of_water(70) - 1)
    assert 1500 < cortical < 1700
    torch.testing.assert_close(
        basis_volumes(torch.full((1, 1, 1, 1), cortical)).flatten(), torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0
    )


def test_a_spectrum_of_one_line_attenuates_as_that_line_and_weights_have_no_scale() -> None:
    water, bone = torch.rand(2, 4, 4) * 100
    found = polychromatic(water, bone, checked_spectrum([(60, 0.3)]))
    torch.testing.assert_close(found, mu_of_water(60) * water + mu_of_bone(60) * bone)
    one, ten = (polychromatic(water, bone, checked_spectrum([(40, s), (80, 2 * s)])) for s in (1, 10))
    torch.testing.assert_close(one, ten)


def test_a_beam_hardens_on_its_way() -> None:
    depths = torch.tensor([0.01, 50.0, 100.0, 200.0], dtype=torch.float64)
    spectrum = checked_spectrum("70kVp")
    per_mm = polychromatic(depths, torch.zeros_like(depths), spectrum) / depths
    assert torch.all(per_mm.diff() < 0)
    thin = sum(weight * mu_of_water(kev) for kev, weight in spectrum)
    assert float(per_mm[0]) == pytest.approx(thin, rel=1e-3)
    assert float(per_mm[-1]) > mu_of_water(69)
    # By hand: half of the photons at 40 and half at 80 keV behind 100 mm of water and 10 mm of bone.
    by_hand = -np.log(0.5 * np.exp(-2.683 - 10 * 0.12778) + 0.5 * np.exp(-1.837 - 10 * 0.0427968))
    two = polychromatic(torch.tensor(100.0), torch.tensor(10.0), checked_spectrum([(40, 1), (80, 1)]))
    assert float(two) == pytest.approx(by_hand, rel=1e-4)


def test_the_preset_is_a_filtered_tube_at_70_kv() -> None:
    kev, weight = np.array(SPECTRA["70kVp"]).T
    assert kev[0] == 10
    assert kev[-1] == 69
    mean = (kev * weight).sum() / weight.sum()
    assert 40 < mean < 50
    assert weight[kev < 20].sum() < 0.01 * weight.sum()


def test_photons_scatter_the_readings_as_poisson_counts_do() -> None:
    true = torch.full((1, 300, 300), 2.0)
    noisy = add_photon_noise(true, 1e4, 3, [0.0])
    expected = np.sqrt(np.exp(2.0) / 1e4)
    assert float(noisy.std()) == pytest.approx(expected, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(2.0 + expected**2 / 2, abs=4 * expected / 300)
    # A pixel that no photon reaches reads as one photon.
    assert float(add_photon_noise(torch.full((1, 2, 2), 50.0), 1e4, 0, [0.0]).max()) == pytest.approx(np.log(1e4))


def test_noise_belongs_to_seed_and_angle(limb: Callable[..., MetaTensor]) -> None:
    options = {"detector_shape": (32, 24), "photons": 1e4, "normalize": None}
    volume = limb()
    both = ProjectDRR((0, 40), **options)(volume)
    assert torch.equal(ProjectDRR((0, 40), **options)(volume), both)
    alone = ProjectDRR((40,), **options, detector_spacing=both.meta["drr"]["detector_spacing"])(volume)
    assert torch.equal(alone[0], both[1])
    other = ProjectDRR((0, 40), **options, seed=1)(volume)
    clean = ProjectDRR((0, 40), **{**options, "photons": None})(volume)
    noise, other_noise = (both - clean).flatten(), (other - clean).flatten()
    assert noise.std() > 0.01
    assert abs(float(torch.corrcoef(torch.stack([noise, other_noise]))[0, 1])) < 0.1
    first, second = (both - clean).flatten(1)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.15
    assert both.meta["drr"]["photons"] == 1e4
    assert both.meta["drr"]["seed"] == 0


def test_bone_stands_out_more_in_a_soft_spectrum(limb: Callable[..., MetaTensor]) -> None:
    options = {"angles": (0,), "detector_shape": (64, 24), "normalize": None}

    def contrast(**physics: object) -> float:
        row = ProjectDRR(**options, **physics)(limb())[0, :, 12]
        u = (torch.arange(64) - 31.5) * float(row.affine[0, 0])
        bone, tissue = row[(u - 18).abs() < 5].mean(), row[(u + 30).abs() < 10].mean()
        return float(bone / tissue)

    soft, hard = contrast(spectrum=[(35, 1)]), contrast(spectrum=[(100, 1)])
    assert soft > contrast(spectrum="70kVp") > hard > 1


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        ("90kVp", "unknown spectrum '90kVp': choose 70kVp"),
        ([], "weights of a spectrum must be finite"),
        ([(60, -1), (70, 2)], "at least 0"),
        ([(60, 0)], "not all 0"),
        ([(60, float("nan"))], "finite"),
        ([(5, 1)], "10 to 200 keV"),
        ([60, 70], r"list of \(keV, weight\) pairs"),
    ],
)
def test_a_bad_spectrum_is_refused(spectrum: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectDRR(spectrum=spectrum)

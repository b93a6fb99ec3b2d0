"""From HU to attenuation, from line integrals to what a detector reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from monai_segdiff.diffusion import mix_seed

__all__ = [
    "SPECTRA",
    "add_photon_noise",
    "attenuation",
    "basis_volumes",
    "checked_spectrum",
    "mu_of_bone",
    "mu_of_water",
    "polychromatic",
]

# Mass attenuation with coherent scattering in cm2/g: NIST, J. H. Hubbell and S. M. Seltzer, "Tables of X-Ray Mass
# Attenuation Coefficients", NISTIR 5632 (doi:10.18434/T4D01F): water, cortical bone (ICRU-44), aluminum.
_KEV = (10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200)
_WATER = (5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370)
_BONE = (28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480, 0.1309)
_ALUMINUM = (26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378, 0.1223)
_BONE_DENSITY, _ALUMINUM_DENSITY = 1.920, 2.699  # g/cm3

_CT_KEV = 70.0  # effective energy of a CT scanner at 120 kV, at which HU are read

Spectrum: TypeAlias = tuple[tuple[float, float], ...]


def _coefficient(table: Sequence[float], kev: float, density: float = 1.0) -> float:
    """Linear attenuation per mm, interpolated between logarithms as no absorption edge lies within the table."""
    if not _KEV[0] <= kev <= _KEV[-1]:
        raise ValueError(f"{kev} keV is outside of the tables of attenuation, {_KEV[0]} to {_KEV[-1]} keV.")
    return 0.1 * density * float(np.exp(np.interp(math.log(kev), np.log(_KEV), np.log(table))))


def mu_of_water(kev: float) -> float:
    """Attenuation of water per mm at an energy from 10 to 200 keV."""
    return _coefficient(_WATER, kev)


def mu_of_bone(kev: float) -> float:
    """Attenuation of cortical bone of 1.92 g/cm3 per mm at an energy from 10 to 200 keV."""
    return _coefficient(_BONE, kev, _BONE_DENSITY)


def _kramers(kilovolts: int, aluminum: float) -> Spectrum:
    """Bremsstrahlung of a tube by Kramers' law behind a filter in mm, as an energy-integrating detector weighs it."""
    energies = range(_KEV[0], kilovolts)
    filtered = [
        (kilovolts - kev) / kev * math.exp(-aluminum * _coefficient(_ALUMINUM, kev, _ALUMINUM_DENSITY))
        for kev in energies
    ]
    return tuple((float(kev), kev * number) for kev, number in zip(energies, filtered, strict=True))


SPECTRA = {"70kVp": _kramers(70, aluminum=3.0)}


def checked_spectrum(spectrum: str | Sequence[tuple[float, float]]) -> Spectrum:
    """A spectrum by name or as given, its weights adding up to 1.

    Raises:
        ValueError: for an unknown name, no lines, energies outside of 10..200 keV, or weights that are negative or not
            finite or all 0.
    """
    if isinstance(spectrum, str):
        if spectrum not in SPECTRA:
            raise ValueError(
                f"unknown spectrum '{spectrum}': choose {', '.join(SPECTRA)}, or give (keV, weight) pairs."
            )
        spectrum = SPECTRA[spectrum]
    try:
        lines = [(float(kev), float(weight)) for kev, weight in spectrum]
    except (TypeError, ValueError) as error:
        raise ValueError(f"spectrum must be a list of (keV, weight) pairs, got {spectrum!r}.") from error
    total = sum(weight for _, weight in lines)
    if not all(weight >= 0 for _, weight in lines) or not 0 < total < math.inf:
        raise ValueError("the weights of a spectrum must be finite, at least 0, and not all 0.")
    for kev, _ in lines:
        mu_of_water(kev)
    return tuple((kev, weight / total) for kev, weight in lines)


def attenuation(hu: torch.Tensor, kev: float) -> torch.Tensor:
    """Attenuation per mm by the definition of HU, mu_water(E) (1 + HU / 1000), at least 0."""
    return (hu * (mu_of_water(kev) / 1000)).add_(mu_of_water(kev)).clamp_(min=0)


def basis_volumes(hu: torch.Tensor) -> torch.Tensor:
    """Share of every voxel that is water and that is cortical bone.

    Up to water's attenuation a voxel is water of lower density, from there to cortical bone's a mixture by volume, and
    above it denser bone; attenuation at the energy of the CT scanner is kept in all of them.

    Args:
        hu: (1, X, Y, Z).

    Returns:
        (2, X, Y, Z): water, bone.
    """
    relative = (1 + hu / 1000).clamp_(min=0)
    bone_to_water = mu_of_bone(_CT_KEV) / mu_of_water(_CT_KEV)
    bone = ((relative - 1) / (bone_to_water - 1)).clamp_(min=0)
    bone = torch.where(relative > bone_to_water, relative / bone_to_water, bone)
    return torch.cat([(relative - bone * bone_to_water).clamp_(min=0), bone])


def polychromatic(water: torch.Tensor, bone: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """What a detector reads behind two materials: -ln of the transmitted share of a spectrum.

    Args:
        water: mm of water on every ray.
        bone: mm of cortical bone on every ray, of the same shape.
        spectrum: as from :func:`checked_spectrum`.
    """
    transmitted = torch.full_like(water, -math.inf)
    for kev, weight in spectrum:
        if weight > 0:
            line = math.log(weight) - mu_of_water(kev) * water - mu_of_bone(kev) * bone
            transmitted = torch.logaddexp(transmitted, line)
    return -transmitted


def add_photon_noise(line_integrals: torch.Tensor, photons: float, seed: int, angles: Sequence[float]) -> torch.Tensor:
    """Replace every line integral by what a Poisson number of photons says.

    A view's noise depends on the seed and its angle alone, not on the views beside it, the device or other draws.

    Args:
        line_integrals: (views, U, V).
        photons: mean number of photons in a pixel without an object.
        seed: seed.
        angles: degrees of every view.
    """
    noisy = []
    for view, angle in zip(line_integrals.cpu().double(), angles, strict=True):
        generator = torch.Generator().manual_seed(mix_seed(seed, round(angle % 360 * 1e6)))
        counted = torch.poisson(photons * torch.exp(-view), generator).clamp_(min=1)
        noisy.append(-torch.log(counted / photons))
    return torch.stack(noisy).to(line_integrals)

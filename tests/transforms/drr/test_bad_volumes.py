"""Volumes and options that would give wrong radiographs are refused, with the file's name and a remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.transforms import ProjectDRR, ProjectDRRd

Limb = Callable[..., MetaTensor]


@pytest.fixture
def projector() -> ProjectDRR:
    return ProjectDRR((0, 60), (32, 24))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"angles": ()}, "angles is empty"),
        ({"angles": (0, float("nan"))}, "angles must be finite"),
        ({"detector_shape": (0, 5)}, r"detector_shape \(--size\) must be one or two numbers above 0"),
        ({"detector_shape": 5.5}, "detector_shape must be whole numbers"),
        ({"detector_spacing": -1.0}, r"detector_spacing \(--detector-spacing\) must be one or two numbers above 0"),
        (
            {"source_to_detector": 900.0},
            r"source_to_isocenter \(--source-to-isocenter\), 1000 mm, must be above 0 and below",
        ),
        ({"source_to_isocenter": 0.0}, "must be above 0"),
        ({"axis": "I"}, "unknown axis 'I': choose R, A or S"),
        ({"axis": (0, 0, 0)}, "not all 0"),
        ({"axis": (0, 1)}, "vector of three numbers"),
        ({"isocenter": (0, float("inf"), 0)}, "isocenter must be three finite numbers"),
        ({"beam": "fan"}, "unknown beam 'fan': choose cone or parallel"),
        ({"energy": 500.0}, "500.0 keV is outside of the tables"),
        ({"photons": 0}, r"photons \(--photons\) must be at least 1"),
        ({"normalize": "image"}, "unknown normalize 'image': choose volume, view or None"),
        ({"backend": "cuda"}, "unknown backend 'cuda': choose one of torch, rtk"),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectDRR(**options)


def test_a_volume_without_position_in_space_is_refused(limb: Limb, projector: ProjectDRR) -> None:
    volume = limb()
    for plain in (volume.as_tensor(), volume.numpy()):
        with pytest.raises(ValueError, match=r"no usable affine: got a plain .*read the volume with LoadImage"):
            projector(plain)
    for spoiled in (torch.diag(torch.tensor([1.0, 0.0, 1.0, 1.0])), torch.full((4, 4), float("nan"))):
        with pytest.raises(ValueError, match=r"/scans/leg.nii.gz: no usable affine, got \[\["):
            projector(MetaTensor(volume.as_tensor(), affine=spoiled, meta={"filename_or_obj": "/scans/leg.nii.gz"}))


def _changed(volume: MetaTensor, change: Callable[[torch.Tensor], torch.Tensor]) -> MetaTensor:
    return MetaTensor(change(volume.as_tensor()), affine=volume.affine, meta=volume.meta)


def _with_nan(hu: torch.Tensor) -> torch.Tensor:
    hu = hu.clone()
    hu[0, 3, 3, 3] = float("nan")
    return hu


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with_nan, "NaN or infinite voxels: replace them"),
        (lambda hu: (hu.clamp(-1000, 275) + 1000) / 5, "values from 0 to 255 are no Hounsfield units"),
        (lambda hu: hu - hu.min(), "are no Hounsfield units"),
        (lambda hu: hu / 1000, "are no Hounsfield units"),
        (lambda hu: hu.clamp(max=-600), "air only: no voxel is above -500 HU, the highest is -600"),
        (lambda hu: hu[0], r"expected a volume of shape \(1, X, Y, Z\), got \(40, 40, 40\): use EnsureChannelFirst"),
        (lambda hu: hu.repeat(2, 1, 1, 1), r"got \(2, 40, 40, 40\)"),
        (lambda hu: hu[..., 0], r"got \(1, 40, 40\)"),
    ],
)
def test_what_is_no_ct_volume_is_refused(
    limb: Limb, projector: ProjectDRR, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=f"/scans/leg.nii.gz: .*{message}|/scans/leg.nii.gz: {message}"):
        projector(_changed(limb(), change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_to_isocenter": 60.0}, "the source, 60 mm from the isocenter, would run through the volume"),
        (
            {"source_to_isocenter": 60.0, "detector_spacing": 2.0},
            "behind the source at 0 degrees: raise source_to_isocenter",
        ),
        ({"source_to_detector": 1050.0}, "behind the detector at 0 degrees: raise source_to_detector"),
        (
            {"isocenter": (400, 0, 0), "detector_spacing": 1.0},
            "misses the object at 0 degrees: enlarge detector_spacing",
        ),
        ({"isocenter": (0, 0, 300)}, "misses the object at 0 degrees"),
    ],
)
def test_a_beam_that_does_not_fit_the_volume_is_refused(limb: Limb, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"/scans/leg.nii.gz: .*{message}"):
        ProjectDRR((0, 60), (32, 24), **options)(limb())


def test_tissue_cut_within_the_beam_is_refused_unless_that_is_allowed(limb: Limb) -> None:
    volume = limb()
    tall = {"angles": (0, 60), "detector_shape": (32, 64), "detector_spacing": 5.0}
    with pytest.raises(
        ValueError, match=r"/scans/leg.nii.gz: the volume ends in tissue at its inferior, superior side"
    ):
        ProjectDRR(**tall)(volume)
    with pytest.warns(UserWarning, match=r"leg.nii.gz: the volume ends in tissue .* too small"):
        images = ProjectDRR(**tall, allow_truncation=True)(volume)
    assert images.meta["drr"]["truncated"] is True
    assert torch.isfinite(images).all()
    windowed = MetaTensor(volume.as_tensor().clamp(-200, 300), affine=volume.affine)
    with pytest.raises(ValueError, match=r"no voxel is air: is it windowed\?"):
        ProjectDRR((0, 60), (32, 24))(windowed)
    # Cropped through the leg: its right side is missing.
    cropped = MetaTensor(volume.as_tensor()[:, :25], affine=volume.affine)
    with pytest.raises(ValueError, match="the volume ends in tissue at its right side"):
        ProjectDRR((0, 60), (32, 24))(cropped)


def test_a_detector_that_cuts_the_sides_warns_and_one_that_does_not_is_silent(limb: Limb) -> None:
    with pytest.warns(UserWarning, match="cuts the object's sides in 2 of 2 views, first at 0 degrees"):
        ProjectDRR((0, 60), (24, 24), 3.0)(limb())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ProjectDRR((0, 60), (32, 24))(limb())


def test_the_dictionary_form_names_the_file_too(limb: Limb) -> None:
    with pytest.raises(ValueError, match=r"/scans/leg.nii.gz: air only"):
        ProjectDRRd("image", (0,), 16)({"image": _changed(limb(), lambda hu: -1000.0 - 30 * (hu > 0))})


def test_line_integrals_of_other_values_need_an_affine_alone(projector: ProjectDRR) -> None:
    with pytest.raises(ValueError, match="no usable affine"):
        projector.project(torch.ones(1, 4, 4, 4), np.zeros((4, 4)))
    assert projector.project(np.ones((1, 4, 4, 4), dtype=np.uint8), np.eye(4)).shape == (2, 32, 24)

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.data import read_dicom_seg, read_dicom_series, write_dicom_seg, write_dicom_series
from monai_segdiff.generation import load_generator
from monai_segdiff.generation.placement import fit_labels
from monai_segdiff.integrations.deploy.options import GenerationOptions
from monai_segdiff.integrations.deploy.synthesis import read_labels, synthesize, told_covariates

pytest.importorskip("highdicom")
AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 5.0, -10], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def generator(liver_bundle: Any) -> Any:
    return load_generator(liver_bundle.root, overrides={"num_steps": 3})


def seg(folder: Path, classes: dict[str, int]) -> Path:
    """A SEG object of 40x32x10 voxels: the first class around the second, nothing in the outermost slices."""
    labels = np.zeros((40, 32, 10), dtype=np.uint8)
    labels[8:30, 6:24, 2:8] = 1
    if len(classes) > 1:
        labels[14:20, 10:16, 3:6] = 2
    series = write_dicom_series(np.zeros(labels.shape), AFFINE, folder / "ct", "CT")
    return write_dicom_seg(labels, AFFINE, classes, series, folder / "seg.dcm")


def test_an_image_lies_on_the_segmentation(tmp_path: Path, generator: Any) -> None:
    file = seg(tmp_path, {"Liver": 1})
    labels, classes = read_labels(file, generator, GenerationOptions())
    assert classes == {"liver": 1}
    assert torch.equal(labels.as_tensor(), read_dicom_seg(file)[0].as_tensor())
    image = synthesize(generator, labels, progress=False)
    assert image.shape == labels.shape[1:] == (40, 32, 6)
    assert image.dtype == np.float32
    assert -200 <= image.min() < image.max() <= 300
    assert len(np.unique(image)) > 256  # not cast to whole bytes
    assert not np.array_equal(image[..., 2], image[..., 5])


@pytest.mark.parametrize("end", [0, 1])
def test_interpolation_does_not_leave_the_range_of_intensities(
    generator: Any, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    bound = generator.intensity_range[end]
    size = tuple(generator.image_size)
    monkeypatch.setattr(generator, "sample", lambda conditions, _: torch.full((len(conditions), 1, *size), bound))
    labels = MetaTensor(torch.zeros(1, 37, 29, 2, dtype=torch.uint8), affine=torch.as_tensor(AFFINE))
    fitted = fit_labels(labels, size)
    mean = fitted.onto_source(np.full(fitted.labels.shape, bound, dtype=np.float32), fill=bound)
    assert (np.abs(mean) > abs(bound)).any()  # weights that were rounded sum to more than one
    image = synthesize(generator, labels, progress=False)
    assert np.abs(image).max() == abs(bound)
    np.testing.assert_allclose(image, bound, rtol=1e-6)


def test_slices_do_not_depend_on_those_beside_them(tmp_path: Path, generator: Any) -> None:
    labels, _ = read_labels(seg(tmp_path, {"liver": 1}), generator, GenerationOptions())
    whole = synthesize(generator, labels, progress=False)
    few = synthesize(generator, labels[..., :3], progress=False)
    np.testing.assert_allclose(few, whole[..., :3], atol=0.05)  # HU


def test_seed_decides(tmp_path: Path, liver_bundle: Any, generator: Any) -> None:
    labels, _ = read_labels(seg(tmp_path, {"liver": 1}), generator, GenerationOptions())
    image = synthesize(generator, labels, progress=False)
    for seed, same in ((0, True), (1, False)):
        other = load_generator(liver_bundle.root, overrides={"num_steps": 3, "seed": seed})
        assert np.array_equal(synthesize(other, labels, progress=False), image) is same


def test_a_volume_bundle(tmp_path: Path, liver_bundle_3d: Any) -> None:
    volume = load_generator(liver_bundle_3d.root, overrides={"num_steps": 2})
    labels, _ = read_labels(seg(tmp_path, {"liver": 1}), volume, GenerationOptions())
    image = synthesize(volume, labels, progress=False)
    assert image.shape == (40, 32, 6)
    assert image.std() > 0


def test_the_bundle_sees_the_same_way_up_as_in_training(tmp_path: Path, generator: Any) -> None:
    """A label map and its mirrored storage, with the affine that says so, give the same image in space."""
    labels, _ = read_labels(seg(tmp_path, {"liver": 1}), generator, GenerationOptions())
    turned = MetaTensor(labels.as_tensor().flip(1), affine=labels.affine.clone())
    turned.affine[:3, 3] += (labels.shape[1] - 1) * labels.affine[:3, 0]
    turned.affine[:3, 0] *= -1
    image, other = (synthesize(generator, one, progress=False) for one in (labels, turned))
    np.testing.assert_allclose(other[::-1], image, atol=0.1)


def test_classes_that_do_not_match(tmp_path: Path, generator: Any) -> None:
    file = seg(tmp_path, {"liver": 1, "tumor": 2})
    with pytest.raises(ValueError, match=r"seg\.dcm has segments of unknown class: 'tumor'"):
        read_labels(file, generator, GenerationOptions())
    labels, _ = read_labels(file, generator, GenerationOptions(drop_others=True))
    assert labels[0, 16, 12, 2] == 0
    labels, classes = read_labels(file, generator, GenerationOptions(names={"tumor": "liver"}))
    assert labels[0, 16, 12, 2] == 1
    assert classes == {"liver": 1}


def test_classes_without_a_segment_are_unknown_rather_than_absent(
    tmp_path: Path, trained_bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(trained_bundle.root, overrides={"num_steps": 2})
    labels, classes = read_labels(seg(tmp_path, {"Liver": 1, "spleen": 2}), generator, GenerationOptions())
    assert classes == {"liver": 3, "spleen": 4}
    seen: list[torch.Tensor] = []
    sample = generator.sample
    monkeypatch.setattr(
        generator, "sample", lambda conditions, indices: (seen.append(conditions), sample(conditions, indices))[1]
    )
    partial = synthesize(generator, labels, known=list(classes), progress=False)
    number = len(generator.classes)
    flags = seen[0][:, number:].amax(dim=(2, 3)), seen[0][:, number:].amin(dim=(2, 3))
    assert torch.equal(flags[0], flags[1])
    assert flags[0].tolist() == [[-1.0, -1.0, 1.0, 1.0, -1.0, -1.0]] * 6
    assert not np.array_equal(partial, synthesize(generator, labels, progress=False))


def test_what_is_too_small_for_the_grid_is_named(generator: Any, caplog: pytest.LogCaptureFixture) -> None:
    labels = torch.zeros(1, 200, 200, 2, dtype=torch.uint8)
    labels[0, 100:103, 100:103, 1] = 1
    with caplog.at_level(logging.WARNING):
        synthesize(generator, MetaTensor(labels, affine=torch.as_tensor(AFFINE)), progress=False)
    assert "too small for the bundle's grid and missing in the image: liver" in caplog.text


@pytest.mark.data
def test_a_real_segmentation(dcmqi: Path, generator: Any) -> None:
    labels, classes = read_labels(dcmqi / "liver.dcm", generator, GenerationOptions())
    assert classes == {"liver": 1}
    image = synthesize(generator, labels, progress=False)
    assert image.shape == read_dicom_series(dcmqi / "ct-3slice").shape[1:]
    with pytest.raises(ValueError, match=r"partial_overlaps\.dcm has segments of unknown class.*'GREEN'"):
        read_labels(dcmqi / "partial_overlaps.dcm", generator, GenerationOptions())


def test_covariates_reach_the_network(aging_bundle: Any, caplog: pytest.LogCaptureFixture) -> None:
    generator = load_generator(aging_bundle.root, overrides={"num_steps": 2})
    labels = MetaTensor(torch.zeros(1, 16, 16, 1, dtype=torch.uint8), affine=torch.eye(4))
    labels[:, 4:12, 4:12] = 1
    told = told_covariates(generator, GenerationOptions(covariates={"age": 60, "sex": "F"}))
    assert told == {"age": 60.0, "sex": "F"}
    assert told_covariates(generator, GenerationOptions()) == {}
    seen = []
    real = generator.encode
    generator.encode = lambda *args: seen.append(args[2]) or real(*args)  # type: ignore[method-assign]
    image = synthesize(generator, labels, covariates=told, progress=False)
    assert seen == [told]
    assert not np.array_equal(image, synthesize(generator, labels, progress=False))


def test_covariates_are_checked_as_generate_does(
    generator: Any, aging_bundle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    aged = load_generator(aging_bundle.root)
    with pytest.raises(ValueError, match="'weight' is no covariate; known are age, sex"):
        told_covariates(aged, GenerationOptions(covariates={"weight": 1}))
    with pytest.raises(ValueError, match="was trained without covariates"):
        told_covariates(generator, GenerationOptions(covariates={"age": 60}))
    with pytest.warns(UserWarning, match="age is 120"), caplog.at_level(logging.WARNING):
        told_covariates(aged, GenerationOptions(covariates={"age": 120}))
    assert "age is 120, and the training images have" in caplog.text

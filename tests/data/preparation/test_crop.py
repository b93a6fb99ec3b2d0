from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_segdiff.data import SegmentationDataset, load_image, load_label_map, prepare_dataset
from monai_segdiff.data.preparation.crop import body_box, box_of, grid_center, with_margin

ALL: dict[str, Any] = {"fractions": (1, 0, 0), "progress": False}


def test_a_box_is_that_of_the_mask_and_stays_in_the_field_of_view() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:5, 18:] = True
    assert box_of(mask).tolist() == [[2, 5], [18, 20]]
    assert with_margin(box_of(mask), 3.0, mask.shape, (1.0, 2.0)).tolist() == [[0, 8], [16.5, 20]]
    assert box_of(np.zeros((4, 6), bool)).tolist() == [[0, 4], [0, 6]]


@pytest.mark.parametrize(
    ("box", "extent", "center"),
    [
        ([4, 6], 4, 4.5),
        ([0, 2], 6, 2.5),
        ([8, 10], 6, 6.5),
        ([0, 2], 14, 4.5 - 2),
        ([8, 10], 14, 4.5 + 2),
        ([3, 5], 10, 4.5),
    ],
)
def test_a_grid_lies_in_the_field_of_view_or_covers_it(box: list[int], extent: float, center: float) -> None:
    assert grid_center(np.array([box], float), (10,), (extent,)) == [center]


def made(dataset: SegmentationDataset) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    files = [(load_image(case.image), load_label_map(case.label)) for case in dataset.splits["training"]]
    return [(np.asarray(image)[0], np.asarray(label)[0], np.asarray(image.affine)) for image, label in files]


@pytest.fixture
def pair(make_pair: Callable) -> Any:
    """20x20x4, voxels of 2 mm; a block near a corner, and at each voxel an intensity of its own."""
    label = np.zeros((20, 20, 4), np.uint8)
    label[1:5, 14:18] = 1
    image = np.arange(label.size, dtype=np.float32).reshape(label.shape)
    return make_pair("p1", label.shape, label=label, image=image), image, label


@pytest.mark.parametrize("dims", [2, 3])
def test_the_grid_is_moved_into_the_field_of_view_voxel_by_voxel(tmp_path: Path, pair: Any, dims: int) -> None:
    case, image, label = pair
    size = (8, 8, 4)[:dims]
    dataset = prepare_dataset(
        [case],
        tmp_path / "out",
        {"block": 1},
        spatial_dims=dims,
        size=size,
        spacing=(2.0, 2.0, 3.0)[:dims],
        crop="labels",
        **ALL,
    )
    assert dataset.classes == {"block": 1}
    for index, (pixels, labels, affine) in enumerate(made(dataset)):
        there = (slice(0, 8), slice(12, 20), *([index] if dims == 2 else []))  # around 3, 16 it would begin at -1
        assert np.array_equal(pixels, image[there])
        assert np.array_equal(labels, label[there])
        corner = np.asarray(load_image(case["image"]).affine) @ [0, 12, index if dims == 2 else 0, 1]
        np.testing.assert_allclose(affine[:3, 3], corner[:3])


def test_what_lies_outside_is_a_class_of_its_own_where_something_does(tmp_path: Path, pair: Any) -> None:
    case, image, _ = pair
    options = {"size": (24, 8), "spacing": 2.0, "intensity_range": (-5.0, 1600.0), "min_foreground": 0, **ALL}
    dataset = prepare_dataset([case], tmp_path / "out", {"block": 1}, crop="labels", **options)
    assert dataset.classes == {"block": 1, "outside_view": 2}
    assert dataset.parents == {}
    for index, (pixels, labels, _) in enumerate(made(dataset)):
        outside = labels == 2
        assert outside.sum() == 4 * 8  # 24 voxels where there are 20
        assert np.all(pixels[outside] == -5.0)
        rows = ~outside.any(axis=1)
        assert np.array_equal(pixels[rows], image[:, 12:20, index])
    filled = prepare_dataset([case], tmp_path / "fill", {"block": 1}, crop="labels", outside="fill", **options)
    assert filled.classes == {"block": 1}
    fitted = prepare_dataset([case], tmp_path / "fit", {"block": 1}, outside="class", **options)
    assert fitted.classes == {"block": 1, "outside_view": 2}
    plain = prepare_dataset([case], tmp_path / "plain", {"block": 1}, **options)
    for with_class, without in zip(made(fitted), made(plain), strict=True):
        assert np.array_equal(with_class[0], without[0])
        assert np.array_equal(np.where(with_class[1] == 2, 0, with_class[1]), without[1])
    assert not {"crop", "margin", "outside"} & plain.settings.keys()


def test_without_a_spacing_the_labels_and_their_margin_fill_the_picture(tmp_path: Path, pair: Any) -> None:
    case, *_ = pair
    for margin, spacing in ((0.0, 8 / 16), (2.0, 12 / 16)):
        dataset = prepare_dataset(
            [case], tmp_path / str(margin), {"block": 1}, size=16, crop="labels", margin=margin, **ALL
        )
        for _, labels, affine in made(dataset):
            np.testing.assert_allclose(np.linalg.norm(affine[:3, :2], axis=0), spacing)
            inner = round(margin / spacing)
            there = np.argwhere(labels == 1)
            np.testing.assert_allclose(there.min(0), inner, atol=1)
            np.testing.assert_allclose(there.max(0), 15 - inner, atol=1)


def test_the_body_is_found_with_and_without_a_threshold(tmp_path: Path, make_pair: Callable) -> None:
    image = np.full((40, 40, 3), -1000.0, np.float32)
    image[10:30, 4:20] = 50 + np.random.default_rng(0).normal(size=(20, 16, 3))
    label = np.zeros(image.shape, np.uint8)
    label[12:14, 6:8] = 1
    assert body_box(image)[:2].tolist() == [[10, 30], [4, 20]]
    case = make_pair("p1", image.shape, label=label, image=image)
    for options in ({}, {"body_threshold": -300.0}):
        dataset = prepare_dataset(
            [case], tmp_path / str(len(options)), {"dot": 1}, size=20, crop="body", min_foreground=0, **options, **ALL
        )
        for pixels, *_ in made(dataset):
            assert (pixels[:, 2:18] > -100).mean() > 0.95
            assert "outside_view" not in dataset.classes


def test_a_case_with_nothing_labeled_keeps_its_field_of_view(tmp_path: Path, make_pair: Callable) -> None:
    label = np.zeros((12, 12, 2), np.uint8)
    case = make_pair("p1", label.shape, label=label)
    whole = prepare_dataset([case], tmp_path / "a", {"block": 1}, size=12, min_foreground=0, **ALL)
    cropped = prepare_dataset([case], tmp_path / "b", {"block": 1}, size=12, min_foreground=0, crop="labels", **ALL)
    for one, other in zip(made(whole), made(cropped), strict=True):
        assert np.array_equal(one[0], other[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "head"}, r"crop \(--crop\) must be one of none, labels, body"),
        ({"outside": "air"}, r"outside \(--outside\) must be one of fill, class"),
        ({"margin": 3.0}, r"margin \(--margin\) is room around what is cropped to"),
        ({"crop": "body", "margin": float("nan")}, r"margin \(--margin\) must be from 0 to"),
        ({"workers": 0}, r"workers \(--workers\) must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, pair: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_dataset([pair[0]], tmp_path / "out", {"block": 1}, **options, **ALL)
    assert not (tmp_path / "out").exists()

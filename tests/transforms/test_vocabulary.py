"""The class vocabulary: what it accepts, what it refuses, where removed classes go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.transforms import ClassVocabulary, EncodeMask, RandClassAblation, ablate_classes

CLASSES = {"body": 1, "liver": 3, "tumor": 7, "kidneys": [4, 5]}
PARENTS = {"liver": "body", "tumor": "liver", "kidneys": "body"}


def from_file(values: torch.Tensor) -> MetaTensor:
    return MetaTensor(values, meta={"filename_or_obj": "/data/labelsTr/case_12.nii.gz"})


def test_indices_follow_the_order_of_the_classes() -> None:
    index = ClassVocabulary(CLASSES).indices(torch.tensor([0, 1, 3, 7, 4, 5]))
    assert index.tolist() == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (("body", "liver", "tumor", "kidneys"), [0, 1, 2, 3, 4]),
        (("body", "tumor"), [0, 1, 1, 3, 1]),
        (("body",), [0, 1, 1, 1, 1]),
        (("liver",), [0, 0, 2, 2, 0]),
        ((), [0, 0, 0, 0, 0]),
    ],
)
def test_removed_classes_go_to_the_nearest_class_around_that_is_kept(keep: tuple, expected: list) -> None:
    vocabulary = ClassVocabulary(CLASSES, PARENTS)
    assert vocabulary.destinations(vocabulary.kept(keep)).tolist() == expected


@pytest.mark.parametrize(
    ("classes", "parents", "message"),
    [
        ({}, None, "empty"),
        ({"liver": 0}, None, "0 is the background"),
        ({"liver": [2, 0]}, None, "0 is the background"),
        ({"liver": -1}, None, "at least 1"),
        ({"liver": []}, None, "at least 1"),
        ({"liver": 2**31 - 1}, None, "above 16777215"),
        ({"liver": 1.5}, None, "whole numbers"),
        ({"liver": "1"}, None, "whole numbers"),
        ({"background": 1}, None, "background"),
        ({"liver": 1, "spleen": 1}, None, "label id 1 is listed twice: for 'liver' and for 'spleen'"),
        ({"liver": [1, 1]}, None, "listed twice"),
        ({"liver": 1}, {"liver": "body"}, "unknown parent body"),
        ({"liver": 1}, {"tumor": "liver"}, "unknown child in parents tumor"),
        ({"a": 1}, {"a": "a"}, "cycle: a -> a"),
        ({"a": 1, "b": 2, "c": 3}, {"a": "b", "b": "c", "c": "a"}, "cycle: a -> b -> c -> a"),
    ],
)
def test_bad_classes_are_refused(classes: dict, parents: dict | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandClassAblation(classes, parents=parents)


def test_unknown_ids_are_named_with_the_file() -> None:
    label = from_file(torch.tensor([[[0, 1], [9, 200]]]))
    for transform in (EncodeMask(CLASSES), RandClassAblation(CLASSES, prob=0.0)):
        with pytest.raises(
            ValueError, match=r"unknown label ids 9, 200 in /data/labelsTr/case_12.nii.gz.*kidneys=4, 5"
        ):
            transform(label)


@pytest.mark.parametrize("label_id", [-1, 2, 8, 255, 2**40])
def test_ids_between_and_beyond_the_known_ones_are_unknown(label_id: int) -> None:
    with pytest.raises(ValueError, match=f"unknown label ids {label_id}:"):
        EncodeMask(CLASSES)(torch.tensor([[[0, label_id]]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_with_the_file(bad: float) -> None:
    with pytest.raises(ValueError, match=r"NaN or infinite values in /data/labelsTr/case_12\.nii\.gz"):
        EncodeMask(CLASSES)(from_file(torch.tensor([[[0.0, bad]]])))


def test_fractional_values_are_refused_with_file_and_remedy() -> None:
    with pytest.raises(ValueError, match=r"case_12.nii.gz are not whole numbers \(0.5, 2.25\).*nearest"):
        EncodeMask(CLASSES)(from_file(torch.tensor([[[0.5, 2.25, 3.0]]])))


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float32, np.float64]
)
def test_every_dtype_of_whole_numbers_reads_the_same(dtype: type) -> None:
    label = np.array([[[0, 1, 3], [7, 4, 5]]])
    expected = EncodeMask(CLASSES)(torch.from_numpy(label))
    assert torch.equal(EncodeMask(CLASSES)(label.astype(dtype)), expected)
    ablated = ablate_classes(label.astype(dtype), CLASSES, ("body", "tumor"), PARENTS)
    assert ablated.tolist() == [[[0, 1, 1], [7, 1, 1]]]


def test_boolean_masks_of_one_class_are_accepted() -> None:
    mask = torch.tensor([[[True, False]]])
    assert EncodeMask({"organ": 1})(mask).tolist() == [[[1.0, -1.0]], [[1.0, 1.0]]]


def test_an_id_that_the_dtype_cannot_hold_is_refused() -> None:
    label = torch.tensor([[[2]]], dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"dtype torch\.uint8, which cannot hold label id 300"):
        ablate_classes(label, {"body": 300, "liver": 2}, ["body"], {"liver": "body"})


def test_names_that_are_no_class_are_refused() -> None:
    label = torch.zeros(1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="unknown class spleen: the classes are body, liver"):
        ablate_classes(label, CLASSES, ["spleen"])
    with pytest.raises(ValueError, match="sequence of class names"):
        ablate_classes(label, CLASSES, "liver")


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (5,)])
def test_label_maps_without_one_channel_in_front_are_refused(shape: tuple) -> None:
    for transform in (EncodeMask(CLASSES), RandClassAblation(CLASSES)):
        with pytest.raises(ValueError, match=r"expected a label map of shape \(1, \*spatial\).*EnsureChannelFirst"):
            transform(torch.zeros(shape, dtype=torch.uint8))

"""Segments as classes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from monai_segdiff.data.dicom.labels import LabelMapBuilder, segment_names, vocabulary


def test_the_segments_of_a_class_replace_its_default_name():
    names = segment_names({"liver": ["LiverNet"]}, ["LiverNet", "Liver", "spleen"])
    classes = {"liver": 1, "spleen": 2}
    with pytest.raises(ValueError, match=r"f\.dcm has unknown segments 'Liver'; .*--segments.*--drop-other-labels"):
        vocabulary(["LiverNet", "Liver", "Spleen"], classes, names, False, "f.dcm")
    of, _ = vocabulary(["LiverNet", "Liver", "Spleen"], classes, names, True, "f.dcm")
    assert of == {"LiverNet": "liver", "Spleen": "spleen"}
    assert vocabulary(["Liver", "LiverNet"], None, names, True, "f.dcm") == ({"LiverNet": "liver"}, {"liver": 1})
    both = {"LiverNet": "liver", "Liver": "liver"}
    assert vocabulary(["Liver", "LiverNet"], classes, both, False, "f.dcm")[0] == both


def test_names_that_no_segment_has_are_refused():
    with pytest.raises(ValueError, match=r"no segment is named 'LiverNte', .*; the names found are 'LiverNet', 'b'"):
        segment_names({"liver": ["LiverNte"]}, ["b", "LiverNet"])
    with pytest.raises(ValueError, match="one class only"):
        segment_names({"liver": ["a"], "spleen": ["a"]}, ["a"])
    assert segment_names(None, ["a"]) == {}


MASKS = {
    "a": np.array([1, 1, 0, 0, 1], dtype=bool),
    "b": np.array([0, 1, 1, 0, 1], dtype=bool),
    "first": np.array([0, 1, 0, 1, 1], dtype=bool),
    "second": np.array([0, 1, 0, 1, 0], dtype=bool),
}


@pytest.mark.parametrize("order", list(itertools.permutations(MASKS)))
def test_precedence_does_not_depend_on_the_order_of_segments(order):
    classes = {name: index for index, name in enumerate(MASKS, start=1)}
    builder = LabelMapBuilder((5, 1, 1), classes, ["first", "second"], "f.dcm")
    for name in order:
        builder.add(name, MASKS[name].reshape(5, 1, 1))
    assert builder.finish().ravel().tolist() == [1, 3, 2, 3, 3], "a and b overlap only where `first` is kept anyway"


@pytest.mark.parametrize("order", list(itertools.permutations(["a", "b", "first"])))
def test_overlaps_that_are_not_decided_are_counted_where_they_count(order):
    builder = LabelMapBuilder((5, 1, 1), {"a": 1, "b": 2, "first": 3}, ["first"], "f.dcm")
    masks = {**MASKS, "first": np.array([0, 1, 0, 0, 0], dtype=bool)}
    for name in order:
        builder.add(name, masks[name].reshape(5, 1, 1))
    with pytest.raises(ValueError, match=r"'(a|b)' and '(a|b)' \(1 voxels\)"):
        builder.finish()

from __future__ import annotations

import pytest

from monai_segdiff.integrations.deploy.matching import class_ids, match_segments

CLASSES = ["liver", "left_kidney"]


def test_names_match_whatever_their_capitals_and_separators() -> None:
    found = match_segments(["Liver", "LEFT  kidney", "left-kidney"], CLASSES, {}, False, "seg.dcm")
    assert found == {"Liver": "liver", "LEFT  kidney": "left_kidney", "left-kidney": "left_kidney"}


def test_given_names_come_first() -> None:
    found = match_segments(["first segment", "liver"], CLASSES, {"First Segment": "liver"}, False, "seg.dcm")
    assert found == {"first segment": "liver", "liver": "liver"}


def test_unknown_segments_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"seg\.dcm.*'GREEN'.*the bundle's classes are liver, left_kidney.*names.*drop_others"
    ):
        match_segments(["Liver", "GREEN"], CLASSES, {}, False, "seg.dcm")


def test_unknown_segments_can_be_left_out_but_not_all_of_them() -> None:
    assert match_segments(["Liver", "GREEN"], CLASSES, {}, True, "seg.dcm") == {"Liver": "liver"}
    with pytest.raises(ValueError, match=r"seg\.dcm has no segment of a class of the bundle.*'GREEN'"):
        match_segments(["GREEN"], CLASSES, {}, True, "seg.dcm")


def test_names_of_no_class_are_refused() -> None:
    with pytest.raises(ValueError, match="names has unknown classes hepar"):
        match_segments(["Liver"], CLASSES, {"Liver": "hepar"}, False, "seg.dcm")


def test_a_class_of_several_ids_has_one_in_label_maps() -> None:
    assert class_ids({"liver": 3, "kidneys": [5, 6]}) == {"liver": 3, "kidneys": 5}

from __future__ import annotations

from monai_segdiff.data import Case
from monai_segdiff.data.preparation.class_counts import ClassCounts, absent_classes


def label(*ids: int) -> list[int]:
    return [0, *ids]


def case(name: str) -> Case:
    return Case(name, None, None, name)


def test_nothing_is_said_where_nothing_is_lost() -> None:
    counts = ClassCounts({"liver": 5, "kidneys": [2, 3]}, body=True)
    for name in ("a", "b"):
        counts.add_piece(name, f"{name}_slice000", label(1, 2, 3))
        counts.add_case(name, {0, 2, 5, 77})
    splits = {"training": [case("a_slice000")], "test": [case("b_slice000")]}
    assert list(counts.remarks(splits)) == []


def test_each_way_to_get_lost_is_said_by_name_and_number() -> None:
    counts = ClassCounts({"liver": 1, "tumor": 2, "duct": 3, "spleen": 4}, body=True)
    counts.add_piece("a", "a_slice000", label(2, 3))
    counts.add_piece("a", "a_slice001", label(2))
    counts.add_case("a", {0, 1, 2, 3})
    counts.add_piece("b", "b_slice000", label(2))
    counts.add_case("b", {0, 1, 2, 3})
    counts.add_case("c", {0, 2})
    splits = {"training": [case("a_slice000"), case("a_slice001")], "test": [case("b_slice000")]}
    remarks = list(counts.remarks(splits))
    why = (
        "it was in slices that are left out (--min-foreground), beyond the image (--spacing), or too thin for voxels "
        "of this size (--size, --spacing)"
    )
    assert remarks == [
        "1 of 3 cases are left out ('c'), as no slice of them has enough labeled pixels (--min-foreground)",
        "class 'body' is in nothing that was prepared: no intensity is above --body-threshold",
        f"class 'tumor' is in 3 label maps and got lost in 1 of them ('b'): {why}",
        f"class 'duct' is in 2 label maps and got lost in 2 of them ('a', 'b'): {why}",
        "class 'spleen' is in none of the 3 label maps",
        "test has 1 label maps, and none with 'tumor' (in 1 elsewhere)",
    ]


def test_classes_that_no_split_has_are_not_absent_from_one() -> None:
    assert list(absent_classes(["a", "b"], {"training": [{"a"}], "validation": [], "test": [{"a"}]})) == []

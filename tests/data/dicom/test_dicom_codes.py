from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr.codedict import codes

pytest.importorskip("highdicom")

from monai_segdiff.data.dicom import codes as dicom_codes
from monai_segdiff.data.dicom.codes import property_codes


def codes_of(name: str) -> tuple[str, str]:
    category, kind = property_codes(name)
    return category.meaning, kind.meaning


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Liver", ("Anatomical Structure", "Liver")),
        ("tumor", ("Morphologically Abnormal Structure", "Neoplasm")),
        ("liver_tumors", ("Morphologically Abnormal Structure", "Neoplasm")),
        ("Kidney cyst", ("Morphologically Abnormal Structure", "Cyst")),
        ("Masses", ("Spatial and Relational Concept", "Masses")),
        ("fgt", ("Spatial and Relational Concept", "fgt")),
    ],
)
def test_a_class_is_what_its_name_says_and_nothing_more(name, found):
    assert codes_of(name) == found


def test_codes_are_those_of_the_standard():
    categories = [getattr(codes.SCT, name) for name in cid_concepts[7150]["SCT"]]
    known = {(code.value, code.meaning) for code in categories}
    for name in ("liver", "tumor", "unheard"):
        category, _ = property_codes(name)
        assert (category.value, category.meaning) in known
    for value, meaning in dicom_codes._ABNORMAL.values():
        assert getattr(codes.SCT, meaning).value == value


def test_unknown_names_have_codes_of_their_own():
    (_, one), (_, other), (_, again) = (property_codes(name) for name in ("a", "b", "a"))
    assert one.scheme_designator == "99SEGDIFF"
    assert one.value == again.value != other.value

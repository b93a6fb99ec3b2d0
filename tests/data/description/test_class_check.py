from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.data.description.classes import check_classes, check_parents, named_ids


def test_sound_classes_come_back_with_plain_numbers() -> None:
    given = {"liver": np.int64(5), "spine": range(26, 29), "kidneys": (2, 3), "Niere links": np.array([7, 8])}
    checked = check_classes(given)  # type: ignore[arg-type]
    assert checked == {"liver": 5, "spine": [26, 27, 28], "kidneys": [2, 3], "Niere links": [7, 8]}
    assert {type(i) for ids in checked.values() for i in ([ids] if isinstance(ids, int) else ids)} == {int}
    assert len(check_classes({f"region {i}": i for i in range(1, 256)})) == 255


def test_every_id_stands_with_its_class() -> None:
    given = {"liver": 5, "kidneys": [2, 3], "spine": np.array([7, 8])}
    assert named_ids(given) == [("liver", 5), ("kidneys", 2), ("kidneys", 3), ("spine", 7), ("spine", 8)]  # type: ignore[arg-type]
    assert named_ids({}) == []


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"background": 1}, "that of label id 0"),
        ({"BackGround": 1}, "that of label id 0"),
        ({"": 1}, "no name"),
        ({"\t": 1}, "no name"),
        ({7: 1}, "no name that is text"),
        ({" liver": 1}, "begins or ends with a blank"),
        ({"liver\n": 1}, "begins or ends with a blank"),
        ({"li\x00ver": 1}, "cannot be printed"),
        ({"li\u200bver": 1}, "cannot be printed"),
        ({"Liver": 1, "liver": 2}, "'Liver' and 'liver', which differ by case or blanks only"),
        ({"left  kidney": 1, "left kidney": 2}, "differ by case or blanks only"),
        ({"liver": 0}, r"label ids \[0\] cannot be used"),
        ({"liver": -3}, "whole numbers from 1"),
        ({"liver": 2**31}, "whole numbers from 1 to 2147483647"),
        ({"liver": 1.5}, "whole numbers from 1"),
        ({"liver": True}, "whole numbers from 1"),
        ({"liver": "1"}, "whole numbers from 1"),
        ({"liver": []}, "give it one or more"),
        ({"liver": [2, 2]}, r"label ids \[2\] cannot be used"),
        ({"liver": 1, "spleen": [3, 1]}, r"label ids \[1\] cannot be used"),
        ({f"region {i}": i for i in range(1, 257)}, "hold 256 classes, and a label map of bytes holds 255 at most"),
    ],
)
def test_what_cannot_be_a_class_is_refused(classes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_classes(classes)


def test_parents_are_classes_that_do_not_enclose_each_other() -> None:
    check_parents({"tumor": "liver", "liver": "body"}, ["body", "liver", "tumor"])
    check_parents({}, [])
    with pytest.raises(ValueError, match=r"parents \(--parents\) name \['skin'\], which are no classes"):
        check_parents({"tumor": "skin"}, ["liver", "tumor"])
    with pytest.raises(ValueError, match="cycle: tumor -> liver -> tumor"):
        check_parents({"tumor": "liver", "liver": "tumor"}, ["liver", "tumor"])

"""Names that are fit for files."""

from __future__ import annotations

import pytest

from monai_segdiff.data.names import safe_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a b/c", "a_b_c"), ("1.2+3-4_x", "1.2+3-4_x"), ("../up", "up"), ("..", "none"), ("Größe", "Gr__e")],
)
def test_a_name_is_no_path_and_never_empty(name, expected):
    assert safe_name(name, "none") == expected

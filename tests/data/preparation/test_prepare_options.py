from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import prepare_dataset
from monai_segdiff.data.preparation.options import per_axis

NOT_READ = [{"image": "/nowhere/a.nii.gz", "label": "/nowhere/b.nii.gz", "patient": "p"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"size \(--size\) must be from 1 to 4096"),
        ({"size": 5000}, r"size \(--size\) must be from 1 to 4096"),
        ({"size": 12.5}, r"size \(--size\) must be one positive number, or 2 of them, got 12\.5"),
        ({"size": (8, 8, 8)}, r"size \(--size\) must be one positive number, or 2 of them"),
        ({"size": 700, "spatial_dims": 3}, r"at most 268435456 voxels in all, got 700 700 700"),
        ({"spacing": 0.0}, r"spacing \(--spacing\) must be from 0\.001 to 1000 mm, got 0 0"),
        ({"spacing": -1.0}, r"spacing \(--spacing\)"),
        ({"spacing": math.nan}, r"spacing \(--spacing\)"),
        ({"spacing": (1.0, math.inf)}, r"spacing \(--spacing\)"),
        ({"spacing": (1.0, 1.0, 1.0)}, r"spacing \(--spacing\) must be one positive number, or 2"),
        ({"spatial_dims": 4}, r"spatial_dims \(--spatial-dims\) must be 2 or 3"),
        ({"axis": 3}, r"axis \(--axis\) must be 0 \(sagittal\), 1 \(coronal\) or 2"),
        ({"axis": 1, "spatial_dims": 3}, r"axis \(--axis\) say how volumes are sliced, and volumes are made"),
        ({"min_foreground": 0.1, "spatial_dims": 3}, r"min_foreground \(--min-foreground\) say how volumes are sliced"),
        ({"min_foreground": 1.1}, r"min_foreground \(--min-foreground\) must be a share from 0 to 1"),
        ({"min_foreground": -0.1}, r"min_foreground \(--min-foreground\)"),
        ({"min_foreground": math.nan}, r"min_foreground \(--min-foreground\)"),
        (
            {"intensity_range": (300, -200)},
            r"intensity_range \(--intensity-range\) must be LOW < HIGH, got 300 and -200",
        ),
        ({"intensity_range": (5, 5)}, r"intensity_range \(--intensity-range\)"),
        ({"intensity_range": (math.nan, 5)}, r"intensity_range \(--intensity-range\)"),
        ({"intensity_range": (0, math.inf)}, r"intensity_range \(--intensity-range\)"),
        ({"intensity_range": (0,)}, r"intensity_range \(--intensity-range\) must be two numbers"),
        ({"percentiles": (math.nan, 99)}, r"percentiles \(--percentiles\) must be LOW < HIGH"),
        ({"percentiles": (50, 50)}, r"percentiles \(--percentiles\)"),
        ({"body_threshold": math.nan}, r"body_threshold \(--body-threshold\) must be a number"),
        ({"fractions": (0.5, 0.5)}, r"fractions \(--fractions\) must be three shares"),
        ({"fractions": (math.nan, 0.5, 0.5)}, r"fractions \(--fractions\)"),
        ({"fractions": (0, 0.5, 0.5)}, r"the first above 0"),
        ({"fractions": (1.2, -0.1, -0.1)}, r"fractions \(--fractions\)"),
        ({"seed": -1}, r"the seed \(--seed\) must be a whole number from 0 on"),
        ({"within_patient": True, "fractions": (1, 0, 0)}, r"\(--within-patient\) is for .* nothing is held out"),
        ({"findings": ["mass"]}, r"findings \(--findings\) name what .* give the table, too .*--findings-table"),
        ({"findings": ["a", "a"], "findings_table": "t.csv"}, r"findings \(--findings\) must be named once each"),
        ({"findings_table": "t.csv"}, r"findings \(--findings\) must name the columns of t\.csv"),
        ({"segments": {"a": "A"}}, r"\(--segments, --precedence\) are for DICOM studies, which the list of cases"),
        ({"precedence": ["a"]}, r"\(--segments, --precedence\) are for DICOM studies"),
        ({"parents": {"a": "b"}}, r"parents \(--parents\) name \['b'\], which are no classes"),
        ({"parents": {"a": "a"}}, r"parents \(--parents\): parents form a cycle"),
        ({"classes": {}}, r"give classes \(--classes\), such as"),
        ({"classes": {"Body": 1}, "body_threshold": 0.0}, r"already hold 'Body'.*--body-threshold"),
        ({"classes": {f"c{i}": i for i in range(1, 256)}, "body_threshold": 0.0}, r"more than 255 classes"),
    ],
)
def test_options_are_refused_before_a_file_is_read(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    arguments = {"classes": {"a": 1}, "fractions": (1, 0, 0), "progress": False, **options}
    with pytest.raises(ValueError, match=message):
        prepare_dataset(NOT_READ, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_one_patient_is_found_out_before_a_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one patient only \('p'\).*--within-patient.*--fractions 1 0 0"):
        prepare_dataset(NOT_READ, tmp_path / "out", {"a": 1}, progress=False)
    several = [*NOT_READ, {"image": "/nowhere/c.nii.gz", "label": "/nowhere/d.nii.gz", "patient": "q"}]
    with pytest.raises(
        ValueError, match=r"\(--within-patient\) is for holding out a part of one patient, and there are 2"
    ):
        prepare_dataset(several, tmp_path / "out", {"a": 1}, within_patient=True, progress=False)


def test_numbers_come_one_per_axis() -> None:
    assert per_axis(8, None, 3) == ([8, 8, 8], None)
    assert per_axis((8, 4), 2, 2) == ([8, 4], [2, 2])
    assert per_axis((4, 4, 4), (1, 2, 0.5), 3) == ([4, 4, 4], [1, 2, 0.5])

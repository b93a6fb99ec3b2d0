from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import check, content_digest, open_dataset, prepare_dataset, read_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.recorded import recorded_digests
from monai_segdiff.digests import DIGESTS, digest_of


@pytest.fixture
def prepared(tmp_path: Path, make_pair: Callable) -> Path:
    pairs = [make_pair(f"p{i}", (12, 12, 4)) for i in range(3)]
    prepare_dataset(pairs, tmp_path / "out", {"box": 1}, size=12, progress=False)
    os.utime(tmp_path / "out" / DIGESTS)  # a clock that ticks every some milliseconds leaves no doubt then
    return tmp_path / "out"


def test_what_was_not_changed_is_known_without_reading(prepared: Path) -> None:
    known = recorded_digests(prepared)
    assert {file.name for file in known} == {file.name for file in prepared.rglob("*") if file.is_file()} - {DIGESTS}
    assert all(digest == digest_of(file) for file, digest in known.items())
    changed = next(iter(known))
    changed.write_bytes(b"other")
    assert changed not in recorded_digests(prepared)
    (prepared / DIGESTS).write_text("damaged")
    assert recorded_digests(prepared) == {}


def test_a_training_starts_without_reading_what_prepare_has_checked(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = content_digest(read_dataset(prepared))
    looked: list[str] = []
    issues = check.case_issues
    monkeypatch.setattr(check, "case_issues", lambda case, *rest: looked.append(case.id) or issues(case, *rest))
    open_dataset(prepared, spatial_dims=2)
    assert len(looked) == 1
    with pytest.raises(ValueError, match="has 2 dimensions where 3D is configured"):
        open_dataset(prepared, spatial_dims=3)

    case = read_dataset(prepared).splits["training"][-1]
    label: Any = np.full((12, 12), 7, np.uint8)
    save_nifti(case.label, label, nib.load(case.label).affine)
    with pytest.raises(ValueError, match=r"1 errors in .*check-data") as caught:
        open_dataset(prepared, spatial_dims=2)
    assert str(case.label) in str(caught.value)
    assert [key for key, value in content_digest(read_dataset(prepared)).items() if whole[key] != value] == [
        "set of training label maps"
    ]


def test_digests_of_unchanged_files_are_those_of_their_bytes(prepared: Path) -> None:
    known = content_digest(read_dataset(prepared))
    (prepared / DIGESTS).unlink()
    assert content_digest(read_dataset(prepared)) == known

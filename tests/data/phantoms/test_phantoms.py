from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import CT_PHANTOM_CLASSES, CTPhantom, check_dataset, make_ct_phantoms, read_dataset


def test_slices_form_a_sound_data_set_split_by_patient(tmp_path: Path) -> None:
    dataset = make_ct_phantoms(tmp_path / "ct", patients=10, size=32, slices_per_patient=3, progress=False)
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {
        "training": 24,
        "validation": 3,
        "test": 3,
    }
    assert dataset.split_kind == "by patient"
    assert dataset.intensity_range == (-200.0, 300.0)
    assert dataset.classes == CT_PHANTOM_CLASSES
    assert [f for f in check_dataset(tmp_path / "ct") if f.severity == "error"] == []
    item = dataset.items("training")[0]
    image, label = nib.load(item["image"]), nib.load(item["label"])
    assert image.get_data_dtype() == np.int16
    assert label.get_data_dtype() == np.uint8
    assert image.shape == (32, 32)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")


def test_volumes_hold_whole_patients(tmp_path: Path) -> None:
    dataset = make_ct_phantoms(tmp_path / "ct", patients=3, size=(16, 16, 24), spatial_dims=3, progress=False)
    label = np.asarray(nib.load(dataset.items("training")[0]["label"]).dataobj)
    assert label.shape == (16, 16, 24)
    assert set(np.unique(label)) == set(range(7))


def test_a_second_call_reuses_and_other_arguments_are_refused(tmp_path: Path) -> None:
    arguments = {"patients": 3, "size": 16, "slices_per_patient": 2, "progress": False}
    first = make_ct_phantoms(tmp_path / "ct", **arguments)
    stamp = (tmp_path / "ct" / "dataset.json").stat().st_mtime_ns
    again = make_ct_phantoms(tmp_path / "ct", **arguments)
    assert again.splits == first.splits
    assert (tmp_path / "ct" / "dataset.json").stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError, match="other settings"):
        make_ct_phantoms(tmp_path / "ct", **{**arguments, "seed": 1})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        make_ct_phantoms(tmp_path, patients=2, size=16, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: CTPhantom, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CTPhantom, "render", stop)
        with pytest.raises(KeyboardInterrupt):
            make_ct_phantoms(tmp_path / "ct", patients=3, size=16, progress=False)
    assert list(tmp_path.iterdir()) == []
    make_ct_phantoms(tmp_path / "ct", patients=3, size=16, slices_per_patient=1, progress=False)
    assert sum(map(len, read_dataset(tmp_path / "ct").splits.values())) == 3


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="spatial_dims"):
        make_ct_phantoms(tmp_path / "ct", size=(16, 16), spatial_dims=3)
    with pytest.raises(ValueError, match="at least one patient"):
        make_ct_phantoms(tmp_path / "ct", patients=0)

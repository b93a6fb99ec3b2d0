from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import (
    DRR_CLASSES,
    KNEE_PHANTOM_CLASSES,
    KneePhantom,
    SegmentationDataset,
    check_dataset,
    make_knee_phantoms,
    make_knee_volumes,
    read_dataset,
    read_geometry,
)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    root = tmp_path_factory.mktemp("knees") / "drr"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return make_knee_phantoms(root, patients=11, views=4, size=32, progress=False)


def test_radiographs_are_split_by_patient_nine_to_one_to_one(radiographs: SegmentationDataset) -> None:
    patients = {split: {case.patient for case in cases} for split, cases in radiographs.splits.items()}
    assert {split: len(names) for split, names in patients.items()} == {"training": 9, "validation": 1, "test": 1}
    assert not patients["training"] & patients["validation"]
    assert not (patients["training"] | patients["validation"]) & patients["test"]
    assert {split: len(cases) for split, cases in radiographs.splits.items()} == {
        "training": 36,
        "validation": 4,
        "test": 4,
    }
    assert radiographs.split_kind == "by patient"


def test_radiographs_form_a_sound_data_set(radiographs: SegmentationDataset) -> None:
    assert radiographs.classes == DRR_CLASSES
    assert radiographs.parents == {"bone": "contour"}
    assert radiographs.intensity_range == (0.0, 1.0)
    assert [finding for finding in check_dataset(radiographs.root) if finding.severity == "error"] == []
    for cases in radiographs.splits.values():
        for case in cases:
            image, label = (np.asarray(nib.load(file).dataobj) for file in (case.image, case.label))
            assert image.shape == (32, 32)
            assert image.dtype == np.float32
            assert 0 <= image.min() < 0.02
            assert 0.5 < image.max() <= 1
            assert set(np.unique(label)) == {0, 1, 2}
            # The whole width of the leg is seen, with air beside it, and the leg runs through both ends.
            assert not label[[0, -1]].any()
            assert (label[:, [0, -1]] == 2).any(axis=0).all()


def test_views_go_around_and_geometry_says_whose_leg_it_is(radiographs: SegmentationDataset) -> None:
    geometry = read_geometry(radiographs.root, "knee0002")
    phantom = KneePhantom(2)
    assert [view["angle"] for view in geometry["views"]] == [0, 90, 180, 270]
    assert geometry["side"] == phantom.side
    assert geometry["flexion"] == pytest.approx(phantom.flexion)
    assert not geometry["truncated"]
    assert len(set(geometry["scale"])) == len(set(geometry["offset"])) == 1


def test_a_second_call_reuses_and_other_arguments_are_refused(radiographs: SegmentationDataset) -> None:
    stamp = (radiographs.root / "dataset.json").stat().st_mtime_ns
    again = make_knee_phantoms(radiographs.root, patients=11, views=4, size=32, progress=False)
    assert again.splits == radiographs.splits
    assert (radiographs.root / "dataset.json").stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError, match="other settings"):
        make_knee_phantoms(radiographs.root, patients=11, views=4, size=32, seed=1, progress=False)


def test_volumes_are_ct_with_label_maps(tmp_path: Path) -> None:
    dataset = make_knee_volumes(tmp_path / "ct", patients=3, spacing=6.0, progress=False)
    assert dataset.classes == KNEE_PHANTOM_CLASSES
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {"training": 1, "validation": 1, "test": 1}
    assert [finding for finding in check_dataset(tmp_path / "ct") if finding.severity == "error"] == []
    case = next(c for cases in dataset.splits.values() for c in cases if c.id == "knee0001")
    image, label = nib.load(case.image), nib.load(case.label)
    hu, labels = KneePhantom(1).render(spacing=6.0)
    assert np.array_equal(np.asarray(image.dataobj), hu.round().astype(np.int16))
    assert np.array_equal(np.asarray(label.dataobj), labels)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms() == (6.0, 6.0, 6.0)
    assert np.allclose(image.affine, KneePhantom(1).affine(spacing=6.0))
    assert make_knee_volumes(tmp_path / "ct", patients=3, spacing=6.0, progress=False).splits == dataset.splits


def test_seeds_share_no_patient(tmp_path: Path) -> None:
    first, second = (
        make_knee_volumes(
            tmp_path / str(seed), patients=2, spacing=12.0, seed=seed, fractions=(1, 0, 0), progress=False
        )
        for seed in (0, 1)
    )
    shapes = [nib.load(c.image).shape for d in (first, second) for c in d.splits["training"]]
    images = [np.asarray(nib.load(c.image).dataobj) for d in (first, second) for c in d.splits["training"]]
    assert all(shapes[i] != shapes[j] or not np.array_equal(images[i], images[j]) for i in range(4) for j in range(i))


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: KneePhantom, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KneePhantom, "render", stop)
        with pytest.raises(KeyboardInterrupt):
            make_knee_phantoms(tmp_path / "drr", patients=3, views=2, size=16, progress=False)
    assert list(tmp_path.iterdir()) == []
    make_knee_phantoms(tmp_path / "drr", patients=3, views=2, size=16, progress=False)
    assert sum(map(len, read_dataset(tmp_path / "drr").splits.values())) == 6


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one patient"):
        make_knee_phantoms(tmp_path / "drr", patients=0)
    with pytest.raises(ValueError, match="at least one patient"):
        make_knee_phantoms(tmp_path / "drr", views=0)
    with pytest.raises(ValueError, match="positive spacing"):
        make_knee_volumes(tmp_path / "ct", spacing=0)

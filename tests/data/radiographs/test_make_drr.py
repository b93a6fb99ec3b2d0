from __future__ import annotations

import json
import math
import os
import re
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import check_dataset, make_drr_dataset, processes, read_dataset, read_geometry
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.radiographs import workers as drr_workers
from monai_segdiff.data.radiographs.volumes import find_volumes, read_volume
from monai_segdiff.files import claim_folder
from monai_segdiff.transforms import ProjectDRR

PROJECTION = {"angles": np.array([0, 45, 90, 135]), "detector_shape": 24}


@pytest.fixture
def legs(tmp_path, make_leg) -> Path:
    """Four volumes: two NIfTI files, two in sub-folders."""
    for number, file in enumerate(("a.nii.gz", "b.nii.gz", "c/ct.nii", "d/ct.nii")):
        save_nifti(tmp_path / "ct" / file, *make_leg(8.0 + number))
    return tmp_path / "ct"


def make(source: Path, output: str = "out", **options):
    return make_drr_dataset(source, source.parent / output, PROJECTION, **{"progress": False, **options})


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def spoil(file: Path) -> None:
    """Turn a volume into a picture of 0 to 255."""
    image = nib.load(file)
    save_nifti(file, (np.asarray(image.dataobj) + 1000) / 8, image.affine)


def test_a_folder_becomes_a_data_set_split_by_volume(legs, write_series, make_leg):
    write_series(legs / "e", make_leg()[0], pixel_spacing=(3, 3), step=(0, 0, 3))
    dataset = make(legs, fractions=(0.6, 0.2, 0.2), licence="CC0", attribution="drawn")
    assert dataset == read_dataset(legs.parent / "out")
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {
        "training": 12,
        "validation": 4,
        "test": 4,
    }
    assert sorted({c.patient for cases in dataset.splits.values() for c in cases}) == ["a", "b", "c", "d", "e"]
    for cases in dataset.splits.values():
        assert len(cases) == 4 * len({case.patient for case in cases})
    assert dataset.classes == {"contour": 1, "bone": 2}
    assert dataset.parents == {"bone": "contour"}
    assert dataset.intensity_range == (0.0, 1.0)
    assert (dataset.spatial_dims, dataset.split_kind) == (2, "by file")
    assert (dataset.licence, dataset.attribution) == ("CC0", "drawn")
    assert dataset.settings["projection"] == {"angles": [0, 45, 90, 135], "detector_shape": 24}
    assert dataset.settings["bone_threshold"] == 200
    (finding,) = check_dataset(dataset.root)
    assert finding.message.startswith("nothing says whose the 5 files are")
    assert read_geometry(dataset.root, "c")["source"] == "ct.nii"
    assert not (dataset.root / "make_drr.json").exists()


def test_volumes_of_one_patient_stay_together(legs):
    (legs.parent / "patients.csv").write_text("volume,patient\na,x\nb,x\nc,y\nd,y\n")
    dataset = make(legs, patients=legs.parent / "patients.csv", fractions=(0.5, 0, 0.5))
    assert [{case.patient for case in cases} for cases in dataset.splits.values()] in ([{"x"}, {"y"}], [{"y"}, {"x"}])
    assert dataset.split_kind == "by patient"
    assert check_dataset(dataset.root) == []


def test_split_by_image_is_named_for_what_it_is(legs):
    dataset = make(legs, split="image", fractions=(0.5, 0.25, 0.25))
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {"training": 8, "validation": 4, "test": 4}
    assert dataset.split_kind == "by image"
    content = json.loads((dataset.root / "dataset.json").read_text())
    assert content["split"] == "by image"
    assert content["settings"]["split"] == "by image: views of one volume are in training and held out"
    sides = [{case.patient for case in cases} for cases in dataset.splits.values()]
    assert sides[0] & (sides[1] | sides[2])
    assert [f.severity for f in check_dataset(dataset.root)] == ["warning"]
    assert "results on them are optimistic" in check_dataset(dataset.root)[0].message


def test_the_same_again_does_nothing(legs, monkeypatch):
    first = make(legs)
    before = {file: file.stat().st_mtime_ns for file in first.root.rglob("*")}
    monkeypatch.setattr(drr_workers, "write_views", lambda *_, **__: pytest.fail("projected again"))
    assert make(legs) == first
    assert {file: file.stat().st_mtime_ns for file in first.root.rglob("*")} == before


def test_stopped_and_run_again_it_goes_on(legs, monkeypatch):
    whole = contents(make(legs, "whole").root)
    write, done = drr_workers.write_views, []

    def stop(root, volume, name, *arguments, **options):
        if len(done) == 2:
            (root / "imagesTr" / f".tmp-1-{name}.nii.gz").write_text("torn")
            raise KeyboardInterrupt
        done.append(name)
        return write(root, volume, name, *arguments, **options)

    monkeypatch.setattr(drr_workers, "write_views", stop)
    with pytest.raises(KeyboardInterrupt):
        make(legs)
    root = legs.parent / "out"
    assert not (root / "dataset.json").exists()
    assert done == ["a", "b"]
    monkeypatch.setattr(drr_workers, "write_views", lambda *a, **o: done.append(a[2]) or write(*a, **o))
    assert contents(make(legs).root) == whole
    assert done == ["a", "b", "c", "d"]


def test_a_changed_or_added_source_is_projected_and_the_others_are_left(legs, make_leg, monkeypatch):
    make(legs)
    save_nifti(legs / "b.nii.gz", *make_leg(15.0))
    os.utime(legs / "b.nii.gz", (5, 5))
    save_nifti(legs / "new.nii.gz", *make_leg(5.0))
    write, done = drr_workers.write_views, []
    monkeypatch.setattr(drr_workers, "write_views", lambda *a, **o: done.append(a[2]) or write(*a, **o))
    dataset = make(legs)
    assert done == ["b", "new"]
    assert sum(len(cases) for cases in dataset.splits.values()) == 20
    fresh = make(legs, "fresh")
    assert contents(dataset.root) == contents(fresh.root)


def test_views_of_a_volume_that_is_gone_from_the_source_go_too(legs, make_leg):
    save_nifti(legs / "b_view000.nii.gz", *make_leg(5.0))  # whose views are named much like those of another
    make(legs)
    (legs / "b.nii.gz").unlink()
    assert contents(make(legs).root) == contents(make(legs, "fresh").root)


def test_of_two_runs_the_second_is_refused_and_harms_nothing(legs):
    root = make(legs).root
    before = contents(root)
    (legs / "a.nii.gz").unlink()
    with claim_folder(root), pytest.raises(FileExistsError, match=r"another run is writing to .*out: wait for it"):
        make(legs)
    assert contents(root) == before


@pytest.mark.parametrize("left", [[".tmp-4711-make_drr.json"], [".tmp-0123456789abcdef-make_drr.json"]])
def test_a_run_that_was_killed_before_it_began_is_gone_on_with(legs, left):
    (legs.parent / "out").mkdir()
    for name in left:
        (legs.parent / "out" / name).write_text("{")
    assert contents(make(legs).root) == contents(make(legs, "fresh").root)


def test_a_folder_of_somebody_else_is_not_cleared(legs):
    root = legs.parent / "out"
    root.mkdir()
    for name in ("notes.txt", ".tmp-1-notes.txt"):
        (root / name).touch()
    with pytest.raises(FileExistsError, match="is not empty and holds no radiographs; choose another folder"):
        make(legs)
    assert sorted(contents(root)) == [".tmp-1-notes.txt", "notes.txt"]


@pytest.mark.parametrize("part", ["imagesTr", "labelsTr", "geometry"])
def test_nothing_is_written_or_removed_beyond_a_link(legs, part):
    root = make(legs).root
    (root / part).rename(legs.parent / "elsewhere")
    (root / part).symlink_to(legs.parent / "elsewhere")
    before = contents(legs.parent / "elsewhere")
    (legs / "b.nii.gz").unlink()
    with pytest.raises(ValueError, match=f"'{part}' is no path inside .*out"):
        make(legs)
    assert contents(legs.parent / "elsewhere") == before


@pytest.mark.parametrize("damage", ["", "{", "[]", "7", '"x"', "[" * 5000])
def test_a_damaged_list_of_settings_is_named(legs, damage):
    (legs.parent / "out").mkdir()
    (legs.parent / "out" / "make_drr.json").write_text(damage)
    with pytest.raises(FileExistsError, match=r"make_drr\.json"):
        make(legs)


def test_of_volumes_whose_processes_were_killed_only_the_one_that_does_it_fails(legs, monkeypatch):
    """As where memory runs out: the system kills one process, and none of the pool's gives a result."""

    class Pool:
        def __init__(self, workers, context, start, arguments):
            self.workers, self.act = workers, arguments[0]

        def submit(self, _, source):
            if source.name == "d" and self.workers > 1:
                raise BrokenProcessPool  # at once, as another one broke it
            done = Future()
            if self.workers > 1 or source.name == "b":
                done.set_exception(BrokenProcessPool())
            else:
                done.set_result(self.act(source))
            return done

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    with pytest.raises(ValueError, match="1 of 4 volumes failed") as caught:
        make(legs, workers=2)
    assert re.search(r"b\.nii\.gz: its process was killed, perhaps as memory ran out", str(caught.value))
    assert sorted(path.stem for path in (legs.parent / "out" / "geometry").iterdir()) == ["a", "c", "d"]


def test_when_stopped_nobody_waits_for_the_volumes_that_are_at_work(legs, monkeypatch):
    ended = []

    class Pool:
        def __init__(self, *_):
            self._processes = {7: SimpleNamespace(terminate=lambda: ended.append("terminated"))}

        def submit(self, act, source):
            done = Future()
            done.set_result(drr_workers.Outcome(source.name, None))
            return done

        def shutdown(self, **_):
            ended.append("shut down")

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    plan = drr_workers.DRRPlan(legs, {}, 0, 0.1, 200.0, 2.0, None)
    assert len(list(drr_workers.project_volumes(find_volumes(legs), plan, 2))) == 4
    assert ended == ["shut down"]
    outcomes = drr_workers.project_volumes(find_volumes(legs), plan, 2)
    next(outcomes)
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)
    assert ended == ["shut down", "terminated", "shut down"]


def test_other_settings_are_refused_by_name(legs):
    make(legs)
    with pytest.raises(FileExistsError, match=r"other settings \(bone_threshold, seed\); remove it"):
        make(legs, bone_threshold=300.0, seed=1)
    with pytest.raises(FileExistsError, match=r"other settings \(projection\)"):
        make_drr_dataset(legs, legs.parent / "out", {**PROJECTION, "angles": (0,)}, progress=False)
    (legs.parent / "mine").mkdir()
    (legs.parent / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"mine is not empty and holds no radiographs"):
        make(legs, "mine")


def test_failures_are_all_named_and_the_rest_is_finished(legs, make_leg):
    spoil(legs / "a.nii.gz")
    hu, affine = make_leg()
    save_nifti(legs / "c" / "ct.nii", hu[10:], affine)  # cut through the leg
    with pytest.raises(ValueError, match="2 of 4 volumes failed") as caught:
        make(legs)
    lines = str(caught.value).splitlines()[1:]
    assert re.search(r"^  .*ct/a\.nii\.gz: .*no Hounsfield units", lines[0])
    assert re.search(r"^  .*ct/c/ct\.nii: .*allow_truncation", lines[1])
    root = legs.parent / "out"
    assert sorted(file.stem for file in (root / "geometry").iterdir()) == ["b", "d"]
    assert not (root / "dataset.json").exists()

    # one is mended, the other allowed, which is no other setting
    save_nifti(legs / "a.nii.gz", *make_leg())
    allowed = {**PROJECTION, "allow_truncation": True}
    dataset = make_drr_dataset(legs, root, allowed, progress=False)
    assert sum(len(cases) for cases in dataset.splits.values()) == 16
    assert [read_geometry(root, name)["truncated"] for name in "abcd"] == [False, False, True, False]


def test_a_data_set_without_what_failed_says_so(legs):
    spoil(legs / "a.nii.gz")
    dataset = make(legs, skip_failed=True)
    assert {case.patient for cases in dataset.splits.values() for case in cases} == {"b", "c", "d"}
    assert list(dataset.settings["skipped"]) == ["a"]
    assert "no Hounsfield units" in dataset.settings["skipped"]["a"]
    assert [finding.severity for finding in check_dataset(dataset.root)] == ["warning"]
    with pytest.raises(ValueError, match="1 of 4 volumes failed"):
        make(legs)
    for file in ("b.nii.gz", "c/ct.nii", "d/ct.nii"):
        spoil(legs / file)
    with pytest.raises(ValueError, match="4 of 4 volumes failed"):
        make(legs, "none", skip_failed=True)


@pytest.mark.slow
def test_two_processes_write_what_one_does(legs, capsys):
    spoil(legs / "d" / "ct.nii")
    one, two = (make(legs, f"{n}", workers=n, skip_failed=True) for n in (1, 2))
    assert contents(one.root) == contents(two.root)


def test_noise_is_the_volumes_own_whatever_the_order(tmp_path, make_leg):
    for name in ("a", "b"):
        save_nifti(tmp_path / "both" / f"{name}.nii", *make_leg())
    save_nifti(tmp_path / "one" / "b.nii", *make_leg())
    noisy = {**PROJECTION, "photons": 1000.0}
    options = {"fractions": (1, 0, 0), "progress": False}
    roots = [make_drr_dataset(tmp_path / s, tmp_path / f"{s}_out", noisy, **options).root for s in ("both", "one")]
    image = [np.asarray(nib.load(roots[0] / f"imagesTr/{name}_view000.nii.gz").dataobj) for name in "ab"]
    again = np.asarray(nib.load(roots[1] / "imagesTr/b_view000.nii.gz").dataobj)
    assert not np.array_equal(image[0], image[1])
    assert np.array_equal(image[1], again)


def test_label_maps_become_volumes_first(tmp_path, make_leg):
    hu, affine = make_leg()
    for name in ("a", "b"):
        save_nifti(
            tmp_path / "maps" / f"{name}.nii", np.where(hu > 500, 7, np.where(hu > 0, 3, 0)).astype(np.uint8), affine
        )
    table = tmp_path / "tissues.csv"
    table.write_text("id,name,kind\n3,calf,muscle\n7,tibia,bone\n")
    dataset = make_drr_dataset(tmp_path / "maps", tmp_path / "out", PROJECTION, tissues=table, progress=False)
    image, ids = (np.asarray(nib.load(getattr(dataset.splits["training"][0], k)).dataobj) for k in ("image", "label"))
    assert image[ids == 0].max() <= 0.1 < image[ids == 1].min()
    assert image[ids == 2].mean() > image[ids == 1].mean() + 0.1
    assert dataset.settings["tissues"]["7"]["name"] == "tibia"
    first = [np.asarray(nib.load(tmp_path / f"out/imagesTr/{n}_view000.nii.gz").dataobj) for n in "ab"]
    assert not np.array_equal(*first)  # each has its own texture
    table.write_text("id,name,kind\n7,tibia,bone\n")
    with pytest.raises(FileExistsError, match=r"other settings \(tissues\)"):
        make_drr_dataset(tmp_path / "maps", tmp_path / "out", PROJECTION, tissues=table, progress=False)
    with pytest.raises(
        ValueError, match=r"2 of 2 volumes failed(.|\n)*maps/a\.nii: .*3; add them to it .*tissues\.csv"
    ):
        make_drr_dataset(tmp_path / "maps", tmp_path / "lacking", PROJECTION, tissues=table, progress=False)


def test_arguments_are_checked_before_the_work(legs, monkeypatch):
    monkeypatch.setattr(drr_workers, "write_views", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(ValueError, match=r"split \(--split\) must be 'volume' or 'image', got 'slice'"):
        make(legs, split="slice")
    with pytest.raises(ValueError, match=r"workers \(--workers\) must be at least 1"):
        make(legs, workers=0)
    with pytest.raises(ValueError, match=r"fractions \(--fractions\) must be three shares"):
        make(legs, fractions=(0.5, 0.1, 0.1))
    for angles, named in (((), "angles is empty"), ((0, 90, 360), r"angles \(--angles\) name 0 degrees twice")):
        with pytest.raises(ValueError, match=named):
            make_drr_dataset(legs, legs.parent / "out", {"angles": angles})
    for option, values in (
        ("contour_threshold", (-0.1, 1.0, math.nan)),
        ("bone_threshold", (math.nan, math.inf)),
        ("min_bone_length", (0.0, -1.0, math.nan, math.inf)),
    ):
        for value in values:
            with pytest.raises(ValueError, match=rf"{option} \(--{option.replace('_', '-')}\) must be"):
                make(legs, **{option: value})
    (legs / "one").mkdir()
    (legs / "a.nii.gz").rename(legs / "one" / "a.nii.gz")
    with pytest.raises(ValueError, match=r"one patient only \('a'\).*--fractions 1 0 0.*--split image"):
        make(legs / "one")
    assert not (legs.parent / "out").exists()


def test_a_defect_of_the_program_is_no_failed_volume(legs, monkeypatch):
    def fail(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr(drr_workers, "write_views", fail)
    with pytest.raises(TypeError, match="a bug"):
        make(legs)


@pytest.mark.data
def test_bone_of_a_real_scan_is_where_its_segmentation_says(segdiff_data, tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "pelvis").symlink_to(segdiff_data / "ct/totalseg_example")
    with pytest.raises(ValueError, match="pelvis holds 2 volumes"):
        find_volumes(tmp_path / "ct")
    (tmp_path / "ct" / "pelvis").unlink()
    (tmp_path / "ct" / "pelvis.nii.gz").symlink_to(segdiff_data / "ct/totalseg_example/ct.nii.gz")
    projection = {"angles": (0, 30, 90), "detector_shape": 96}
    with pytest.raises(ValueError, match=r"pelvis\.nii\.gz: .*allow_truncation"):
        make_drr_dataset(tmp_path / "ct", tmp_path / "out", projection, fractions=(1, 0, 0), progress=False)
    projection["allow_truncation"] = True
    dataset = make_drr_dataset(tmp_path / "ct", tmp_path / "out", projection, fractions=(1, 0, 0), progress=False)
    volume = read_volume(find_volumes(tmp_path / "ct")[0])
    organs = nib.load(segdiff_data / "ct/totalseg_example/seg_total.nii.gz")
    bones = np.isin(np.asarray(organs.dataobj), [*range(25, 51), 75, 76, 77, 78, *range(92, 118)]).astype(np.float32)
    depth = ProjectDRR(**projection).project(torch.from_numpy(bones)[None], volume.affine)
    labels = np.stack([np.asarray(nib.load(case.label).dataobj) for case in dataset.splits["training"]])
    bone = labels == 2
    assert bone[depth.numpy() > 15].mean() > 0.95  # where bone is thick, the threshold finds it
    assert bone[depth.numpy() == 0].mean() < 0.1  # and little else: stool, calcium
    assert (labels > 0).mean() > 0.8

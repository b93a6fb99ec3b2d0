from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_segdiff.digests import digests_of, read_digests
from monai_segdiff.generation import Manifest

HEADER = {"synthetic": True, "settings": {"seed": 0}, "masks": {"per_mask": 2}}


def record(root: Path, index: int) -> dict:
    for name in (f"i{index}", f"l{index}"):
        (root / name).write_text("there")
    return {"index": index, "image": f"i{index}", "label": f"l{index}"}


def test_what_several_processes_append_is_gathered_by_index(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    for index, rank in ((3, 1), (0, 0), (1, 1), (2, 0)):
        manifest.append(record(tmp_path, index), rank)
    assert [r["index"] for r in manifest.finish()] == [0, 1, 2, 3]
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content == {"format": 1, **HEADER, "samples": [record(tmp_path, i) for i in range(4)]}
    assert [path.name for path in tmp_path.glob("manifest*")] == ["manifest.json"]


def test_a_finished_manifest_is_gone_on_with(tmp_path):
    first = Manifest(tmp_path, HEADER)
    first.append(record(tmp_path, 0), 0)
    first.finish()
    second = Manifest(tmp_path, HEADER)
    second.append(record(tmp_path, 1), 0)
    assert list(second.records()) == [0, 1]
    assert len(second.finish()) == 2


def test_times_stand_in_their_own_file_and_survive_what_comes_after(tmp_path):
    first = Manifest(tmp_path, HEADER)
    for index in range(2):
        first.append({**record(tmp_path, index), "seconds": 0.5 + index}, 0)
    assert first.finish() == [record(tmp_path, index) for index in range(2)]
    second = Manifest(tmp_path, HEADER)
    second.append({**record(tmp_path, 1), "seconds": 9.0}, 0)  # made again
    second.append({**record(tmp_path, 2), "seconds": 2.5}, 1)
    second.finish()
    assert json.loads((tmp_path / "manifest.seconds.json").read_text()) == {"0": 0.5, "1": 9.0, "2": 2.5}
    assert json.loads((tmp_path / "manifest.json").read_text())["samples"] == [record(tmp_path, i) for i in range(3)]


def test_samples_whose_files_are_gone_do_not_count(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    for index in range(3):
        manifest.append(record(tmp_path, index), 0)
    (tmp_path / "l1").unlink()
    assert list(manifest.records()) == [0, 2]


@pytest.mark.parametrize("finished", [False, True])
def test_samples_whose_files_were_damaged_since_do_not_count(tmp_path, finished):
    manifest = Manifest(tmp_path, HEADER)
    for index in range(3):
        manifest.append(record(tmp_path, index), 0)
    if finished:
        manifest.finish()
        manifest.seal()
    (tmp_path / "i1").write_text("Their")
    assert list(Manifest(tmp_path, HEADER).records()) == [0, 2]


def test_a_folder_of_a_sample_is_damaged_when_a_file_in_it_is_gone(tmp_path):
    for name in ("series/1.dcm", "series/2.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("there")
    manifest = Manifest(tmp_path, HEADER)
    manifest.append({**record(tmp_path, 0), "dicom_series": "series"}, 0)
    manifest.finish()
    manifest.seal()
    assert list(manifest.records()) == [0]
    (tmp_path / "series/2.dcm").unlink()
    assert list(manifest.records()) == []


def test_the_list_of_what_files_hold_is_written_when_all_else_is(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    manifest.append({**record(tmp_path, 0), "seconds": 0.5}, 0)
    manifest.finish()
    (tmp_path / "dataset.json").write_text("{}")
    manifest.seal()
    assert read_digests(tmp_path) == digests_of(tmp_path, ["dataset.json", "i0", "l0", "manifest.json"])


def test_records_of_before_their_files_were_hashed_count_as_they_are(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, **HEADER, "samples": [record(tmp_path, 0)]}))
    manifest = Manifest(tmp_path, HEADER)
    assert list(manifest.records()) == [0]
    manifest.finish()
    manifest.seal()
    (tmp_path / "l0").write_text("Their")
    assert list(manifest.records()) == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_short_is_left_out_and_swallows_no_other(tmp_path, cut):
    manifest = Manifest(tmp_path, HEADER)
    for index in range(2):
        manifest.append(record(tmp_path, index), 0)
    journal = tmp_path / "manifest.0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    kept = [0, 1] if cut == 1 else [0]  # without the end of the line alone the record is whole
    assert list(manifest.records()) == kept
    manifest.append(record(tmp_path, 2), 0)
    assert list(manifest.records()) == [*kept, 2]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("change", "named"), [({"settings": {"seed": 1}}, "settings"), ({"masks": {"per_mask": 3}}, "masks")]
)
def test_other_settings_are_refused_by_name(tmp_path, finished, change, named):
    manifest = Manifest(tmp_path, HEADER)
    if finished:
        manifest.finish()
    with pytest.raises(ValueError, match=f"made with another {named}: .*--overwrite"):
        Manifest(tmp_path, {**HEADER, **change})


def test_it_knows_its_own_folders(tmp_path):
    assert not Manifest.owns(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web application"}')
    assert not Manifest.owns(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    assert not Manifest.owns(tmp_path)
    (tmp_path / "manifest.json").unlink()
    manifest = Manifest(tmp_path, HEADER)
    assert Manifest.owns(tmp_path)
    manifest.finish()
    assert Manifest.owns(tmp_path)


def test_an_unreadable_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest"):
        Manifest(tmp_path, HEADER)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_with_file_and_remedy(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    (tmp_path / "manifest.0.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"manifest\.0\.jsonl: No space left.*free some space"):
        manifest.append(record(tmp_path, 0), 0)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_segdiff.digests import digests_of, read_digests
from monai_segdiff.errors import UnreadableFileError
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


@pytest.mark.parametrize("file", ["manifest.json", "manifest.header.json"])
@pytest.mark.parametrize("damage", ["", "{", '{"samples": 1, "samples": 2}', "[" * 5000, '{"x": NaN}'])
def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path, file, damage):
    (tmp_path / file).write_bytes(damage.encode("latin-1"))
    for act in (lambda: Manifest.owns(tmp_path), lambda: Manifest(tmp_path, HEADER)):
        with pytest.raises(UnreadableFileError) as caught:
            act()
        said = str(caught.value)
        assert said.startswith(f"{tmp_path / file} cannot be read as a manifest")
        assert said.endswith("; restore it, start anew (--overwrite), or give another folder")
        assert "\n" not in said


def test_one_damaged_file_does_not_hide_whose_the_folder_is(tmp_path):
    Manifest(tmp_path, HEADER)
    (tmp_path / "manifest.json").write_text("{")
    assert Manifest.owns(tmp_path)


WRONG = [
    7,
    [],
    None,
    "x",
    {"index": -1},
    {"index": True},
    {"index": "0"},
    {"index": 0.5},
    {"image": "i0"},
    {"index": 0, "image": 5},
    {"index": 0, "image": ["i0"]},
    {"index": 0, "image": "../i0"},
    {"index": 0, "image": "/etc/passwd"},
    {"index": 0, "image": "i0", "label": "a/../../l0"},
    {"index": 0, "image": "link/x"},
    {"index": 0, "image": "file-link"},
    {"index": 0, "image": "."},
    {"index": 0, "image": "a\\u0000b"},
    {"index": 0, "anatomy": "../x"},
    {"index": 0, "region_map": "../x"},
    {"index": 0, "dicom_series": "../x"},
    {"index": 0, "dicom_seg": "../x"},
    {"index": 0, "picture": "../x"},
    {"index": 0, "source": {"label": "../x"}},
    {"index": 0, "source": 3},
    {"index": 0, "source": {"label": 3}},
    {"index": 0, "patient": 3},
    {"index": 0, "mask": None},
    {"index": 0, "findings": "edema"},
    {"index": 0, "findings": [1]},
    {"index": 0, "tries": 1.5},
    {"index": 0, "score": "high"},
    {"index": 0, "seconds": []},
    {"index": 0, "sha256": {"i0": 1}},
]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_record_or_leaves_the_folder_is_refused_by_the_files_name(tmp_path, finished, wrong):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "x").write_text("of somebody else")
    (root / "file-link").symlink_to(tmp_path / "x")
    manifest = Manifest(root, HEADER)
    manifest.append(record(root, 1), 0)
    file = root / "manifest.0.jsonl"
    if finished:
        manifest.finish()
        file = manifest.file
        content = json.loads(file.read_text())
        content["samples"].append(wrong)
        file.write_text(json.dumps(content).replace("\\\\u", "\\u"))
    else:
        with open(file, "a") as lines:
            lines.write(json.dumps(wrong).replace("\\\\u", "\\u") + "\n")
    for act in (Manifest(root, HEADER).records, Manifest(root, HEADER).finish):
        with pytest.raises(ValueError) as caught:
            act()
        assert str(file) in str(caught.value)
        assert "start anew (--overwrite)" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "x").read_text() == "of somebody else"


def test_a_file_of_a_sample_in_a_folder_that_lies_elsewhere_is_refused_whatever_was_asked_for_before(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    record(root, 0)
    (tmp_path / "back").symlink_to(root / "i0")
    (tmp_path / "x").touch()
    (root / "manifest.json").write_text(
        json.dumps(
            {**HEADER, "format": 1, "samples": [{"index": 0, "image": "link/back"}, {"index": 1, "image": "link/x"}]}
        )
    )
    with pytest.raises(UnreadableFileError, match=r"manifest\.json .*'link"):
        Manifest(root, HEADER).records()


def test_a_damaged_line_is_made_again_and_the_others_count(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    for index in range(4):
        manifest.append({**record(tmp_path, index), "patient": "anna"}, 0)
    journal = tmp_path / "manifest.0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"anna", b"anni")
    lines[2] = lines[2].replace(b"anna", b"an\xffa")
    journal.write_bytes(b"".join(lines))
    assert list(manifest.records()) == [0, 3]


def test_a_line_says_no_more_in_the_end_than_what_was_recorded(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    manifest.append({**record(tmp_path, 0), "score": None, "seconds": 0.1 + 0.2, "patient": "Zoë"}, 0)
    (kept,) = manifest.finish()
    assert kept == {**record(tmp_path, 0), "score": None, "patient": "Zoë"}


def test_what_is_no_number_is_not_written(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    with pytest.raises(ValueError, match="JSON"):
        manifest.append({**record(tmp_path, 0), "score": float("nan")}, 0)
    assert not (tmp_path / "manifest.0.jsonl").exists()


def test_a_manifest_that_was_changed_since_is_refused(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    manifest.append({**record(tmp_path, 0), "patient": "anna"}, 0)
    manifest.finish()
    manifest.seal()
    manifest.file.write_text(manifest.file.read_text().replace("anna", "anni"))
    with pytest.raises(ValueError, match=r"manifest\.json is not what SHA256SUMS beside it says: .*--overwrite"):
        Manifest(tmp_path, HEADER).records()


def test_killed_between_manifest_and_list_it_is_gone_on_with(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    manifest.append(record(tmp_path, 0), 0)
    manifest.finish()
    manifest.seal()
    again = Manifest(tmp_path, HEADER)
    again.append(record(tmp_path, 1), 0)
    again.finish()  # and no seal
    assert list(Manifest(tmp_path, HEADER).records()) == [0, 1]


def test_two_samples_have_no_image_in_common(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    manifest.append(record(tmp_path, 0), 0)
    manifest.append({**record(tmp_path, 0), "index": 1}, 0)
    with pytest.raises(ValueError, match="names an image for two samples"):
        manifest.records()


@pytest.mark.parametrize("damage", ["{", "[]", '{"0": "long"}', '{"0": null}'])
def test_damaged_times_are_named(tmp_path, damage):
    manifest = Manifest(tmp_path, HEADER)
    manifest.append({**record(tmp_path, 0), "seconds": 1.0}, 0)
    manifest.finish()
    (tmp_path / "manifest.seconds.json").write_text(damage)
    with pytest.raises(UnreadableFileError, match=r"manifest\.seconds\.json .*; remove the file: it holds nothing but"):
        Manifest(tmp_path, HEADER).records()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_with_file_and_remedy(tmp_path):
    manifest = Manifest(tmp_path, HEADER)
    (tmp_path / "manifest.0.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"manifest\.0\.jsonl: No space left.*free some space"):
        manifest.append(record(tmp_path, 0), 0)

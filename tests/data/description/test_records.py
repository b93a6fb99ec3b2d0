"""What a generated data set says of its samples, read back."""

from __future__ import annotations

import json

import pytest

from monai_segdiff.data.description.records import check_record, files_of, read_manifest, read_seconds
from monai_segdiff.errors import UnreadableFileError

RECORD = {
    "index": 0,
    "image": "imagesTr/a.nii.gz",
    "label": "labelsTr/a.nii.gz",
    "mask": "a",
    "patient": "p",
    "score": None,
    "seconds": 0.5,
    "findings": ["edema"],
    "source": {"image": "../real/a.nii.gz", "label": "sourceTr/a.nii.gz"},
    "of a later version": [{}],
}


def test_a_record_is_given_back_as_it_is_and_says_which_files_are_its_own(tmp_path):
    assert check_record(RECORD, tmp_path) is RECORD
    assert files_of(RECORD) == ["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "sourceTr/a.nii.gz"]
    assert files_of({"index": 3, "mask": "rejected"}) == []


def test_where_nothing_was_written_there_is_nothing(tmp_path):
    assert read_manifest(tmp_path) == {}
    assert read_seconds(tmp_path) == {}


def test_a_manifest_is_read_with_its_records(tmp_path):
    content = {"synthetic": True, "accept": {"threshold": 0.5}, "samples": [RECORD], "rejected": [{"index": 1}]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert read_manifest(tmp_path) == content


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        {"samples": {}},
        {"samples": [RECORD, 5]},
        {"samples": [{**RECORD, "anatomy": "../../x"}]},
        {"samples": [], "rejected": 5},
        {"dropped_classes": ["liver"]},
        {"dropped_classes": {"names": "liver", "fill": "parent"}},
        {"dropped_classes": {"names": ["liver"]}},
        {"accept": {}},
        {"accept": {"threshold": "high"}},
        {"accept": 0.5},
    ],
    ids=repr,
)
def test_what_is_no_manifest_is_named_with_a_remedy(tmp_path, content):
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UnreadableFileError) as caught:
        read_manifest(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'manifest.json'} cannot be read as a manifest (")
    assert said.endswith("); generate the images again, or remove the file")


@pytest.mark.parametrize("content", [[], {"0": "x"}, {"0": None}, {"0": True}])
def test_times_are_numbers(tmp_path, content):
    file = tmp_path / "manifest.seconds.json"
    file.write_text(json.dumps({"0": 1, "1": 0.5}))
    assert read_seconds(tmp_path) == {"0": 1, "1": 0.5}
    file.write_text(json.dumps(content))
    with pytest.raises(UnreadableFileError, match=r"manifest\.seconds\.json .*holds nothing but times"):
        read_seconds(tmp_path)

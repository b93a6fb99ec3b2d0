"""Studies that come as DICOM: image series and segmentation through a DICOMweb client."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import requests

from monai_segdiff.data import load_image, read_dataset
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.store.dicom import as_nifti, dicom_folder, series_case
from monai_segdiff.integrations.label.store.studies import find_case, real_cases, synthetic_cases

from .dicom_archive import AFFINE, change
from .server import pixels


def test_series_and_segmentation_are_read_as_they_were_drawn(
    archive: tuple[Path, Any, str], trained_bundle: Any, tmp_path: Path
) -> None:
    folder, case, series = archive
    classes = read_dataset(trained_bundle.phantoms).classes
    found = as_nifti(find_case(dicom_folder(folder, tmp_path / "cache"), series), tmp_path / "work", classes)
    image, label = load_image(found.image), load_image(found.label)
    np.testing.assert_array_equal(label.numpy(), load_image(case.label).numpy())
    np.testing.assert_allclose(image.numpy(), load_image(case.image).numpy(), atol=0.51)  # CT is stored in whole HU
    for one in (image, label):
        np.testing.assert_allclose(one.affine.numpy()[:2, :2], AFFINE[:2, :2], atol=1e-4)
    assert len(np.unique(label)) > 3


def test_segments_of_no_class_are_refused(archive: tuple[Path, Any, str], tmp_path: Path) -> None:
    folder, _, series = archive
    case = find_case(dicom_folder(folder, tmp_path / "cache"), series)
    with pytest.raises(RequestError, match="unknown segments") as refused:
        as_nifti(case, tmp_path / "work", {"body": 1, "heart": 2})
    assert str(tmp_path) not in str(refused.value)


def test_of_several_segmentations_none_is_chosen(archive: tuple[Path, Any, str], tmp_path: Path) -> None:
    folder, _, series = archive
    seg = next((folder / "seg").iterdir())
    first = str(pydicom.dcmread(seg).SOPInstanceUID)
    shutil.copy(seg, folder / "seg" / "second.dcm")
    change(folder / "seg" / "second.dcm", SOPInstanceUID=f"{first}.2", SeriesInstanceUID="1.2.3.4")
    store = dicom_folder(folder, tmp_path / "cache")
    with pytest.raises(RequestError, match=r"has 2 segmentations \(SEG\)") as refused:
        find_case(store, series)
    assert first in str(refused.value)
    assert f"{first}.2" in str(refused.value)
    assert find_case(store, series, needs_label=False).label is None


def test_a_series_that_says_it_is_synthetic_is_no_source(archive: tuple[Path, Any, str], tmp_path: Path) -> None:
    folder, _, series = archive
    for file in (folder / "image").iterdir():
        change(file, SyntheticData="YES")
    with pytest.raises(RequestError, match="is marked as synthetic"):
        find_case(dicom_folder(folder, tmp_path / "cache"), series, needs_label=False)


def test_a_series_without_segmentation_has_no_label_map(archive: tuple[Path, Any, str], tmp_path: Path) -> None:
    folder, _, series = archive
    shutil.rmtree(folder / "seg")
    with pytest.raises(RequestError, match=r"has no segmentation \(SEG\)"):
        find_case(dicom_folder(folder, tmp_path / "cache"), series)


def test_a_series_that_came_in_part_is_fetched_again(
    archive: tuple[Path, Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, series = archive
    store = dicom_folder(folder, tmp_path / "cache")
    fetch = store._client.retrieve_series
    monkeypatch.setattr(store._client, "retrieve_series", lambda *uids: [])
    with pytest.raises(RequestError, match="no images that can be fetched"):
        find_case(store, series)

    def broken(*uids: str) -> Any:
        yield from fetch(*uids)
        raise ConnectionError("gone")

    monkeypatch.setattr(store._client, "retrieve_series", broken)
    with pytest.raises(ConnectionError):
        find_case(store, series)
    monkeypatch.undo()
    image = find_case(store, series).image
    assert image is not None
    assert [file.read_bytes()[128:132] for file in image.iterdir()] == [b"DICM"]


@pytest.mark.parametrize("by_frame", [False, True])
@pytest.mark.parametrize("uid", ["../../outside", "/tmp/outside", "1.2/..", "1..2", "", "1" * 65])
def test_no_file_is_named_by_what_is_no_uid(
    archive: tuple[Path, Any, str], tmp_path: Path, uid: str, by_frame: bool
) -> None:
    """Whatever an archive says: of a segmentation, and of images that are fetched frame by frame."""
    folder, _, series = archive
    image = pydicom.dcmread(next((folder / "image").iterdir()))
    store = dicom_folder(folder, tmp_path / "cache")
    of_series = {"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": [series]}}
    of_instance = {
        "00080018": {"vr": "UI", "Value": [uid]},
        "00081115": {"vr": "SQ", "Value": [{"0020000E": {"vr": "UI", "Value": [series]}}]},
    }
    store._fetch_by_frame = by_frame
    store._client = SimpleNamespace(
        search_for_series=lambda *uids, **more: [of_series],
        retrieve_series_metadata=lambda *uids: [of_instance],
        retrieve_series=lambda *uids: [image],
        retrieve_instance=lambda *uids: image,
    )
    with pytest.raises(RequestError, match=r"object with the invalid UID .*: correct it there"):
        series_case(store, series, needs_label=True)
    assert not list(tmp_path.rglob("*outside*"))
    assert not Path("/tmp/outside").exists()


def test_trainings_need_a_folder_of_studies(archive: tuple[Path, Any, str], tmp_path: Path) -> None:
    store = dicom_folder(archive[0], tmp_path / "cache")
    for cases in (real_cases, synthetic_cases):
        with pytest.raises(RequestError, match="need a folder of studies"):
            cases(store)


def test_a_server_before_an_archive(
    serve: Callable[..., Any], archive: tuple[Path, Any, str], trained_bundle: Any, tmp_path: Path
) -> None:
    folder, _, series = archive
    classes = read_dataset(trained_bundle.phantoms).classes
    label = as_nifti(find_case(dicom_folder(folder, tmp_path / "own"), series), tmp_path / "work", classes).label
    server = serve(tmp_path / "cache", dicom_folder=folder)
    answer = server.infer("ct_organ", image=series, params={"seed": 3, "similarity": 0.5})
    assert answer.status_code == 200, answer.text + server.log.read_text()[-3000:]
    answer = server.infer("ct_organ", image=series, params={"seed": 3})
    sent = server.infer("ct_organ", files={"file": ("m.nii.gz", label.read_bytes())}, params={"seed": 3})
    np.testing.assert_array_equal(pixels(answer.content), pixels(sent.content))
    assert server.infer("ct_organ", image="1.2.3").status_code == 404
    for path in ("/batch/infer/ct_organ", "/train/ct_organ", "/train/segmenter"):
        refused = requests.post(f"{server.url}{path}?run_sync=true", json={}, timeout=900)
        assert refused.status_code == 400, refused.text
        assert "folder of studies" in refused.text

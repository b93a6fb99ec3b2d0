"""Studies that come as DICOM: image series and segmentation through a DICOMweb client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from monai_segdiff.data import load_image, read_dataset
from monai_segdiff.data.dicom_write_seg import write_dicom_pair
from monai_segdiff.integrations.label.dicom import as_nifti, dicom_folder
from monai_segdiff.integrations.label.studies import find_case

from .server import pixels

AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])


@pytest.fixture
def archive(trained_bundle: Any, tmp_path: Path) -> tuple[Path, Any, str]:
    """One patient's slice as CT and SEG, as a scanner would have written them; the case and its series' UID."""
    dataset = read_dataset(trained_bundle.phantoms)
    case = dataset.splits["test"][0]
    image, label = load_image(case.image).numpy()[0], load_image(case.label).numpy()[0]
    files, seg = write_dicom_pair(
        image[..., None], label[..., None], AFFINE, dataset.classes, tmp_path / "archive", "CT"
    )
    for file in (*files, seg):
        content = pydicom.dcmread(file)
        del content.SyntheticData
        content.save_as(file)
    return tmp_path / "archive", case, str(pydicom.dcmread(files[0]).SeriesInstanceUID)


def test_the_label_map_of_a_series_lies_where_it_lay(archive: tuple[Path, Any, str], tmp_path: Path) -> None:
    folder, case, series = archive
    (tmp_path / "work").mkdir()
    found = load_image(as_nifti(find_case(dicom_folder(folder, tmp_path / "cache"), series), tmp_path / "work"))
    original = load_image(case.label).numpy()[0]
    assert sorted(found.shape) == sorted((1, 1, *original.shape))
    to_original = np.linalg.inv(AFFINE) @ found.affine.numpy()
    indices = np.stack(np.meshgrid(*map(np.arange, found.shape[1:]), [1], indexing="ij"))[..., 0]
    indices[3] = 1
    there = np.einsum("ij,jxyz->ixyz", to_original, indices.astype(float)).round().astype(int)
    np.testing.assert_array_equal(found.numpy()[0], original[there[0], there[1]])
    assert len(np.unique(original)) > 3


def test_a_study_in_dicom_gives_an_image(
    serve: Callable[..., Any], archive: tuple[Path, Any, str], tmp_path: Path
) -> None:
    folder, _, series = archive
    (tmp_path / "work").mkdir()
    label = as_nifti(find_case(dicom_folder(folder, tmp_path / "own"), series), tmp_path / "work")
    server = serve(tmp_path / "cache", dicom_folder=folder)
    answer = server.infer("ct_organ", image=series, params={"seed": 3})
    assert answer.status_code == 200, answer.text + server.log.read_text()[-3000:]
    sent = server.infer("ct_organ", files={"file": ("m.nii.gz", label.read_bytes())}, params={"seed": 3})
    np.testing.assert_array_equal(pixels(answer.content), pixels(sent.content))


def test_a_series_that_says_it_is_synthetic_is_no_source(
    serve: Callable[..., Any], archive: tuple[Path, Any, str], tmp_path: Path
) -> None:
    folder, _, series = archive
    for file in (folder / "image").iterdir():
        content = pydicom.dcmread(file)
        content.SyntheticData = "YES"
        content.save_as(file)
    answer = serve(tmp_path / "cache", dicom_folder=folder).infer("ct_organ", image=series)
    assert answer.status_code == 400
    assert "synthetic" in answer.text


def test_unknown_series_are_not_found(
    serve: Callable[..., Any], archive: tuple[Path, Any, str], tmp_path: Path
) -> None:
    server = serve(tmp_path / "cache", dicom_folder=archive[0])
    assert server.infer("ct_organ", image="1.2.3").status_code == 404


def test_pairs_are_not_written_to_a_dicom_server(
    serve: Callable[..., Any], archive: tuple[Path, Any, str], tmp_path: Path
) -> None:
    import requests

    server = serve(tmp_path / "cache", dicom_folder=archive[0])
    answer = requests.post(f"{server.url}/batch/infer/ct_organ?run_sync=true", json={}, timeout=60)
    assert answer.status_code == 400
    assert "folder of studies" in answer.text

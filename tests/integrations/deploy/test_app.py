"""The application in this process, and killed in others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from monai.transforms import LoadImage

from monai_segdiff import copy_bundle
from monai_segdiff.data import read_dicom_seg, read_dicom_series
from monai_segdiff.generation import load_generator
from monai_segdiff.integrations.deploy.app import run
from monai_segdiff.integrations.deploy.synthesis import synthesize

from .conftest import write_study

Application = Callable[..., Path]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGDIFF_NUM_STEPS", "3")


@pytest.fixture
def app(tmp_path: Path, liver_bundle: Any) -> Application:
    """Run the application on a folder with copies of files; returns what it has written."""

    def start(*files: Path, bundle: Path | None = None, output: str = "out") -> Path:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        run(["app", "-i", str(folder), "-o", str(tmp_path / output), "-m", str(bundle or liver_bundle.root)])
        return tmp_path / output / "synthetic"

    return start


@pytest.fixture
def liver(tmp_path: Path) -> list[Path]:
    """A segmentation of a liver in three of the five slices of the CT beside it."""
    return write_study(tmp_path / "written", "Liver")


@pytest.fixture(params=["written", pytest.param("real", marks=pytest.mark.data)])
def any_liver(request: pytest.FixtureRequest) -> list[Path]:
    """The same, and one that was drawn on a patient's CT."""
    if request.param == "written":
        return request.getfixturevalue("liver")
    folder = request.getfixturevalue("dcmqi")
    return [folder / "liver.dcm", *sorted((folder / "ct-3slice").iterdir())]


def volume(file: Path) -> hd.Volume:
    return hd.seg.segread(file).get_volume(combine_segments=True)


def test_a_segmentation_gives_a_series_and_the_same_segmentation(
    app: Application, any_liver: list[Path], liver_bundle: Any
) -> None:
    liver = any_liver
    out = app(*liver)
    images, file = sorted((out / "image").iterdir()), out / "seg" / "seg.dcm"
    assert len(images) == 3
    # highdicom, by itself: label map and place of the segmentation that was written are those of the source.
    source, written = volume(liver[0]), volume(file)
    np.testing.assert_array_equal(written.array, source.array)
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-4)
    series = hd.get_volume_from_series([pydicom.dcmread(one) for one in images])
    np.testing.assert_allclose(series.match_geometry(source, tol=1e-3).affine, source.affine, atol=1e-4)
    # Our readers.
    labels, classes = read_dicom_seg(liver[0])
    again, names = read_dicom_seg(file)
    image = read_dicom_series(out / "image")
    assert (list(classes), list(names)) == (["Liver"], ["liver"])
    np.testing.assert_array_equal(np.asarray(again), np.asarray(labels))
    for one in (again, image):
        np.testing.assert_allclose(np.asarray(one.affine), np.asarray(labels.affine), atol=1e-4)
    # The image is what the bundle samples, in HU, within half a step of what is stored.
    generator = load_generator(liver_bundle.root, overrides={"num_steps": 3})
    expected = synthesize(generator, labels, progress=False)
    step = float(pydicom.dcmread(images[0]).RescaleSlope)
    assert np.abs(np.asarray(image)[0] - expected).max() <= step / 2 * 1.01 + 1e-3
    assert expected.std() > step


@pytest.mark.parametrize("reader", ["ITKReader", "PydicomReader"])
def test_other_readers_see_the_series_on_the_segmentation(app: Application, liver: list[Path], reader: str) -> None:
    if reader == "ITKReader":
        pytest.importorskip("itk")
    out = app(*liver)
    theirs = LoadImage(reader=reader, image_only=True, ensure_channel_first=True)(out / "image")
    labels, _ = read_dicom_seg(liver[0])
    assert theirs.shape == labels.shape
    np.testing.assert_allclose(np.asarray(theirs.affine), np.asarray(labels.affine), atol=1e-3)
    np.testing.assert_allclose(np.asarray(theirs), np.asarray(read_dicom_series(out / "image")), atol=1e-3)


def test_what_is_written_is_marked_and_names_its_source(app: Application, liver: list[Path]) -> None:
    out = app(*liver)
    source = pydicom.dcmread(liver[0], stop_before_pixels=True)
    for file in [*(out / "image").iterdir(), out / "seg" / "seg.dcm"]:
        written = pydicom.dcmread(file)
        assert written.SyntheticData == "YES"
        assert written.PatientID != source.PatientID
        assert written.StudyInstanceUID != source.StudyInstanceUID
        assert [one.ReferencedSOPInstanceUID for one in written.SourceImageSequence] == [source.SOPInstanceUID]
        assert "seed 0, num_steps 3" in written.DerivationDescription


def test_environment_variables_shape_the_image(
    app: Application, liver: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = []
    for seed, guidance in (("0", "1"), ("0", "1"), ("7", "1"), ("0", "3")):
        monkeypatch.setenv("SEGDIFF_SEED", seed)
        monkeypatch.setenv("SEGDIFF_GUIDANCE", guidance)
        images.append(np.asarray(read_dicom_series(app(*liver, output=f"out{len(images)}") / "image")))
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[3])


@pytest.mark.data
@pytest.mark.parametrize(("name", "modality"), [("seg_image_ct_binary", "MR"), ("seg_image_cr_binary", "DX")])
def test_other_segmentations_under_other_names(
    app: Application, segdiff_data: Path, monkeypatch: pytest.MonkeyPatch, name: str, modality: str
) -> None:
    monkeypatch.setenv("SEGDIFF_NAMES", "{first segment: liver}")
    monkeypatch.setenv("SEGDIFF_MODALITY", modality)
    source = segdiff_data / "dicom_io" / "highdicom" / f"{name}.dcm"
    if not source.is_file():
        pytest.skip(f"{source} does not exist")
    out = app(source)
    labels, _ = read_dicom_seg(source)
    image = read_dicom_series(out / "image")
    again, classes = read_dicom_seg(out / "seg" / "seg.dcm", like=image)
    assert classes == {"liver": 1}
    assert image.meta["modality"] == modality
    np.testing.assert_array_equal(np.asarray(again), np.asarray(labels))
    np.testing.assert_allclose(np.asarray(image.affine)[:3, :3], np.asarray(labels.affine)[:3, :3], atol=1e-4)


def test_a_bundle_of_volumes(app: Application, liver: list[Path], liver_bundle_3d: Any) -> None:
    out = app(*liver, bundle=liver_bundle_3d.root)
    np.testing.assert_array_equal(volume(out / "seg" / "seg.dcm").array, volume(liver[0]).array)
    image = read_dicom_series(out / "image")
    assert image.shape == (1, 40, 32, 3)
    np.testing.assert_allclose(np.asarray(image.affine), np.asarray(read_dicom_seg(liver[0])[0].affine), atol=1e-4)


def test_bad_input_is_refused_and_leaves_nothing(
    app: Application, liver: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(kind: type[Exception], message: str, *files: Path, **how: Any) -> None:
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        with pytest.raises(kind, match=message):
            app(*files, **how)
        assert not list((tmp_path / "out").glob("*"))

    text, cut, half = tmp_path / "readme.txt", tmp_path / "cut.dcm", tmp_path / "half.dcm"
    text.write_text("no DICOM")
    content = liver[0].read_bytes()
    cut.write_bytes(content[:-100])
    half.write_bytes(content[: len(content) // 2])
    refused(ValueError, "in holds no DICOM segmentation")
    refused(ValueError, "in holds no DICOM segmentation", *liver[1:], text)
    refused(ValueError, r"cut\.dcm.*copy it again", cut)
    refused(ValueError, r"half\.dcm names no segments, so a part of it is missing: copy it again", half)
    others = write_study(tmp_path / "others", "GREEN", "ORANGE")[0].rename(tmp_path / "others.dcm")
    refused(ValueError, r"others\.dcm has segments of unknown class: 'GREEN', 'ORANGE'", others)
    both = r"in holds 2 DICOM segmentations, .*others\.dcm.*seg\.dcm.*: keep one of them"
    refused(ValueError, both, liver[0], others)
    refused(FileNotFoundError, "has no weights", liver[0], bundle=copy_bundle("ct_organ", tmp_path / "untrained"))
    refused(FileNotFoundError, "is no bundle and holds none", liver[0], bundle=tmp_path / "others")
    monkeypatch.setenv("SEGDIFF_NAMES", "{GREEN: hepar}")
    refused(ValueError, "names has unknown classes hepar", liver[0])
    monkeypatch.setenv("SEGDIFF_NAMES", "{GREEN: liver, ORANGE: liver}")
    monkeypatch.setenv("SEGDIFF_SEED", "first")
    refused(ValueError, "SEGDIFF_SEED: seed must be a whole number", liver[0])


def test_results_are_not_overwritten(app: Application, liver: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out" / "synthetic").mkdir(parents=True)
    (tmp_path / "out" / "synthetic" / "keep").touch()
    with pytest.raises(FileExistsError, match="synthetic holds the results of another run"):
        app(*liver)
    assert [one.name for one in (tmp_path / "out" / "synthetic").iterdir()] == ["keep"]


WAITING = """
import sys
import monai_segdiff.data.dicom.write_seg as writer
def wait(*args, **kw):
    print("writing", flush=True)
    sys.stdin.readline()
writer.write_dicom_seg = wait
from monai_segdiff.integrations.deploy.app import run
run(["app", *sys.argv[1:]])
"""


def test_runs_with_one_output_and_a_run_killed_while_it_writes(
    app: Application, liver: list[Path], liver_bundle: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(liver[0], tmp_path / "in")
    arguments = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(liver_bundle.root)]
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert any(line == "writing\n" for line in first.stdout)
        with pytest.raises(FileExistsError, match=r"another run is writing .*synthetic"):
            app(liver[0])
        first.kill()
    assert len(list((tmp_path / "out").glob(".tmp-*/image/*.dcm"))) == 3  # it was killed between the two
    assert not (tmp_path / "out" / "synthetic").exists()
    out = app(liver[0])
    assert [one.name for one in out.parent.iterdir()] == ["synthetic"]
    np.testing.assert_array_equal(volume(out / "seg" / "seg.dcm").array, volume(liver[0]).array)


def test_covariates_stand_in_the_image(
    app: Application, tmp_path: Path, aging_bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = write_study(tmp_path / "block", "block")
    monkeypatch.setenv("SEGDIFF_COVARIATES", "{age: 60, sex: F}")
    out = app(*block, bundle=aging_bundle.root)
    told = pydicom.dcmread(next((out / "image").iterdir()))
    assert "age 60.0, sex F" in told.DerivationDescription
    monkeypatch.delenv("SEGDIFF_COVARIATES")
    plain = app(*block, bundle=aging_bundle.root, output="plain")
    images = [np.asarray(read_dicom_series(one / "image")) for one in (out, plain)]
    assert not np.array_equal(*images)
    monkeypatch.setenv("SEGDIFF_COVARIATES", "{weight: 60}")
    with pytest.raises(ValueError, match="'weight' is no covariate; known are age, sex"):
        app(*block, bundle=aging_bundle.root, output="wrong")

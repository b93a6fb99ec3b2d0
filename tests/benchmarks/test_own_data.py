from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import own_data
from benchmarks.own_data_forms import FORMS, STRUCTURES, Form, hippocampi
from monai_segdiff.__main__ import _parser
from monai_segdiff.data import load_image, load_label_map
from monai_segdiff.data.dicom.write_series import write_dicom_series
from monai_segdiff.data.forms.form import Look
from monai_segdiff.data.forms.listing import find_form
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.preparation.source import Asked, Source
from monai_segdiff.workflows.plan.fingerprint import Fingerprint, write_fingerprint
from monai_segdiff.workflows.study_state import StageRecord, StudyState

PATIENTS = 5
TWO = ("Anterior", "Posterior")
# name of the form; patients in phantoms and in the real samples; channels; classes
EXPECTED: dict[str, tuple[str, int, int, tuple[str, ...], tuple[str, ...]]] = {
    "hippocampus": ("data set with dataset.json", PATIENTS, 200, (), TWO),
    "chest": ("folders of images and label maps", 2, 23, (), ("lung",)),
    "totalsegmentator": ("folder for each subject with a folder of masks", 2, 2, (), tuple(sorted(STRUCTURES))),
    "nnunet": ("nnU-Net v2 raw folder", PATIENTS, PATIENTS, (), TWO),
    "channels": ("nnU-Net v2 raw folder", PATIENTS, PATIENTS, ("MRI", "smooth", "edges"), TWO),
    "dicom": ("DICOM studies", PATIENTS, PATIENTS, (), TWO),
    "pictures": ("folders of images and label maps", PATIENTS, PATIENTS, (), TWO),
    "patients": ("folder for each patient", PATIENTS, PATIENTS, (), TWO),
    "splits": ("folders of images and label maps for each split", PATIENTS, PATIENTS, (), TWO),
}
OF_VOLUMES = ("nnunet", "channels", "dicom", "patients")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with boxes of classes, laid out as the real samples are."""
    root, rng = tmp_path_factory.mktemp("samples"), np.random.default_rng(0)
    entries = []
    for number in range(PATIENTS):
        label = np.zeros((12 + number, 20, 10), np.uint8)
        label[2:6, 3:17, 2:5], label[6:9, 5:12, 4:9] = 1, 2
        files = [f"{part}/hippocampus_{number:03d}.nii.gz" for part in ("imagesTr", "labelsTr")]
        image = (rng.random(label.shape) * 1000 * 10**number).astype(np.float32)
        for file, voxels in zip(files, (image, label), strict=True):
            save_nifti(root / "mr/hippocampus" / file, voxels, np.diag([1.0, 1.5, 2.0, 1.0]))
        entries.append({"image": files[0], "label": files[1]})
    content = {"labels": {"0": "background", "1": TWO[0], "2": TWO[1]}, "training": entries}
    (root / "mr/hippocampus/dataset.json").write_text(json.dumps(content))
    for folder, shape in (("totalseg_example", (8, 9, 10)), ("totalseg_dicom", (16, 12, 5))):
        voxels, affine = rng.integers(-1000, 1000, shape).astype(np.int16), np.diag([-2.0, -2.0, 2.0, 1.0])
        if folder == "totalseg_dicom":
            write_dicom_series(voxels, affine, root / "ct" / folder / "dicom", "CT")
        else:
            save_nifti(root / "ct" / folder / "ct.nii.gz", voxels, affine)
        ids = rng.choice([0, 1, 32, 52, 117], shape).astype(np.uint8)
        save_nifti(root / "ct" / folder / f"{'seg' if 'dicom' in folder else 'seg_total'}.nii.gz", ids, affine)
    for folder in ("images", "masks_lung"):
        (root / "cxr/mhh_v7" / folder).mkdir(parents=True)
        for name in "abc":
            Image.fromarray(np.uint8(255) * rng.integers(0, 2, (8, 8), np.uint8)).save(
                root / "cxr/mhh_v7" / folder / f"{name}.png"
            )
    (root / "cxr/mhh_v7/patients.csv").write_text("image_id,patient_id\na,p1\nb,p1\nc,p2\n")
    return root


def opened(form: Form, scans: Path) -> Source:
    """The data as the command of the row opens them."""
    args = _parser().parse_args(shlex.split(form.command(form.images))[3:])
    return Source.open(scans, Asked(classes=args.classes))


@pytest.fixture
def samples(request: pytest.FixtureRequest) -> Path:
    """Phantoms, or the real samples."""
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("samples", ["phantoms", "segdiff_data"], indirect=True)
@pytest.mark.parametrize("name", FORMS)
def test_a_folder_is_recognised_as_the_form_that_it_was_made_in(
    name: str, samples: Path, phantoms: Path, tmp_path: Path
) -> None:
    form, (kind, few, many, channels, classes) = FORMS[name], EXPECTED[name]
    scans = form.write(samples, tmp_path, PATIENTS)
    found = find_form(Look(scans))
    assert found is not None
    assert found.name == kind
    source = opened(form, scans)
    assert len({case.patient for case in source.cases}) == (few if samples == phantoms else many)
    assert source.channels == channels
    assert tuple(source.classes) == classes


@pytest.mark.parametrize("name", OF_VOLUMES)
def test_volumes_are_those_that_were_laid_out(name: str, phantoms: Path, tmp_path: Path) -> None:
    form = FORMS[name]
    source = opened(form, form.write(phantoms, tmp_path, PATIENTS))
    cases = sorted(source.cases, key=lambda case: case.id)
    for case, volume in zip(cases, hippocampi(phantoms, PATIENTS), strict=True):
        with source.files_of(case) as files:
            image, label = load_image(files.image), load_label_map(files.label)
        assert np.array_equal(label.numpy()[0], volume.label)
        assert np.allclose(label.affine, volume.affine)
        assert np.allclose(image.affine, volume.affine)
        step = np.ptp(volume.image) / 4095 if name == "dicom" else 0.0
        scaled = image.numpy()[0]
        if name == "dicom":  # stored in 12 bits
            scaled = scaled / 4095 * np.ptp(volume.image) + volume.image.min()
        assert np.allclose(scaled, volume.image, atol=step)


def test_a_file_of_masks_holds_its_structure(phantoms: Path, tmp_path: Path) -> None:
    form = FORMS["totalsegmentator"]
    source = opened(form, form.write(phantoms, tmp_path, PATIENTS))
    assert len(STRUCTURES) == len(set(STRUCTURES)) == 117
    for case, folder in zip(source.cases, ("totalseg_example/seg_total", "totalseg_dicom/seg"), strict=True):
        ids = load_label_map(phantoms / "ct" / f"{folder}.nii.gz")
        with source.files_of(case) as files:
            image, label = load_image(files.image), load_label_map(files.label)
        assert np.allclose(image.affine, ids.affine)
        for name, number in (("spleen", 1), ("vertebrae_T12", 32), ("aorta", 52), ("costal_cartilages", 117)):
            assert np.array_equal(label.numpy() == source.classes[name], ids.numpy() == number)


@pytest.mark.parametrize("name", ["pictures", "splits"])
def test_pictures_lie_as_the_volume_they_were_cut_from(name: str, phantoms: Path, tmp_path: Path) -> None:
    form = FORMS[name]
    source = opened(form, form.write(phantoms, tmp_path, PATIENTS))
    volumes = {volume.name: volume for volume in hippocampi(phantoms, PATIENTS)}
    for case in source.cases:
        patient, _, index = case.id.rpartition("_slice")
        assert case.label is not None
        assert np.array_equal(load_label_map(case.label).numpy()[0], volumes[patient].label[:, int(index)])
        assert np.array_equal(load_image(case.image).numpy()[0], volumes[patient].gray[:, int(index)])


def test_three_of_five_patients_are_to_train_on(phantoms: Path, tmp_path: Path) -> None:
    root = FORMS["splits"].write(phantoms, tmp_path, PATIENTS)
    held = {
        split: {file.name.partition("_slice")[0] for file in (root / "img_dir" / split).iterdir()}
        for split in ("train", "val", "test")
    }
    assert [len(names) for names in held.values()] == [3, 1, 1]
    assert len(set.union(*held.values())) == PATIENTS


def study(folder: Path, *, evaluated: bool) -> Path:
    """A study of three cases of two patients, half as long again as planned."""
    found = Fingerprint("", "made", "", (), ("a",), {}, (), 3, {"p": 2, "q": 1}, True, ())
    folder.mkdir(parents=True)
    write_fingerprint(folder / "fingerprint.json", found)
    expected = {"prepare": 10.0, "train": 20.0, "generate": 30.0, "evaluate": 40.0, "memory": 1, "gpu_memory": 0}
    stages = {"check": StageRecord({}, True, 7.0), "plan": StageRecord({}, True, 8.0, {"expected": expected})}
    for name in ("prepare", "train", "generate", *(["evaluate"] if evaluated else [])):
        stages[name] = StageRecord({}, True, 1.5 * expected[name])
    stages["generate"].result = {"pairs": 12}
    if evaluated:
        stages["evaluate"].result = {"failed": 0.25}
    StudyState(folder / "study.json", {}, stages).write()
    return folder


@pytest.mark.parametrize(("evaluated", "planned"), [(False, 60.0), (True, 100.0)])
def test_what_was_planned_is_of_the_stages_that_were_reached(tmp_path: Path, evaluated: bool, planned: float) -> None:
    row = own_data.facts_of(study(tmp_path / "study", evaluated=evaluated), 2 * planned)
    assert row == {
        "patients": 2,
        "images": 3,
        "seconds": 2 * planned,
        "expected": planned,
        "difference": pytest.approx(1.0),
        "spent": pytest.approx(1.5 * planned),
        "difference_of_stages": pytest.approx(0.5),
        "failed": 0.25 if evaluated else None,
        "pairs": 12,
    }


def test_rows_are_picked_and_not_measured_twice(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = []

    def run(command: str, folder: Path, samples: Path) -> float:
        typed.append(command)
        assert (folder / command.split()[4]).is_dir()
        study(folder / "study", evaluated=False)
        return 66.0

    monkeypatch.setattr(own_data, "run", run)
    monkeypatch.setenv("SEGDIFF_DATA", str(phantoms))
    common = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "own"), "--patients", "2"]
    own_data.main([*common, "--only", "pictures"])
    own_data.main([*common, "--only", "pictures", "patients"])
    end = "--output study --classes Anterior=1 Posterior=2 --images 64 --until generate"
    assert typed == [f"python -m monai_segdiff run {name} {end}" for name in ("pictures", "patients")]
    page = (tmp_path / "own.md").read_text()
    assert page.count("| 2 | 3 | 66 | 60 | +10% | 90 | +50% | – | 12 |") == 2
    assert str(tmp_path) not in page + (tmp_path / "own.json").read_text(), "no path of the machine"
    with pytest.raises(SystemExit, match=r"--images pictures=0: give ROW=N, where ROW is one of hippocampus"):
        own_data.main([*common, "--images", "pictures=0"])


def test_a_command_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=rf"see {re.escape(str(tmp_path))}/log\.txt: no such thing as /data/set"):
        own_data.run(
            """python -c 'import sys; sys.exit("no such thing as $SEGDIFF_DATA/set")'""", tmp_path, Path("/data")
        )

"""What the documentation shows works: Python blocks are run, shell blocks name verbs, options and ids that exist."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from PIL import Image

from monai_segdiff import bundle_path
from monai_segdiff.__main__ import _parser, main
from monai_segdiff.data import (
    BreastPhantom,
    ChestPhantom,
    CTPhantom,
    SyntheticInfo,
    read_dataset,
    read_dicom_seg,
    read_dicom_series,
    write_dicom_pair,
)
from monai_segdiff.integrations.label.stock import parser as stock_parser

from .pages import ROOT, blocks, commands, page_id, pages

PYTHON_PAGES = [page for page in pages() if any(b.language == "python" for b in blocks(page))]
SHELL_LINES = [
    pytest.param(command, page, block.text, id=f"{page_id(page)}:{block.line}:{number}")
    for page in pages()
    for block in blocks(page)
    if block.language in ("bash", "shell", "sh", "console")
    for number, command in enumerate(commands(block))
]

# Commands that this test knows nothing about beyond their names.
OTHER_COMMANDS = {
    "cd",
    "cp",
    "curl",
    "export",
    "mlflow",
    "monailabel",
    "monai-deploy",
    "git",
    "mkdir",
    "tensorboard",
    "wandb",
    "pip",
    "source",
    ".venv/bin/pre-commit",
}


def _xrays(folder: Path) -> None:
    """Six pictures of six patients with lung masks and a table of patients, as `docs/data.md` supposes."""
    lines = ["name,patient"]
    for part in ("xrays", "lung_masks"):
        (folder / part).mkdir()
    for number in range(6):
        hu, labels = CTPhantom(number).render((40, 48))
        gray = ((hu.clip(-200, 300) + 200) / 2).astype(np.uint8)
        mask = np.where(labels == 3, 255, 0).astype(np.uint8)
        Image.fromarray(gray).save(folder / "xrays" / f"x{number}.png")
        Image.fromarray(mask).save(folder / "lung_masks" / f"x{number}.png")
        lines.append(f"x{number},patient{number}")
    (folder / "patients.csv").write_text("\n".join(lines))


def _legs(folder: Path) -> None:
    """Four leg CT and a scan of two legs, as far as cylinders are legs."""
    for part in ("leg_ct", "scans"):
        (folder / part).mkdir()

    def save(name: str, centers: list[float], shape: tuple[int, int, int], size: float, height: float) -> None:
        x, y = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * size for n in shape[:2]], indexing="ij")
        distance = np.min([np.hypot(x - center, y) for center in centers], axis=0)
        plane = np.where(distance < 10, 700, np.where(distance < 30, 40, -1000)).astype(np.int16)
        affine = np.diag([size, size, size, 1.0])
        affine[:3, 3] = [-size * (n - 1) / 2 for n in shape]
        affine[2, 3] += height
        nib.save(nib.Nifti1Image(np.repeat(plane[:, :, None], shape[2], axis=2), affine), folder / name)

    for number in range(4):
        save(f"leg_ct/leg{number}.nii.gz", [0], (20, 20, 20), 4.0, 0.0)
    save("scans/z001.nii.gz", [-40, 40], (40, 20, 200), 4.0, -470.0)


def _ct_org(folder: Path) -> None:
    """Three volumes under CT-ORG's file names."""
    (folder / "CT-ORG").mkdir()
    for number in (0, 2, 139):
        phantom = CTPhantom(number)
        hu, labels = phantom.render((12, 12, 4))
        for name, array in (("volume", hu), ("labels", labels.astype(np.float32))):
            nib.save(nib.Nifti1Image(array, phantom.affine((12, 12, 4))), folder / f"CT-ORG/{name}-{number}.nii.gz")


def _duke(folder: Path) -> None:
    """Two patients under the Duke collection's file names: one file of masks with layers, one with other values."""
    nrrd = pytest.importorskip("nrrd")
    (folder / "Duke" / "images").mkdir(parents=True)
    for number, (layered, first) in {2: (False, "Vessels"), 21: (True, "Dense")}.items():
        patient, phantom = f"Breast_MRI_{number:03d}", BreastPhantom(number)
        image, labels = phantom.render((24, 24, 10))
        affine = phantom.affine((24, 24, 10))
        # The image as scanners write it, to the left and to posterior; the masks in RAS.
        flipped = nib.Nifti1Image(image, affine).as_reoriented(np.array([[0, -1], [1, -1], [2, 1]]))
        nib.save(flipped, folder / f"Duke/images/{patient}.nii.gz")
        masks = folder / "Duke" / "Segmentation_Masks_NRRD" / patient
        masks.mkdir(parents=True)
        lps = np.diag([-1.0, -1, 1, 1]) @ affine
        origin, directions = lps[:3, 3], lps[:3, :3].T
        geometry = {"space": "left-posterior-superior", "space origin": origin}
        breast = {**geometry, "space directions": directions, "Segment0_Name": "Breast", "Segment0_LabelValue": "1"}
        nrrd.write(str(masks / f"Segmentation_{patient}_Breast.seg.nrrd"), (labels > 0).astype(np.uint8), breast)
        values = {"Dense": labels == 2, "Vessels": labels == 3}
        names = sorted(values, key=lambda name: name != first)
        header = {**geometry, "space directions": directions}
        for index, name in enumerate(names):
            header[f"Segment{index}_Name"] = name
            header[f"Segment{index}_LabelValue"] = "1" if layered else str(index + 1)
            header[f"Segment{index}_Layer"] = str(index if layered else 0)
        if layered:
            array = np.stack([values[name] for name in names]).astype(np.uint8)
            header["space directions"] = np.vstack([np.full(3, np.nan), directions])
        else:
            array = sum((index + 1) * values[name] for index, name in enumerate(names)).astype(np.uint8)
        nrrd.write(str(masks / f"Segmentation_{patient}_Dense_and_Vessels.seg.nrrd"), array, header)


def _mimic(folder: Path) -> None:
    """Six patients under MIMIC-CXR-JPG's file names, one of them with a lateral image."""
    root = folder / "mimic-cxr-jpg"
    (root / "masks").mkdir(parents=True)
    findings = [
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Pleural Effusion",
        "Pneumothorax",
        "No Finding",
    ]
    labels = [",".join(["subject_id", "study_id", *findings])]
    views = ["dicom_id,subject_id,study_id,ViewPosition"]
    for number in range(6):
        patient, study, name = 10000001 + number, 50000001 + number, f"abc-{number}"
        image, mask, _ = ChestPhantom(number).render((48, 48))
        file = root / f"files/p10/p{patient}/s{study}/{name}.jpg"
        file.parent.mkdir(parents=True)
        Image.fromarray((255 * image.clip(0, 1)).astype(np.uint8)).save(file)
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"{name}.png")
        labels.append(f"{patient},{study}," + (",,,,1.0,," if number % 2 else ",,,,,,1.0"))
        views += [f"{name},{patient},{study},{'PA' if number % 3 else 'AP'}", f"{name}-l,{patient},{study},LATERAL"]
    (root / "mimic-cxr-2.0.0-chexpert.csv").write_text("\n".join(labels))
    (root / "mimic-cxr-2.0.0-metadata.csv").write_text("\n".join(views))


def _generative(folder: Path) -> None:
    """Two small networks with configurations as monai-generative wrote them."""
    options = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "num_res_blocks": 1, "norm_num_groups": 4}
    unet = {**options, "attention_levels": [False, False]}
    autoencoder = {**options, "attention_levels": [False] * 3, "latent_channels": 3}
    autoencoder |= {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}
    networks = {
        "unet": DiffusionModelUNet(channels=[8, 8], **unet),
        "autoencoder": AutoencoderKL(channels=[8] * 3, **autoencoder),
    }
    for part in ("old", "new", "models"):
        (folder / part).mkdir()
    for name, network in networks.items():
        weights = {}
        for key, value in network.state_dict().items():
            old = key.replace(".postconv.", ".conv.").replace(".attn.out_proj.", ".proj_attn.")
            weights[old.replace(".attn.to_", ".to_")] = value
        torch.save({"model": weights}, folder / "old" / f"{name}.pt")
    nets = "generative.networks.nets."
    config = {"autoencoder_def": {"_target_": f"{nets}AutoencoderKL", "num_channels": [8] * 3, **autoencoder}}
    (folder / "old/train.json").write_text(json.dumps(config))
    config = {"unet": {"_target_": f"{nets}DiffusionModelUNet", "num_channels": [8, 8], **unet}}
    (folder / "old/unet.yaml").write_text(json.dumps(config))


def _dicom(folder: Path) -> None:
    """Six studies of CT, and a scan, with the segments that `docs/dicom.md` supposes."""
    pytest.importorskip("highdicom")
    size = (128, 128, 3)
    classes = {"Liver": 3, "Left Kidney": 5, "Right Kidney": 6}
    for number, name in enumerate(["scan", *(f"studies/p{number:03d}" for number in range(1, 7))]):
        phantom = CTPhantom(number)
        hu, labels = phantom.render(size)
        kidneys, left = labels == 5, np.arange(size[0])[:, None, None] < size[0] // 2
        labels = np.where(labels == 3, 3, 0) + kidneys * np.where(left, 5, 6)
        info = SyntheticInfo(patient_id=f"P{number}")
        _, seg = write_dicom_pair(hu, labels, phantom.affine(size), classes, folder / name, "CT", info=info)
        seg.rename(folder / name / "seg.dcm")


def _data_page(folder: Path) -> None:
    _xrays(folder)
    _legs(folder)


def _trained(folder: Path) -> None:
    """A data set `prepared` and a trained bundle `my_ct`, as the quick start makes them."""
    with redirect_stdout(StringIO()):
        exec(
            next(b.text for b in blocks(ROOT / "docs/quickstart.md") if b.language == "python"),
            {"__name__": "__main__"},
        )
    assert (folder / "my_ct/models/model.pt").is_file()


FIXTURES: dict[str, Callable[[Path], None]] = {
    "README.md": _trained,
    "docs/converting.md": _generative,
    "docs/data.md": _data_page,
    "bundles/breast_mri/docs/README.md": _duke,
    "bundles/chest_xray/docs/README.md": _mimic,
    "bundles/ct_organ/docs/README.md": _ct_org,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON_PAGES, ids=page_id)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if prepare := FIXTURES.get(page_id(page)):
        prepare(tmp_path)
    torch.manual_seed(0)
    namespace: dict[str, object] = {"__name__": "__main__"}
    on_page = blocks(page)
    for block, following in zip(on_page, [*on_page[1:], None], strict=True):
        if block.language != "python":
            continue
        # Leading empty lines make a traceback name the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        printed = StringIO()
        with redirect_stdout(printed):
            exec(code, namespace)
        if "print(" in block.text:
            assert following is not None, f"{page}:{block.line} prints, but its output is not shown"
            assert following.language == "text", f"{page}:{block.line} prints, but its output is not shown"
            shown, found = following.text.strip(), printed.getvalue().strip()
            assert found.endswith(shown), f"{page}:{following.line} shows another output"


def test_commands_of_the_page_on_converting_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _generative(tmp_path)
    lines = [
        line for block in blocks(ROOT / "docs/converting.md") if block.language == "bash" for line in commands(block)
    ]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "monai_segdiff"]
        assert main(words[3:]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"autoencoder.pt", "train.yaml", "unet.pt"}


@pytest.mark.slow
def test_commands_of_the_page_on_dicom_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_bundle: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    _dicom(tmp_path)
    on_page = [block for block in blocks(ROOT / "docs/dicom.md") if block.language == "bash"]
    lines = [words for block in on_page for line in commands(block) if (words := shlex.split(line))[2] != "pip"]
    assert [words[3] for words in lines] == ["prepare", "generate", "generate"]
    assert main(lines[0][3:]) == 0
    assert read_dataset("prepared").classes == {"liver": 1, "kidneys": 2}
    bundle = make_bundle(tmp_path)
    bundle.root = bundle.root.rename(tmp_path / "my_ct")
    small = {"channels": [8] * 4, "attention_levels": [False] * 4}  # attention in the middle sees 16x16 places
    bundle.run(dataset_dir=str(tmp_path / "prepared"), image_size=[128, 128], **small)
    for words in lines[1:]:
        assert main(words[3:]) == 0
        output = Path(words[words.index("--output") + 1])
        for record in json.loads((output / "manifest.json").read_text())["samples"]:
            assert (output / record["dicom_seg"]).is_file()
            image = read_dicom_series(output / record["dicom_series"])
            labels, classes = read_dicom_seg(output / record["dicom_seg"], like=image)
            assert list(classes) == ["liver", "kidneys"]
            assert int((labels > 0).sum()) == int((np.asarray(nib.load(output / record["label"]).dataobj) > 0).sum())
    assert {path.name for path in Path("from_scan/dicom").iterdir()} == {f"seg_slice{n:03d}_000" for n in range(3)}


def test_ct_org_set_up_can_be_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_segdiff.data import check_dataset, prepare_dataset

    monkeypatch.chdir(tmp_path)
    _ct_org(tmp_path)
    page = ROOT / "bundles/ct_organ/docs/README.md"
    for block in blocks(page):
        if block.language == "python":
            exec(block.text, {"__name__": "__main__"})
    assert [f for f in check_dataset("CT-ORG") if f.severity == "error"] == []
    prepared = prepare_dataset("CT-ORG", "prepared", size=12, body_threshold=-300, progress=False)
    assert list(prepared.classes) == ["body", "liver", "bladder", "lungs", "kidneys", "bone", "brain"]
    assert {case.patient for cases in prepared.splits.values() for case in cases} == {
        "ctorg000",
        "ctorg002",
        "ctorg139",
    }


def test_duke_set_up_keeps_the_classes_in_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_segdiff.data import prepare_dataset

    monkeypatch.chdir(tmp_path)
    _duke(tmp_path)
    for block in blocks(ROOT / "bundles/breast_mri/docs/README.md"):
        if block.language == "python":
            exec(block.text, {"__name__": "__main__"})
    for number in (2, 21):
        image, labels = BreastPhantom(number).render((24, 24, 10))
        for part, expected in (("images", image), ("labels", labels)):
            written = nib.load(f"Duke/{part}/Breast_MRI_{number:03d}.nii.gz")
            np.testing.assert_allclose(written.get_fdata(), expected, atol=1e-5)
            np.testing.assert_allclose(written.affine, BreastPhantom(number).affine((24, 24, 10)), atol=1e-3)
    prepared = prepare_dataset(
        "Duke", "prepared", {"breast": 1, "fgt": 2, "vessel": 3}, size=24, percentiles=(0.5, 99.5),
        fractions=(0.5, 0.0, 0.5), progress=False,
    )  # fmt: skip
    patients = {case.patient for cases in prepared.splits.values() for case in cases}
    assert patients == {"Breast_MRI_002", "Breast_MRI_021"}


def test_mimic_set_up_splits_by_patient_and_knows_the_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _mimic(tmp_path)
    for block in blocks(ROOT / "bundles/chest_xray/docs/README.md"):
        if block.language == "python":
            exec(block.text, {"__name__": "__main__"})
    dataset = read_dataset("mimic_256")
    cases = {case.id: case for split in dataset.splits.values() for case in split}
    assert {case.patient for case in cases.values()} == {str(10000001 + number) for number in range(6)}
    assert dataset.split_kind == "by patient"
    assert cases["abc-1"].findings == ("Pleural Effusion",)
    assert cases["abc-2"].findings == ()


def test_pages_show_commands() -> None:
    assert len(SHELL_LINES) > 30


@pytest.mark.parametrize(("command", "page", "block"), SHELL_LINES)
def test_shell_commands_exist(
    command: str, page: Path, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command, comments=True)
    while "=" in words[0] and not words[0].startswith("-"):
        words = words[1:]  # environment variables
    if words[0] == "eval":  # of what a command prints
        words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
    name = Path(words[0]).name
    if name == "make":
        _check_make(words[1:])
    elif name == "monai-segdiff":
        _check_verb(words[1:])
    elif name in ("python", "python3", "torchrun"):
        if words[1] == "-c":
            monkeypatch.chdir(tmp_path)
            exec(words[2], {})
            return
        assert "-m" in words, f"{command!r} runs no module"
        module, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
        if module == "monai.bundle":
            _check_bundle(arguments, _bundle_of(page, block))
            return
        package = module.split(".")[0] if module.startswith("benchmarks.") else module
        assert package in MODULES, f"{command!r} runs {module}, which this test does not know"
        MODULES[package](arguments if package == module else [module, *arguments])
    else:
        assert words[0] in OTHER_COMMANDS, f"{command!r} is not known to this test"


def _check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    variables = set(re.findall(r"^(\w+)\s*\?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in words:
        known = variables if "=" in word else targets
        assert word.split("=")[0] in known, f"the Makefile has no {word}"


def _check_verb(words: list[str]) -> None:
    if ">" in words:  # where the shell puts what is printed
        words = words[: words.index(">")]
    if "--help" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            _parser().parse_args(words)
    else:
        _parser().parse_args(words)  # an option that does not exist ends the test by SystemExit


def _check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()


def _check_sphinx(words: list[str]) -> None:
    assert (ROOT / words[-2] / "conf.py").is_file()


def _bundle_of(page: Path, block: str) -> str:
    """The bundle in whose folder the commands of a block run: the one that is copied there, or ct_organ."""
    if page.is_relative_to(ROOT / "bundles"):
        return page.parents[1].name
    copied = re.search(r"copy_bundle\('(\w+)'", block)
    return copied.group(1) if copied else "ct_organ"


def _check_bundle(words: list[str], bundle: str) -> None:
    function = getattr(monai.bundle, words[0])
    known = set(inspect.signature(function).parameters) - {"override", "kwargs"}
    flags = [i for i, word in enumerate(words) if word.startswith("--")]
    positional = words[1 : flags[0]] if flags else words[1:]
    given = {words[i].removeprefix("--"): words[i + 1] for i in flags}
    assert len(words) == 1 + len(positional) + 2 * len(flags), f"every option needs a value: {words}"
    files = [
        _in_bundle(file, bundle) for key in ("config_file", "meta_file") if key in given for file in _listed(given[key])
    ]
    parser = ConfigParser()
    parser.read_config([file for file in files if file.suffix == ".yaml" and file.parent.name == "configs"])
    for name in positional + [key for key in given if key not in known | {"bundle_root"}]:
        assert name in parser, f"{name} is no id of {[file.name for file in files]}"


def _listed(value: str) -> list[str]:
    return ast.literal_eval(value) if value.startswith("[") else [value]


def _in_bundle(file: str, bundle: str) -> Path:
    """A configuration file of the bundle in the checkout; files that a training writes are taken on trust."""
    found = re.search(r"(?:^|/)((?:configs|models)/.*)$", file)
    assert found, f"{file} is no path in a bundle"
    path = bundle_path(bundle) / found[1]
    assert path.is_file() or path.name == "model.yaml", f"{path} does not exist"
    return path


def _check_benchmark(words: list[str]) -> None:
    source = (ROOT / f"{words[0].replace('.', '/')}.py").read_text()
    for module in re.findall(r"^from benchmarks\.(\w+) import", source, re.MULTILINE):
        source += (ROOT / "benchmarks" / f"{module}.py").read_text()
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in source, f"{words[0]} has no option {word}"


def _check_deploy(words: list[str]) -> None:
    assert words[::2] == ["-i", "-o", "-m"]  # MONAI Deploy's own, which has an environment of its own


def _check_stock(words: list[str]) -> None:
    stock_parser().parse_args(words)


MODULES: dict[str, Callable[[list[str]], None]] = {
    "monai_segdiff": _check_verb,
    "monai_segdiff.integrations.deploy": _check_deploy,
    "monai_segdiff.integrations.label.stock": _check_stock,
    "benchmarks": _check_benchmark,
    "pip": _check_pip,
    "sphinx": _check_sphinx,
}

"""Tiny inputs of every format, sound, from which the mutated ones are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from PIL import Image

from monai_segdiff import copy_bundle
from monai_segdiff.__main__ import main
from monai_segdiff.data import write_dicom_seg, write_dicom_series
from monai_segdiff.evaluation.readers.segmenter import TrainedSegmenter, save_segmenter
from monai_segdiff.networks import save_weights

from ..conversion.cases import CASES, monai_network, old_weights

__all__ = ["write_samples"]

CLASSES = {"body": 1, "liver": 2}
_AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
_CARD = {
    "image_size": [16, 16],
    "classes": CLASSES,
    "parents": {"liver": "body"},
    "intensity_range": [-200.0, 300.0],
    "channels": [4, 4],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "num_head_channels": 4,
    "norm_num_groups": 2,
    "num_steps": 1,
}


def write_samples(root: Path) -> None:
    """Write everything below a folder.

    Args:
        root: an empty folder.
    """
    _volumes(root / "volumes")
    _pictures(root / "pictures")
    _stacks(root / "stacks")
    _lists(root / "lists")
    _other_formats(root / "others")
    _dicom(root / "dicom")
    _slices(root / "real", 4)
    _slices(root / "edits", 1)
    _bundle(root / "bundle")
    _bundle(root / "gray", intensity_range=[0.0, 255.0])
    _legs(root / "legs")
    _segmenter(root / "segmenter.pt")
    _converted(root / "old")
    verbs = (
        ("prepare", root / "volumes", root / "prepared", "--size", "12", "--fractions", "1", "0", "0"),
        ("generate", "--bundle", root / "bundle", "--masks", root / "real", "--output", root / "synthetic"),
    )
    for verb in verbs:
        if main([str(word) for word in verb]) != 0:
            raise RuntimeError(f"the samples cannot be made: {verb[0]} failed")


def label_map(shape: Sequence[int], shift: int = 0) -> np.ndarray:
    """A body with a liver in it, in the middle slices."""
    label = np.zeros(shape, dtype=np.uint8)
    label[2:-2, 2:-2] = 1
    label[4 + shift : 8 + shift, 5:9] = 2
    return label


def _image(label: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, label.shape)
    return (noise + 80.0 * label).astype(np.float32)


def _nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, _AFFINE), path)


def _describe(root: Path, names: Sequence[str], split: str = "training", **more: object) -> None:
    entries = [
        {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}", "patient": name.split(".")[0]} for name in names
    ]
    labels = {"0": "background", **{str(index): name for name, index in CLASSES.items()}}
    (root / "dataset.json").write_text(json.dumps({"name": "sample", "labels": labels, split: entries, **more}))


def _volumes(root: Path) -> None:
    for number, name in enumerate(("a.nii.gz", "b.nii")):
        label = label_map((12, 12, 3), number)
        _nifti(root / "imagesTr" / name, _image(label, number))
        _nifti(root / "labelsTr" / name, label)
    _describe(root, ["a.nii.gz", "b.nii"], parents={"liver": "body"})


def _slices(root: Path, number: int) -> None:
    """2D cases in all three splits; and one more mask, edited."""
    names = [f"p{index}.nii.gz" for index in range(number)]
    for index, name in enumerate(names):
        label = label_map((16, 16), index % 2)
        _nifti(root / "imagesTr" / name, _image(label, index))
        _nifti(root / "labelsTr" / name, label)
    _nifti(root / "edited" / names[0], label_map((16, 16), 3))
    _describe(root, names, "test", intensity_range=[-200, 300], spatial_dims=2)
    content = json.loads((root / "dataset.json").read_text())
    content["training"] = content["test"][: number // 2]
    content["test"] = content["test"][number // 2 :]
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in content.items() if value}))


def _pictures(root: Path) -> None:
    label = label_map((16, 16))
    gray = Image.fromarray(_image(label).clip(0, 255).astype(np.uint8))
    colored = Image.merge("RGB", (gray, gray, gray.transpose(Image.Transpose.ROTATE_90)))
    palette = Image.fromarray(label)
    palette.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2])
    for folder in ("images", "labels", "jpeg"):
        (root / folder).mkdir(parents=True)
    gray.save(root / "images" / "a.png")
    colored.save(root / "images" / "b.png")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 200).save(root / "images" / "c.png")
    for name in ("a", "b", "c"):
        Image.fromarray(label).save(root / "labels" / f"{name}.png")
        gray.save(root / "jpeg" / f"{name}.jpg")
    palette.save(root / "labels" / "b.png")
    (root / "patients.csv").write_text("name,patient\na,p1\nb,p1\nc,p2\n")
    (root / "findings.csv").write_text("id,nodule,effusion\na,1,0\nb,0,-1\nc,,1\n")


def _stacks(folder: Path) -> None:
    """Pages of TIFF, packed and not."""
    for number, packed in enumerate((None, "tiff_lzw", "tiff_deflate")):
        label = label_map((16, 16, 3), number)
        image = (_image(label, number) * 0.5 + 90).clip(0, 255).astype(np.uint8)
        for part, array in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            pages = [Image.fromarray(array[..., z]) for z in range(array.shape[2])]
            pages[0].save(folder / part / f"p{number}.tif", save_all=True, append_images=pages[1:], compression=packed)


def _lists(folder: Path) -> None:
    """A list of cases with folds."""
    entries = []
    for number in range(2):
        label = label_map((16, 16))
        for part, array in (("ct", (_image(label, number) * 0.5 + 90).clip(0, 255).astype(np.uint8)), ("seg", label)):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / f"{part}{number}.png")
        entries.append(
            {"image": f"ct{number}.png", "label": f"seg{number}.png", "fold": number, "patient": f"p{number}"}
        )
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))


def _other_formats(root: Path) -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    label = label_map((12, 12, 3))
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([2.0, 2.0, 5.0]),
        "space origin": [1, 2, 3],
    }
    for encoding, name in (("gzip", "a.nrrd"), ("raw", "b.nrrd")):
        nrrd.write(str(root / "images" / name), _image(label), {**header, "encoding": encoding})
        nrrd.write(str(root / "labels" / name), label, {**header, "encoding": encoding})
    geometry = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = 12 12 3\n"
    geometry += "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 2 2 5\n"
    for folder, kind, array in (("images", "FLOAT", _image(label)), ("labels", "UCHAR", label)):
        head = f"{geometry}ElementType = MET_{kind}\nElementDataFile = LOCAL\n".encode()
        (root / folder / "c.mha").write_bytes(head + array.tobytes(order="F"))


def _dicom(root: Path) -> None:
    for number in (1, 2):
        label = label_map((12, 12, 3), number)
        folder = root / f"study{number}"
        files = write_dicom_series(_image(label, number), _AFFINE, folder / "image", "CT")
        write_dicom_seg(label, _AFFINE, CLASSES, files, folder / "seg.dcm")
    label = label_map((16, 16))
    files = write_dicom_series(_image(label), _AFFINE, root.parent / "slice" / "image", "CT")
    write_dicom_seg(label, _AFFINE, CLASSES, files, root.parent / "slice" / "mask.dcm")


def _bundle(root: Path, **others: object) -> None:
    """A bundle with random weights and the card that a training would write."""
    copy_bundle("ct_organ", root)
    parser = ConfigParser()
    parser.read_config(root / "configs" / "train.yaml")
    parser.update({"bundle_root": str(root), "sigma_data": 0.5, **_CARD, **others})
    card = {**parser.get_parsed_content("model_card"), **parser.get_parsed_content("sampling_card"), "num_steps": 1}
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network").state_dict(), root / "models" / "model.pt", card)


def _legs(root: Path) -> None:
    grid = np.stack(np.meshgrid(*[np.arange(20) - 9.5] * 3, indexing="ij"))
    distance, inside = np.hypot(grid[0], grid[1]), np.abs(grid[2]) < 7
    labels = ((distance < 7) & inside).astype(np.uint8) + ((distance < 3) & inside).astype(np.uint8)
    hu = np.array([-1000, 40, 900], dtype=np.int16)[labels]
    for folder, array in (("ct", hu), ("labels", labels)):
        (root / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([4.0, 4.0, 4.0, 1.0])), root / folder / "leg.nii.gz")
    write_dicom_series(hu.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), root.parent / "series" / "leg", "CT")
    (root / "tissues.csv").write_text("id,name,kind,hu\n0,air,air,-1000\n1,muscle,soft,40\n2,bone,bone,900\n")
    (root / "patients.csv").write_text("name,patient\nleg,p1\n")


def _segmenter(file: Path) -> None:
    torch.manual_seed(0)
    save_segmenter(TrainedSegmenter(tuple(CLASSES), 2, levels=1), file)


def _converted(root: Path) -> None:
    """What is there to convert: weights and configurations of monai-generative."""
    root.mkdir()
    torch.save({"model": old_weights(monai_network("autoencoder 2D"))}, root / "old.pt")
    options = CASES["autoencoder 2D"][1]
    network = {"_target_": "generative.networks.nets.AutoencoderKL", **options, "spatial_dims": "@dims"}
    content = {"dims": 2, "net": network, "loss": {"_target_": "generative.losses.PatchAdversarialLoss"}}
    (root / "old.json").write_text(json.dumps(content, indent=2))
    (root / "old.yaml").write_text(yaml.safe_dump(content))

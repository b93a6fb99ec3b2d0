"""Masks of any grid: the image comes back on the mask's own, in its own format."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, ScaleIntensityRanged
from PIL import Image

from monai_segdiff.data import Case, LoadCanonicald, load_image, load_label_map, write_like
from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.diffusion import EDM
from monai_segdiff.generation import TrainedGenerator, generate_dataset
from monai_segdiff.generation.own_grid import OwnGrid, draw
from monai_segdiff.generation.trained_grid import TrainedGrid
from monai_segdiff.inferers import SamplingInferer
from monai_segdiff.transforms import EncodeMaskd, ScaleToRanged, range_ends
from tests.inferers.oracles import GaussianNetwork

LEVELS = (0.0, 0.5, 1.0)  # of background, outer and inner


class Painter(GaussianNetwork):
    """What a network learns of images whose classes have one intensity each, with a little noise: known exactly."""

    def __init__(self) -> None:
        super().__init__(list(LEVELS), std=0.01)

    def mean(self, condition: torch.Tensor) -> torch.Tensor:
        present = (condition > 0).float()
        background = 1 - present.amax(dim=1, keepdim=True)
        return super().mean(torch.cat([background, present], dim=1))


def painter(size: tuple[int, ...], **grid: Any) -> TrainedGenerator:
    """A generator of a certain size that paints classes."""
    return TrainedGenerator(
        name="painter",
        network=Painter(),
        inferer=SamplingInferer(EDM(sigma_data=0.5), num_steps=6),
        preprocessing=Compose(
            [
                LoadCanonicald("image", "image", len(size)),
                EncodeMaskd("image", {"outer": 1, "inner": 2}, mode="one_hot", known_flags=False),
            ]
        ),
        rescale=ScaleIntensityRanged("pred", 0.0, 1.0, 0.0, 100.0),
        classes={"outer": 1, "inner": 2},
        parents={"inner": "outer"},
        intensity_range=(-20.0, 120.0),
        image_size=size,
        weights=Path("model.pt"),
        weights_sha256="0" * 64,
        settings={"seed": 0},
        grid=TrainedGrid(**grid),
    )


def anatomy(shape: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Two ellipsoids in mm around the center of a grid."""
    places = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=False)), indexing="ij"
    )
    radius = np.sqrt(sum((place / half) ** 2 for place, half in zip(places, (14.0, 17.0, 15.0), strict=False)))
    return ((radius < 1).astype(np.uint8) + (radius < 0.5)).astype(np.uint8)


def written(folder: Path, values: np.ndarray, affine: np.ndarray, name: str = "mask.nii.gz") -> Case:
    file = folder / name
    save_nifti(folder / "first.nii.gz", values, affine)
    if name != "first.nii.gz":
        write_like(load_label_map(folder / "first.nii.gz").numpy(), folder / "first.nii.gz", file)
    return Case("mask", None, file, "p")


def read_classes(image: torch.Tensor) -> np.ndarray:
    """The class whose intensity is nearest: a segmenter without error for these images."""
    values = torch.as_tensor(image)[0].numpy() / 100.0
    return np.abs(values[..., None] - np.array(LEVELS)).argmin(-1)


def dice(found: np.ndarray, label: np.ndarray) -> float:
    scores = [2 * ((found == c) & (label == c)).sum() / ((found == c).sum() + (label == c).sum()) for c in (1, 2)]
    return float(np.mean(scores))


OBLIQUE = np.array([[0, 0.1, 0.995, -9], [-0.995, 0.1, 0, 30], [-0.1, -0.99, 0.1, 12], [0, 0, 0, 1.0]])
AFFINES = {"ras": np.diag([1.0, 1, 1, 1]), "lps": np.diag([-1.0, -1, 1, 1]), "turned": OBLIQUE}


@pytest.mark.parametrize("orientation", AFFINES)
def test_a_volume_of_another_grid_gets_its_image_on_its_own(tmp_path: Path, orientation: str) -> None:
    """36 x 47 x 41 at 1 mm for 32 x 48 x 32 at 1.25 mm: as good as masks that have the grid, but for the voxels."""
    shape, affine = (36, 47, 41), AFFINES[orientation]
    values = anatomy(shape, (1, 1, 1))
    case = written(tmp_path, values.transpose(1, 2, 0) if orientation == "turned" else values, affine)
    generator = painter((32, 48, 32), spacing=(1.25, 1.25, 1.25), field_of_view=((40, 60, 40), (40, 60, 40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # less than the grid is padded, as in the training
        generate_dataset(generator, [case], tmp_path / "out", progress=False)
    image, label = (load_image(tmp_path / f"out/{part}/mask_000.nii.gz") for part in ("imagesTr", "labelsTr"))
    assert (tmp_path / "out/labelsTr/mask_000.nii.gz").read_bytes() == case.label.read_bytes()
    assert image.shape == label.shape
    torch.testing.assert_close(image.affine, label.affine)
    own = written(tmp_path, anatomy((32, 48, 32), (1.25,) * 3), np.diag([1.25, 1.25, 1.25, 1]), "own.nii.gz")
    generate_dataset(generator, [replace(own, id="own")], tmp_path / "own", progress=False)
    there = load_image(tmp_path / "own/imagesTr/own_000.nii.gz")
    expected = dice(read_classes(there), load_label_map(own.label).numpy()[0])
    # Edges between background and inner do not exist, so the nearest level tells classes apart; half a voxel is lost.
    assert dice(read_classes(image), label.numpy()[0]) > expected - 0.05
    record = json.loads((tmp_path / "out/manifest.json").read_text())["samples"][0]
    assert record["placement"]["grid"] == [32, 48, 32]
    assert record["placement"]["spacing"] == [1.25] * 3


def test_a_mask_on_the_grid_is_drawn_as_it_is(tmp_path: Path) -> None:
    generator = painter((24, 20), spacing=(2.0, 2.0))
    case = written(tmp_path, anatomy((24, 20), (2, 2)), np.diag([2.0, 2, 1, 1]))
    own = OwnGrid.of_file(case.label, generator)
    assert own.placed is None
    assert own.facts() == {}
    (drawn,) = draw([own], [7], 4)
    assert torch.equal(drawn.image, generator.sample(generator.condition(case.label)[None], [7])[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_is_drawn_slice_by_slice_along_the_axis_of_the_training(tmp_path: Path, axis: int) -> None:
    shape = (30, 34, 28)
    case = written(tmp_path, anatomy(shape, (1, 1, 1)), AFFINES["lps"])
    generator = painter((32, 32), spacing=(1.2, 1.2), slice_axis=axis)
    generate_dataset(generator, [case], tmp_path / "out", batch_size=5, progress=False)
    image = load_image(tmp_path / "out/imagesTr/mask_000.nii.gz")
    assert image.shape == (1, *shape)
    assert dice(read_classes(image), load_label_map(case.label).numpy()[0]) > 0.9
    placement = json.loads((tmp_path / "out/manifest.json").read_text())["samples"][0]["placement"]
    assert (placement["slices"], placement["slice_axis"]) == (shape[axis], axis)


def test_larger_masks_of_a_bundle_of_patches_are_drawn_in_windows(tmp_path: Path) -> None:
    """The painter acts on pixels alone, so windows give what a network of the whole size gives."""
    case = written(tmp_path, anatomy((40, 56), (1, 1)), np.eye(4))
    whole, cut = (painter(size, patches=True) for size in ((40, 56), (16, 16)))
    images = []
    for number, generator in enumerate((whole, cut)):
        generate_dataset(generator, [case], tmp_path / str(number), progress=False)
        images.append(load_image(tmp_path / f"{number}/imagesTr/mask_000.nii.gz"))
    torch.testing.assert_close(images[1].as_tensor(), images[0].as_tensor(), rtol=0, atol=0.01)
    record = json.loads((tmp_path / "1/manifest.json").read_text())["samples"][0]
    assert record["placement"]["windows"] == 4 * 6
    assert 0.5 < record["seam_gradient"] < 2


def test_smaller_masks_of_a_bundle_of_patches_are_padded(tmp_path: Path) -> None:
    case = written(tmp_path, anatomy((12, 40), (1, 1)), np.eye(4))
    own = OwnGrid.of_file(case.label, painter((16, 16), patches=True))
    assert own.placed.labels.shape == (1, 16, 40)
    (drawn,) = draw([own], [0], 4)
    assert drawn.image.shape == (1, 12, 40)


SEVERAL = [  # shape of the mask, size of the network, what the card says, format
    ((36, 47, 41), (32, 48, 32), {"spacing": (1.25,) * 3}, "nifti"),
    ((36, 47, 41), (32, 48, 32), {"spacing": (1.25,) * 3}, "nrrd"),
    ((36, 47, 41), (32, 48, 32), {"spacing": (1.25,) * 3}, "mha"),
    ((36, 44, 8), (32, 48), {"spacing": (1.25, 1.25), "slice_axis": 2}, "nifti"),
    ((40, 56), (16, 16), {"patches": True}, "nifti"),
]


@pytest.mark.parametrize(("shape", "size", "grid", "kind"), SEVERAL)
def test_every_channel_comes_back_on_the_masks_grid_in_its_own_range(
    tmp_path: Path, shape: tuple[int, ...], size: tuple[int, ...], grid: dict[str, Any], kind: str
) -> None:
    """Both channels show the same anatomy, the second one from 1000 to 1300."""
    if kind != "nifti":
        pytest.importorskip({"nrrd": "nrrd", "mha": "itk"}[kind])
    case = written(tmp_path, anatomy(shape, (1, 1, 1)[: len(shape)]), np.diag([-1.0, -1, 1, 1]))
    limits, names = ((0.0, 100.0), (1000.0, 1300.0)), ("T1", "T2")
    generator = replace(
        painter(size, **grid),
        rescale=ScaleToRanged("pred", 0.0, 1.0, *range_ends(limits)),
        intensity_range=limits,
        channels=names,
    )
    generator.network.out_channels = 2
    made = generate_dataset(generator, [case], tmp_path / "out", file_format=kind, progress=False)
    image = load_case_image(made.splits["training"][0], made.channels)
    assert (made.channels, tuple(image.shape)) == (names, (2, *shape))
    torch.testing.assert_close(image.affine, load_label_map(case.label).affine)
    label = load_label_map(case.label).numpy()[0]
    for channel, (low, high) in zip(image.as_tensor(), limits, strict=True):
        assert low <= channel.min() < channel.max() <= high
        assert dice(read_classes((channel[None] - low) * (100.0 / (high - low))), label) > 0.85


def test_a_picture_has_no_voxel_size(tmp_path: Path) -> None:
    values = anatomy((36, 30), (1, 1)).T
    Image.fromarray(values).save(tmp_path / "mask.png")
    generator = replace(painter((18, 20), spacing=(2.0, 2.0)), intensity_range=(0.0, 100.0))
    generate_dataset(generator, [Case("mask", None, tmp_path / "mask.png", "p")], tmp_path / "out", progress=False)
    image = load_image(tmp_path / "out/imagesTr/mask_000.png")
    assert Image.open(tmp_path / "out/imagesTr/mask_000.png").size == (36, 30)
    assert dice(read_classes(image), load_label_map(tmp_path / "mask.png").numpy()[0]) > 0.85


def test_what_the_training_never_saw_is_a_warning_with_numbers_and_said_once(tmp_path: Path) -> None:
    cases = []
    for number in range(3):
        file = tmp_path / f"mask{number}.nii.gz"
        save_nifti(file, anatomy((60, 60), (1, 1)), np.diag([4.0, 4, 1, 1]))
        cases.append(Case(f"mask{number}", None, file, str(number)))
    generator = painter((32, 32), spacing=(2.0, 2.0), field_of_view=((64.0, 64.0), (64.0, 64.0)))
    with pytest.warns(UserWarning, match="mask0") as told:
        generate_dataset(generator, cases, tmp_path / "out", progress=False)
    texts = [str(one.message) for one in told if "mask" in str(one.message)]
    assert len(texts) == 1
    assert "does not fit into images of 64 x 64 mm, so voxels of 7.5 x 7.5 mm are drawn where" in texts[0]
    samples = json.loads((tmp_path / "out/manifest.json").read_text())["samples"]
    assert all("7.5 x 7.5 mm" in sample["placement"]["remark"] for sample in samples)


def test_another_field_of_view_that_fits_is_a_warning(tmp_path: Path) -> None:
    case = written(tmp_path, anatomy((64, 50), (1, 1)), np.eye(4))
    generator = painter((40, 40), spacing=(1.0, 1.0), field_of_view=((40.0, 40.0), (40.0, 40.0)))
    with pytest.warns(UserWarning, match=r"its field of view is 64 x 50 mm, and those of the training were 40 x 40 mm"):
        generate_dataset(generator, [case], tmp_path / "out", progress=False)
    image = load_image(tmp_path / "out/imagesTr/mask_000.nii.gz")
    assert image[0, 32, 25] > 80
    assert (image[0, :12] == -20).all()  # beyond what the network draws


def test_nothing_is_said_of_a_field_of_view_like_those_of_the_training(tmp_path: Path) -> None:
    case = written(tmp_path, anatomy((41, 50), (1, 1)), np.eye(4))
    generator = painter((40, 50), spacing=(1.0, 1.0), field_of_view=((38.0, 48.0), (42.0, 52.0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        generate_dataset(generator, [case], tmp_path / "out", progress=False)


def test_what_is_labeled_beside_the_center_is_not_cut(tmp_path: Path) -> None:
    values = np.zeros((80, 40), np.uint8)
    values[60:76, 4:20] = 1
    case = written(tmp_path, values, np.eye(4))
    own = OwnGrid.of_file(case.label, painter((32, 32), spacing=(1.0, 1.0)))
    assert own.placed.labels.sum() == values.sum()


def test_what_lies_outside_of_the_field_of_view_is_a_class_where_there_is_one(tmp_path: Path) -> None:
    case = written(tmp_path, np.ones((20, 30), np.uint8), np.eye(4))
    generator = painter((30, 30), spacing=(1.0, 1.0))
    generator = replace(generator, classes={"outer": 1, "outside_view": 2})
    labels = OwnGrid.of_file(case.label, generator).placed.labels[0]
    assert (labels[5:25] == 1).all()
    assert (labels[:5] == 2).all()
    assert (labels[25:] == 2).all()


def test_a_slice_for_a_bundle_of_volumes_is_refused_by_name(tmp_path: Path) -> None:
    case = written(tmp_path, anatomy((20, 20), (1, 1)), np.eye(4))
    with pytest.raises(ValueError, match=r"mask\.nii\.gz: it is a slice, and the bundle makes volumes of size"):
        generate_dataset(painter((16, 16, 16)), [case], tmp_path / "out", progress=False)


def test_batches_of_masks_of_several_grids_give_what_each_gives_alone(tmp_path: Path) -> None:
    generator = painter((16, 16), patches=True)
    files = []
    for number, shape in enumerate([(16, 16), (24, 40), (16, 16, 3), (16, 16), (20, 16)]):
        files.append(tmp_path / f"{number}.nii.gz")
        save_nifti(files[-1], anatomy(shape, (1, 1, 1)), np.eye(4))
    grids = [OwnGrid.of_file(file, generator) for file in files]
    together = list(draw(grids, range(5), 2))
    for number, (grid, drawn) in enumerate(zip(grids, together, strict=True)):
        (alone,) = draw([grid], [number], 16)
        torch.testing.assert_close(drawn.image, alone.image, rtol=0, atol=1e-3)
        assert drawn.image.shape[1:] == load_label_map(files[number]).shape[1:]
        assert (drawn.seam_gradient is None) == (number not in (1, 4))


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "mha"])
@pytest.mark.parametrize("own", [".nii.gz", ".nrrd", ".mha"])
def test_pairs_are_written_in_the_format_that_is_asked_for(tmp_path: Path, own: str, kind: str) -> None:
    pytest.importorskip("itk")
    case = written(tmp_path, anatomy((20, 24, 22), (1, 1, 1)), OBLIQUE, f"mask{own}")
    dataset = generate_dataset(
        painter((16, 16, 16)), [case], tmp_path / "out", file_format=None if kind in own else kind, progress=False
    )
    pair = dataset.splits["training"][0]
    assert pair.image.name.endswith({"nifti": ".nii.gz"}.get(kind, f".{kind}"))
    for file in (pair.image, pair.label):
        loaded = load_label_map(file) if file == pair.label else load_image(file)
        torch.testing.assert_close(loaded.affine, load_label_map(case.label).affine, atol=1e-4, rtol=0)
    assert torch.equal(load_label_map(pair.label).as_tensor(), load_label_map(case.label).as_tensor())


def test_png_of_slices_and_not_of_volumes_or_of_other_intensities(tmp_path: Path) -> None:
    flat = written(tmp_path, anatomy((20, 24), (1, 1)), np.eye(4))
    gray = replace(painter((16, 16)), intensity_range=(0.0, 100.0))
    pair = generate_dataset(gray, [flat], tmp_path / "out", file_format="png", progress=False).splits["training"][0]
    assert torch.equal(load_label_map(pair.label).as_tensor(), load_label_map(flat.label).as_tensor())
    assert load_image(pair.image).shape == (1, 20, 24)
    with pytest.raises(ValueError, match=r"intensities here go from -20 to 120: choose another format"):
        generate_dataset(painter((16, 16)), [flat], tmp_path / "no", file_format="png", progress=False)
    volume = written(tmp_path, anatomy((20, 24, 8), (1, 1, 1)), np.eye(4))
    with pytest.raises(ValueError, match=r"mask\.nii\.gz is a volume, and PNG holds one slice"):
        generate_dataset(gray, [volume], tmp_path / "no", file_format="png", progress=False)
    with pytest.raises(ValueError, match=r"must be one of nifti, png, nrrd, mha, got 'bmp'"):
        generate_dataset(gray, [flat], tmp_path / "no", file_format="bmp", progress=False)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_segdiff.data import Case, check_dataset, pair_folders, prepare_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.preparation.resample import body_mask, fit_spacing, remap_labels, resample_pair

QUIET = {"progress": False}


def read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def test_slices_keep_their_place_in_space(tmp_path: Path, make_pair: Callable) -> None:
    """The intensity of each source voxel is its RAS position, so what is written can be checked against its affine."""
    shape = (20, 16, 12)
    # Stored left to right, inferior first: index axes are L, I, P.
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, -2.0, 20], [0, -4.0, 0, 50], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    position = index @ affine[:3, :3].T + affine[:3, 3]
    label = np.zeros(shape, np.uint8)
    label[5:15, 4:12, 3:9] = 1
    pairs = [
        make_pair(f"{name}{p}", shape, affine, position[..., axis].astype(np.float32), label, folder=name)
        for axis, name in enumerate("xyz")
        for p in range(2)
    ]
    for cut in range(3):
        in_plane = [i for i in range(3) if i != cut]
        dataset = prepare_dataset(
            pairs, tmp_path / f"out{cut}", {"box": 1}, size=8, axis=cut, min_foreground=0, fractions=(1, 0, 0), **QUIET
        )
        for item in dataset.items("training"):
            pixels, out = read(item["image"])
            assert pixels.shape == (8, 8)
            wanted = "xyz".index(item["case"][0])
            grid = np.stack(
                [*np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), np.zeros((8, 8)), np.ones((8, 8))]
            )
            truth = np.einsum("j,jab->ab", out[wanted], grid)
            # Interior pixels: at the rim smoothing and padding bend the ramp.
            if wanted in in_plane:
                inner = (pixels > pixels.min()) & (np.abs(truth - np.median(truth)) < 8)
                assert np.abs(pixels - truth)[inner].max() < 0.75
            else:
                assert np.abs(pixels[3:5, 3:5] - truth[3:5, 3:5]).max() < 0.05
        names = [item["case"] for item in dataset.items("training") if item["case"].startswith("x0")]
        assert names == sorted(names)
        assert len(names) == (20, 12, 16)[cut]


def test_labels_are_remapped_in_the_order_of_the_classes(tmp_path: Path, make_pair: Callable) -> None:
    label = np.zeros((12, 12, 4), np.int16)
    label[2:5, 2:10], label[5:8, 2:10], label[8:10, 2:10] = 30, 7, 9
    pairs = [make_pair(f"p{i}", label.shape, label=label) for i in range(3)]
    dataset = prepare_dataset(pairs, tmp_path / "out", {"b": [7, 9], "a": 30}, size=12, spacing=2.0, **QUIET)
    assert dataset.classes == {"b": 1, "a": 2}
    out, _ = read(dataset.items("training")[0]["label"])
    expected = np.select([label == 30, label > 0], [2, 1], 0)[:, :, 0]
    assert out.dtype == np.uint8
    assert np.array_equal(out, expected)


def test_label_edges_stay_on_image_edges_when_voxels_grow(tmp_path: Path, make_pair: Callable) -> None:
    label = np.zeros((90, 90, 2), np.uint8)
    label[17:66, 23:70] = 1
    pairs = [make_pair("p1", label.shape, label=label, image=label * 100.0 + np.linspace(0, 1, 90)[:, None, None])]
    dataset = prepare_dataset(pairs, tmp_path / "out", {"box": 1}, size=16, fractions=(1, 0, 0), **QUIET)
    item = dataset.items("training")[0]
    pixels, out = read(item["image"])[0], read(item["label"])[0]
    assert np.mean((pixels > 50.5) == (out == 1)) > 0.99


def test_volumes_come_out_at_the_size_and_keep_proportions_in_plane(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair(f"p{i}", (20, 10, 7), np.diag([1.0, 1.0, 5.0, 1.0])) for i in range(3)]
    dataset = prepare_dataset(pairs, tmp_path / "out", {"box": 1}, spatial_dims=3, size=(10, 10, 14), **QUIET)
    pixels, affine = read(dataset.items("test")[0]["image"])
    assert pixels.shape == (10, 10, 14)
    assert np.allclose(np.linalg.norm(affine[:3, :3], axis=0), (2, 2, 2.5), atol=1e-4)
    assert dataset.spatial_dims == 3


def test_slices_without_foreground_are_left_out(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair(f"p{i}", (8, 8, 12)) for i in range(3)]
    dataset = prepare_dataset(pairs, tmp_path / "out", {"box": 1}, size=8, **QUIET)
    assert [int(item["case"][-3:]) for item in dataset.items("test")] == [3, 4, 5, 6, 7, 8]
    with pytest.raises(ValueError, match="lower min_foreground"):
        prepare_dataset(pairs, tmp_path / "none", {"box": 1}, size=8, min_foreground=0.9, **QUIET)
    assert not (tmp_path / "none").exists()


def test_one_patient_is_split_only_on_request_and_with_a_gap(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair("p1", (8, 8, 60), np.diag([2.0, 2.0, 3.0, 1.0]))]
    arguments = {"classes": {"box": 1}, "size": 8, "min_foreground": 0, **QUIET}
    with pytest.raises(ValueError, match="one patient only"):
        prepare_dataset(pairs, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
    dataset = prepare_dataset(pairs, tmp_path / "out", within_patient=True, **arguments)
    assert dataset.split_kind == "within one patient"
    where = {split: [int(c.id[-3:]) for c in cases] for split, cases in dataset.splits.items()}
    distance = min(abs(t - h) for t in where["training"] for h in where["validation"] + where["test"])
    assert distance * 3.0 > 10
    assert check_dataset(tmp_path / "out") != []  # slices at both ends are empty
    assert {finding.severity for finding in check_dataset(tmp_path / "out")} == {"warning"}


def test_a_second_run_reuses_and_a_changed_source_is_noticed(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair(f"p{i}") for i in range(3)]
    arguments = {"classes": {"box": 1}, "size": 8, **QUIET}
    first = prepare_dataset(pairs, tmp_path / "out", **arguments)
    assert prepare_dataset(pairs, tmp_path / "out", **arguments) == first
    make_pair("p1", image=np.random.default_rng(5).normal(size=(10, 12, 14)).astype(np.float32))
    with pytest.raises(FileExistsError, match="other settings"):
        prepare_dataset(pairs, tmp_path / "out", **arguments)


def test_a_data_set_folder_brings_its_own_classes(tmp_path: Path, make_pair: Callable) -> None:
    for i in range(3):
        make_pair(f"p{i}")
    with pytest.raises(ValueError, match="give classes"):
        prepare_dataset(tmp_path / "source", tmp_path / "out", size=8, **QUIET)
    first = prepare_dataset(tmp_path / "source", tmp_path / "out", {"box": 1}, size=8, **QUIET)
    again = prepare_dataset(tmp_path / "out", tmp_path / "smaller", size=4, **QUIET)
    assert again.classes == first.classes
    assert read(again.items("training")[0]["image"])[0].shape == (4, 4)
    assert {c.patient for cases in again.splits.values() for c in cases} == {"p0", "p1", "p2"}


def test_pictures_lie_like_ras_slices(tmp_path: Path) -> None:
    for i in range(3):
        picture = np.full((20, 30), 10, np.uint8)  # 20 rows, 30 columns
        picture[:5, :6] = 200  # upper left corner: anterior, patient's right
        for folder, pixels in (("images", picture), ("labels", (picture > 100) * np.uint8(255))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"c{i}.png")
    cases = pair_folders(tmp_path / "images", tmp_path / "labels")
    dataset = prepare_dataset(cases, tmp_path / "out", {"corner": 255}, size=(30, 20), **QUIET)
    label, affine = read(dataset.items("training")[0]["label"])
    x, y = np.nonzero(label)
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    assert (x.min(), x.max(), y.min(), y.max()) == (24, 29, 15, 19)
    assert dataset.spatial_dims == 2


def test_oblique_2d_slices_keep_their_affine(tmp_path: Path) -> None:
    coronal = np.array([[2.0, 0, 0, 5], [0, 0, 3.0, 7], [0, 2.0, 0, 9], [0, 0, 0, 1]])
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = 1
    for name, array in (("image", label * 50.0 + np.eye(8)), ("label", label)):
        save_nifti(tmp_path / f"{name}.nii.gz", array.astype(np.float32), coronal)
    case = Case("c", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz", "p")
    dataset = prepare_dataset([case], tmp_path / "out", {"box": 1}, size=4, fractions=(1, 0, 0), **QUIET)
    _, affine = read(dataset.items("training")[0]["image"])
    assert np.allclose(affine[:3, :2], 2 * coronal[:3, :2], atol=1e-4)
    center = np.array([[3.5, 3.5, 0, 1], [1.5, 1.5, 0, 1]])
    assert np.allclose(coronal @ center[0], affine @ center[1], atol=1e-4)


def test_the_body_is_what_no_other_class_claims(tmp_path: Path, make_pair: Callable) -> None:
    image = np.full((40, 40, 6), -1000.0)
    image[8:32, 8:32] = 0.0
    image[12:16, 12:16] = -900.0  # a hole inside is body, too
    image[:, 2:4] = 0.0  # the table is not
    label = np.zeros(image.shape, np.uint8)
    label[20:26, 20:26] = 5
    pairs = [make_pair("p", image.shape, np.eye(4), image.astype(np.float32), label)]
    dataset = prepare_dataset(
        pairs, tmp_path / "out", {"liver": 5}, size=40, fractions=(1, 0, 0), body_threshold=-300.0, **QUIET
    )
    assert dataset.classes == {"body": 1, "liver": 2}
    out, _ = read(dataset.items("training")[0]["label"])
    expected = np.zeros((40, 40))
    expected[8:32, 8:32] = 1
    expected[20:26, 20:26] = 2
    assert np.mean(out == expected) > 0.98  # corners are rounded off
    assert (out[:, 2:4] == 0).all()
    assert body_mask(np.full((5, 5), -1000.0), -300).sum() == 0


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("nan", r"p1\.nii\.gz.*NaN"),
        ("fraction", r"labelsTr/p1\.nii\.gz.*no whole numbers"),
        ("affine", r"labelsTr/p1\.nii\.gz.*affine differs"),
        ("shape", r"labelsTr/p1\.nii\.gz.*shape"),
        ("unknown", r"labelsTr/p1\.nii\.gz.*unknown ids \[9\]"),
        ("missing", r"imagesTr/p1\.nii\.gz.*missing"),
    ],
)
def test_unsound_files_are_named_and_nothing_is_left(
    tmp_path: Path, make_pair: Callable, defect: str, message: str
) -> None:
    pairs = [make_pair(f"p{i}") for i in range(3)]
    image, label = Path(pairs[1]["image"]), Path(pairs[1]["label"])
    pixels, affine = read(image)
    ids = read(label)[0].copy()
    if defect == "nan":
        pixels = pixels.copy()
        pixels[0, 0, 0] = np.nan
        save_nifti(image, pixels, affine)
    elif defect == "fraction":
        save_nifti(label, ids * np.float32(0.5), affine)
    elif defect == "affine":
        save_nifti(label, ids, affine + np.diag([0.01, 0, 0, 0]))
    elif defect == "shape":
        save_nifti(label, ids[:-1], affine)
    elif defect == "unknown":
        ids[0, 0, 0] = 9
        save_nifti(label, ids, affine)
    else:
        image.unlink()
    with pytest.raises(ValueError, match=message):
        prepare_dataset(pairs, tmp_path / "out", {"box": 1}, size=8, **QUIET)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
    if defect == "unknown":
        assert prepare_dataset(pairs, tmp_path / "out", {"box": 1}, size=8, drop_other_labels=True, **QUIET).splits


def test_arguments_out_of_range_are_refused(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair(f"p{i}") for i in range(3)]

    def prepare(**changes: object) -> None:
        prepare_dataset(pairs, tmp_path / "out", **{"classes": {"box": 1}, "size": 8, **QUIET, **changes})

    for changes, message in (
        ({"axis": 3}, "axis"),
        ({"spatial_dims": 4}, "spatial_dims"),
        ({"size": (8, 8, 8)}, r"size \(--size\) must be"),
        ({"classes": {"a": 1, "b": [1, 2]}}, r"\[1\] cannot be used"),
        ({"classes": {"body": 1}, "body_threshold": 0.0}, "already hold 'body'"),
        ({"percentiles": (99.5, 0.5)}, "LOW < HIGH"),
        ({"percentiles": (0.5, 101.0)}, r"0\.\.100"),
        ({"percentiles": (0.5, 99.5), "intensity_range": (0.0, 100.0)}, "intensity_range cannot be given"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(**changes)
    with pytest.raises(ValueError, match="needs 'image' and 'label'"):
        prepare_dataset([{"image": "x"}], tmp_path / "out", {"box": 1})
    with pytest.raises(ValueError, match="more than once"):
        prepare_dataset([pairs[0], pairs[0]], tmp_path / "out", {"box": 1})


def test_percentiles_of_each_volume_become_0_and_1(tmp_path: Path, make_pair: Callable) -> None:
    shape = (16, 16, 8)
    ramp = np.linspace(0, 1, 16 * 16 * 8, dtype=np.float32).reshape(shape)
    label = np.zeros(shape, np.uint8)
    label[4:12, 4:12] = 1
    # The same anatomy on two scanners, whose units differ.
    pairs = [make_pair(f"p{i}", shape, np.eye(4), a * ramp + b, label) for i, (a, b) in enumerate([(100, 0), (7, 50)])]
    dataset = prepare_dataset(
        pairs, tmp_path / "out", {"box": 1}, size=16, percentiles=(10.0, 90.0), fractions=(1, 0, 0), **QUIET
    )
    assert dataset.intensity_range == (0.0, 1.0)
    assert dataset.settings["percentiles"] == [10.0, 90.0]
    volumes = [
        np.stack([read(case.image)[0] for case in dataset.splits["training"] if case.patient == f"p{i}"], -1)
        for i in range(2)
    ]
    np.testing.assert_allclose(volumes[0], np.clip((ramp - 0.1) / 0.8, 0, 1), atol=1e-3)
    np.testing.assert_allclose(volumes[0], volumes[1], atol=1e-4)


def test_equal_percentiles_name_the_file(tmp_path: Path, make_pair: Callable) -> None:
    image = np.zeros((10, 12, 14), np.float32)
    image[5, 5, 5] = 1
    pairs = [make_pair(f"p{i}", image=image) for i in range(2)]
    with pytest.raises(ValueError, match=r"p0\.nii\.gz: the percentiles 1 and 99 of its intensities are both 0"):
        prepare_dataset(pairs, tmp_path / "out", {"box": 1}, percentiles=(1.0, 99.0), **QUIET)


def test_scaling_that_is_off_leaves_older_data_sets_valid(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair(f"p{i}") for i in range(2)]
    settings = prepare_dataset(pairs, tmp_path / "out", {"box": 1}, size=8, fractions=(1, 0, 0), **QUIET).settings
    assert not {"percentiles", "n4"} & set(settings)


def test_the_bias_field_is_corrected_before_percentiles_are_taken(
    tmp_path: Path, make_pair: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def correct(image: np.ndarray, spacing: list[float]) -> np.ndarray:
        asked.append((image.shape, tuple(spacing)))
        return np.asarray(image + np.arange(10)[:, None, None] * 1000, np.float32)

    monkeypatch.setattr("monai_segdiff.data.preparation.case.correct_bias_field", correct)
    pairs = [make_pair(f"p{i}") for i in range(2)]
    arguments = {"size": (12, 12), "percentiles": (0.0, 100.0), "n4": True, "fractions": (1, 0, 0), **QUIET}
    dataset = prepare_dataset(pairs, tmp_path / "out", {"box": 1}, **arguments)
    assert asked == [((10, 12, 14), (2.0, 2.0, 3.0))] * 2
    assert dataset.settings["n4"] is True
    image = read(dataset.splits["training"][0].image)[0]
    assert image.max() > 0.99
    assert np.all(np.diff(image[1:-1, 6]) > 0.05), "what was added stays in the image"


def test_an_image_whose_bias_field_cannot_be_found_is_named(
    tmp_path: Path, make_pair: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(image: np.ndarray, spacing: list[float]) -> np.ndarray:
        raise ValueError("nothing to correct")

    monkeypatch.setattr("monai_segdiff.data.preparation.case.correct_bias_field", refuse)
    with pytest.raises(ValueError, match=r"p0\.nii\.gz: nothing to correct; prepare without n4, or leave the case out"):
        prepare_dataset([make_pair("p0")], tmp_path / "out", {"box": 1}, n4=True, fractions=(1, 0, 0), **QUIET)


def test_remap_and_fit() -> None:
    label = np.array([[0.0, 3.0], [5.0, 9.0]])
    assert np.array_equal(remap_labels(label, {"a": 5, "b": [3, 4]}), [[0, 2], [1, 0]])
    assert fit_spacing((100, 50, 20), (1.0, 1.0, 5.0), (50, 50, -1), (0, 1)) == [2.0, 2.0, 5.0]


@pytest.mark.data
def test_a_real_ct_becomes_slices_and_volumes(tmp_path: Path, segdiff_data: Path) -> None:
    folder = segdiff_data / "ct" / "totalseg_example"
    case = {"image": folder / "ct.nii.gz", "label": folder / "seg_total.nii.gz", "patient": "s1"}
    classes = {"liver": 5, "spleen": 1, "kidneys": [2, 3], "spine": list(range(25, 51))}
    with pytest.raises(ValueError, match=r"seg_total\.nii\.gz.*unknown ids"):
        prepare_dataset([case], tmp_path / "a", classes, within_patient=True, size=32, **QUIET)
    arguments = {"drop_other_labels": True, "intensity_range": (-200.0, 300.0), "body_threshold": -300.0, **QUIET}
    dataset = prepare_dataset([case], tmp_path / "a", classes, within_patient=True, size=32, **arguments)
    assert check_dataset(tmp_path / "a") == []
    assert len(dataset.splits["training"]) > 30
    stack = [np.asarray(nib.load(c.label).dataobj) for cases in dataset.splits.values() for c in cases]
    assert set(np.unique(stack)) == set(range(6))
    volume = prepare_dataset([case], tmp_path / "b", classes, spatial_dims=3, size=32, fractions=(1, 0, 0), **arguments)
    prepared, affine = read(volume.items("training")[0]["label"])
    source, before = read(folder / "seg_total.nii.gz")
    for index, ids in ((2, [5]), (4, [2, 3])):
        volume_ml = [np.isin(a, i).sum() * abs(np.linalg.det(m)) for a, m, i in
                     ((prepared, affine, [index]), (source, before, ids))]  # fmt: skip
        assert volume_ml[0] == pytest.approx(volume_ml[1], rel=0.1)


@pytest.mark.data
def test_real_radiographs_are_split_by_patient(tmp_path: Path, segdiff_data: Path) -> None:
    folder = segdiff_data / "cxr" / "mhh_v7"
    cases = pair_folders(folder / "images", folder / "masks_lung", folder / "patients.csv")
    dataset = prepare_dataset(cases, tmp_path / "cxr", {"lungs": 255}, size=32, intensity_range=(0.0, 255.0), **QUIET)
    assert sum(map(len, dataset.splits.values())) == 37
    assert check_dataset(tmp_path / "cxr") == []
    assert dataset.split_kind == "by patient"
    image, label = (read(dataset.items("training")[0][key])[0] for key in ("image", "label"))
    assert image.shape == (32, 32)
    assert 0.1 < (label == 1).mean() < 0.6


@pytest.mark.data
def test_real_label_maps_in_lia_order_and_floats_are_readable(tmp_path: Path, segdiff_data: Path) -> None:
    file = next((segdiff_data / "brain" / "synthseg_labels").glob("training_seg_01.nii.gz"))
    case = {"image": file, "label": file, "patient": "s1"}
    dataset = prepare_dataset(
        [case], tmp_path / "out", {"white matter": [2, 41]}, spatial_dims=3, size=32, fractions=(1, 0, 0),
        drop_other_labels=True, **QUIET,
    )  # fmt: skip
    label, affine = read(dataset.items("training")[0]["label"])
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    source = nib.load(file)
    truth = np.isin(np.asarray(source.dataobj), (2, 41))
    center = source.affine @ [*np.argwhere(truth).mean(axis=0), 1]
    assert np.abs(affine @ [*np.argwhere(label == 1).mean(axis=0), 1] - center)[:3].max() < 3.0


@pytest.mark.data
def test_real_breast_mri_becomes_slices_in_the_range_0_to_1(tmp_path: Path, segdiff_data: Path) -> None:
    folder = segdiff_data / "breast_mri"
    cases = [
        {
            "image": folder / p / "t1_fl3d_fs.nii.gz",
            "label": folder / p / "derived_breast1_dense2.nii.gz",
            "patient": p,
            "id": p,
        }
        for p in ("p1", "p3")
    ]
    dataset = prepare_dataset(
        cases, tmp_path / "out", {"breast": 1, "fgt": 2}, size=32, percentiles=(0.5, 99.5), fractions=(0.5, 0.0, 0.5),
        parents={"fgt": "breast"}, **QUIET,
    )  # fmt: skip
    assert (dataset.intensity_range, dataset.parents) == ((0.0, 1.0), {"fgt": "breast"})
    assert {case.patient for case in dataset.splits["training"]} != {case.patient for case in dataset.splits["test"]}
    pixels = {p: np.stack([read(c.image)[0] for m in dataset.splits.values() for c in m if c.patient == p]) for p in
              ("p1", "p3")}  # fmt: skip
    assert all(p.min() >= 0 and 0.6 < p.max() <= 1 for p in pixels.values())
    # Scanner units differ by a factor of 1.4 between the two.
    assert np.percentile(pixels["p1"], 90) == pytest.approx(np.percentile(pixels["p3"], 90), rel=0.35)


def test_what_is_cropped_off_is_never_made_and_the_rest_is_as_it_would_be() -> None:
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.2, 3.0, 1.0])
    image = MetaTensor(torch.as_tensor(rng.normal(size=(1, 20, 24, 7)).astype(np.float32)), affine=affine)
    label = MetaTensor(torch.as_tensor(rng.integers(0, 3, (1, 20, 24, 7)).astype(np.uint8)), affine=affine)
    whole = resample_pair(image, label, (0.7, 0.7, 3.0), (29, 41, -1))
    part = resample_pair(image, label, (0.7, 0.7, 3.0), (15, 14, -1))
    inside = (slice(None), slice(7, 22), slice(13, 27))
    np.testing.assert_allclose(part[0], whole[0][inside], atol=1e-4)
    assert np.array_equal(part[1], whole[1][inside])
    np.testing.assert_allclose(part[0].affine[:, 3], whole[0].affine @ torch.tensor([7.0, 13.0, 0.0, 1.0]).double())
    # Where all were made first, 64 x 64 x 8 voxels of 1 mm would become 34 TB.
    large = MetaTensor(torch.zeros(1, 64, 64, 8), affine=np.eye(4))
    assert resample_pair(large, large.to(torch.uint8), (1e-5, 1e-5, 1.0), (16, 16, -1))[0].shape == (1, 16, 16, 8)
    assert resample_pair(large, large.to(torch.uint8), (1e6, 1e6, 1e6), (4, 4, 4))[0].shape == (1, 4, 4, 4)

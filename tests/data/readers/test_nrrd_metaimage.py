from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import load_image, load_label_map

nrrd = pytest.importorskip("nrrd", reason="reading NRRD is optional: python -m pip install pynrrd")

VALUES = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16)
RAS = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
SIGNS = {"left-posterior-superior": (-1, -1, 1), "RAS": (1, 1, 1), "left-anterior-superior": (-1, 1, 1)}


def placed(space: str) -> dict:
    there = np.diag([*SIGNS[space], 1.0]) @ RAS
    return {"space": space, "space directions": there[:3, :3].T, "space origin": there[:3, 3]}


def write(file: Path, header: dict, values: np.ndarray = VALUES, **options) -> Path:
    nrrd.write(str(file), values, header, **options)
    return file


def same_place(file: Path) -> bool:
    expected = nib.as_closest_canonical(nib.Nifti1Image(VALUES, RAS))
    found = load_image(file)
    return np.array_equal(found[0], expected.dataobj) and np.allclose(found.affine, expected.affine)


@pytest.mark.parametrize("encoding", ["gzip", "raw", "bzip2", "ascii"])
@pytest.mark.parametrize("space", SIGNS)
def test_every_space_of_a_patient_is_the_same_place(tmp_path: Path, space: str, encoding: str) -> None:
    assert same_place(write(tmp_path / "a.nrrd", {**placed(space), "encoding": encoding}))


def test_voxels_may_lie_beside_their_header(tmp_path: Path) -> None:
    assert same_place(write(tmp_path / "a.nhdr", placed("RAS"), detached_header=True))
    header = (tmp_path / "a.nhdr").read_text()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.nhdr").write_text(header.replace("data file: ", "data file: ../"))
    with pytest.raises(ValueError, match=r"a\.nhdr .*voxels are in .*one file"):
        load_image(tmp_path / "b" / "a.nhdr")
    (tmp_path / "b" / "a.nrrd").write_text(header)
    with pytest.raises(ValueError, match=r"a\.nrrd .*voxels are in"):
        load_image(tmp_path / "b" / "a.nrrd")


@pytest.mark.parametrize(("shape", "spacings"), [((4, 5), [1.5, 2.0]), ((4, 5, 6), [1.5, 2.0, 3.0])])
def test_spacings_alone_are_read_as_3d_slicer_reads_them(tmp_path: Path, shape: tuple, spacings: list) -> None:
    values = VALUES.ravel()[: np.prod(shape)].reshape(shape)
    found = load_image(write(tmp_path / "a.nrrd", {"spacings": spacings}, values))
    assert np.array_equal(found[0].numpy(), values[::-1, ::-1])
    assert np.allclose(np.diag(found.affine)[: len(shape)], spacings)


def test_a_segmentation_of_one_layer_is_a_label_map_and_layers_are_refused(tmp_path: Path) -> None:
    one = (VALUES % 3).astype(np.uint8)
    header = {**placed("left-posterior-superior"), "Segment0_Name": "liver", "Segment0_LabelValue": "1"}
    assert load_label_map(write(tmp_path / "a.seg.nrrd", header, one)).max() == 2
    directions = np.vstack([[np.nan] * 3, header["space directions"]])
    layered = {**header, "space directions": directions, "kinds": ["list", "domain", "domain", "domain"]}
    write(tmp_path / "b.seg.nrrd", layered, np.stack([one, one]))
    with pytest.raises(ValueError, match=r"b\.seg\.nrrd .*2 layers of segments .*export"):
        load_label_map(tmp_path / "b.seg.nrrd")
    write(tmp_path / "c.nrrd", {k: v for k, v in layered.items() if "Segment" not in k}, np.stack([one, one, one]))
    with pytest.raises(ValueError, match=r"c\.nrrd .*3 channels"):
        load_image(tmp_path / "c.nrrd")


def test_a_space_that_is_no_patients_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.nrrd", {**placed("RAS"), "space": "scanner-xyz"})
    with pytest.raises(ValueError, match=r"a\.nrrd .*space is 'scanner-xyz'"):
        load_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("encoding", ["gzip", "raw", "bzip2"])
@pytest.mark.parametrize("damage", ["cut short", "flipped", "claims more"])
def test_damage_is_named_with_the_file(tmp_path: Path, encoding: str, damage: str) -> None:
    file = write(tmp_path / "a.nrrd", {**placed("RAS"), "encoding": encoding})
    content = file.read_bytes()
    if damage == "cut short":
        content = content[:-20]
    elif damage == "claims more":
        content = content.replace(b"sizes: 4 5 6", b"sizes: 40000 50000 6")
    elif encoding == "raw":
        return  # nothing tells
    else:
        content = content[:-12] + bytes([content[-12] ^ 4]) + content[-11:]
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nrrd cannot be read as an image \(.+\); \w+"):
        load_image(file)


@pytest.mark.parametrize("line", [b"line skip: 999999999\n", b"byte skip: 999999999\n", b"line skip: -5\n"])
def test_what_nrrd_skips_is_there(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "a.nrrd"
    nrrd.write(str(file), VALUES)
    content = file.read_bytes()
    at = content.index(b"\n\n") + 1
    file.write_bytes(content[:at] + line + content[at:])
    with pytest.raises(ValueError, match=r"a\.nrrd cannot be read as an image \(its header gives .* skip"):
        load_image(file)


def write_mha(file: Path, values: np.ndarray, compress: bool = False) -> Path:
    itk = pytest.importorskip("itk", reason="reading MetaImage is optional: python -m pip install itk-io")
    image = itk.image_from_array(np.ascontiguousarray(values.T))
    lps = np.diag([-1.0, -1, 1, 1]) @ RAS
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    itk.imwrite(image, str(file), compression=compress)
    return file


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", ["mha", "mhd"])
def test_metaimage_is_the_same_place(tmp_path: Path, suffix: str, compress: bool) -> None:
    assert same_place(write_mha(tmp_path / f"a.{suffix}", VALUES, compress))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("damage", ["cut short", "claims more", "dimensions", "no header", "elsewhere"])
def test_damage_of_metaimage_is_named(tmp_path: Path, damage: str, compress: bool) -> None:
    file = write_mha(tmp_path / "a.mha", VALUES, compress)
    content = file.read_bytes()
    changed = {
        "cut short": content[:-20],
        "claims more": content.replace(b"DimSize = 4 5 6", b"DimSize = 40000 50000 6"),
        "dimensions": content.replace(b"NDims = 3", b"NDims = 999999999"),
        "no header": content[200:],
        "elsewhere": content.replace(b"= LOCAL", b"= ../x.raw"),
    }[damage]
    file.write_bytes(changed)
    with pytest.raises(ValueError, match=r"a\.mha cannot be read as an image \(.+\); \w+"):
        load_image(file)

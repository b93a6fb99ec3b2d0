from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import load_image, load_label_map, prepare_dataset
from monai_segdiff.data.readers.tiff_pages import tiff_pages

GRAY = (np.arange(35).reshape(5, 7) * 7).astype(np.uint8)
RGB = np.stack([GRAY, GRAY // 2, GRAY // 3], -1)


def laid_out(pixels: np.ndarray) -> np.ndarray:
    """Rows of a picture as our tensors lie: x first, to the patient's right and front."""
    return pixels[::-1, ::-1].T


def save(path: Path, *pages: np.ndarray, **options: object) -> Path:
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=bool(others), append_images=others, **options)
    return path


def entry(content: bytes, tag: int) -> int:
    """Where the entry of a tag stands in the first directory, of a little-endian file."""
    at = struct.unpack_from("<I", content, 4)[0]
    for place in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", content, at)[0], 12):
        if struct.unpack_from("<H", content, place)[0] == tag:
            return place
    raise AssertionError(tag)


def changed(content: bytes, tag: int, value: int, count: int | None = None) -> bytes:
    out = bytearray(content)
    place = entry(content, tag)
    struct.pack_into("<H", out, place + 2, 4)
    struct.pack_into("<I", out, place + 4, 1 if count is None else count)
    struct.pack_into("<I", out, place + 8, value)
    return bytes(out)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_values_are_kept_in_every_type(tmp_path: Path, dtype: type, compression: str | None) -> None:
    pixels = (GRAY.astype(np.float64) * (100 if dtype == np.uint16 else 1)).astype(dtype)
    pixels[0, 0] = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 0.5
    if np.issubdtype(dtype, np.signedinteger):
        pixels[0, 1] = -7
    found = load_image(save(tmp_path / "a.tif", pixels, compression=compression))
    assert np.array_equal(found[0].numpy(), laid_out(pixels))
    assert np.allclose(found.affine, [[1, 0, 0, -6], [0, 1, 0, -4], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("channels", [3, None])
def test_colors_are_channels_where_these_are_wanted(tmp_path: Path, channels: int | None) -> None:
    shown = [laid_out(layer) for layer in np.moveaxis(RGB, -1, 0)]
    assert np.array_equal(load_image(save(tmp_path / "rgb.tif", RGB), channels).numpy(), shown)
    volume = load_image(save(tmp_path / "volume.tif", RGB, RGB + 1), channels).numpy()
    assert volume.shape == (3, 7, 5, 2)
    assert np.array_equal(volume[..., 1], np.stack(shown) + 1)
    gray = load_image(save(tmp_path / "gray.tif", GRAY), channels).numpy()
    assert np.array_equal(gray, [laid_out(GRAY)] * (channels or 1))
    mixed = load_image(save(tmp_path / "mixed.tif", np.stack([GRAY] * 3, -1), RGB), channels).numpy()
    assert np.array_equal(mixed[1, ..., 0], laid_out(GRAY))
    with pytest.raises(ValueError, match=r"rgb\.tif .*it has 3 channels, and 2 are wanted"):
        load_image(tmp_path / "rgb.tif", 2)


def test_pages_are_slices_from_the_feet_up(tmp_path: Path) -> None:
    pages = [GRAY, GRAY + 1, GRAY + 2]
    found = load_label_map(save(tmp_path / "a.tiff", *pages, compression="tiff_lzw"))
    assert found.shape == (1, 7, 5, 3)
    assert np.array_equal(found[0].numpy(), np.stack([laid_out(page) for page in pages], -1))
    assert np.allclose(np.diag(found.affine), 1)


def test_what_a_viewer_shows_is_meant(tmp_path: Path) -> None:
    save(tmp_path / "rgb.tif", RGB)
    luminance = np.asarray(Image.fromarray(RGB).convert("L"))
    assert np.array_equal(load_image(tmp_path / "rgb.tif")[0].numpy(), laid_out(luminance))
    with pytest.raises(ValueError, match=r"rgb\.tif .*painted in 35 colors"):
        load_label_map(tmp_path / "rgb.tif")
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "p.tif")
    found = load_label_map(tmp_path / "p.tif")
    assert np.array_equal(found[0].numpy(), laid_out(np.array([[0, 1], [2, 1]])))
    assert found.meta["palette"][1] == (255, 0, 0)


def test_a_photograph_is_turned_as_it_says(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", GRAY, tiffinfo={274: 6})  # the first row is the right side
    assert np.array_equal(load_image(tmp_path / "a.tif")[0].numpy(), laid_out(np.rot90(GRAY, -1)))


def _grown(content: bytes) -> bytes:
    return changed(changed(content, 256, 60_000), 257, 60_000)


def _circle(content: bytes) -> bytes:
    at = struct.unpack_from("<I", content, 4)[0]
    end = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
    return content[:end] + struct.pack("<I", at) + content[end + 4 :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda c: b"", "it is empty"),
    "another format": (lambda c: b"\x89PNG\r\n\x1a\n" + c, "does not begin with a TIFF header"),
    "header alone": (lambda c: c[:6], "does not begin with a TIFF header"),
    "cut short": (lambda c: c[: len(c) - 60], "more entries than the file has|outside the file"),
    "size beyond the file": (_grown, r"pixels\); crop it"),
    "wide": (lambda c: changed(c, 256, 6000), "header asks for .* and the file holds"),
    "no height": (lambda c: changed(c, 257, 0), "is 7x0 pixels"),
    "entry beyond the file": (lambda c: changed(c, 258, 8, 2**31), "entry 258 lies outside the file"),
    "a circle": (_circle, "go round in a circle"),
    "unknown method": (lambda c: changed(c, 259, 34712), "packed by method 34712"),
    "white is zero": (lambda c: changed(changed(c, 258, 16), 262, 0), "its zeros are white"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("read", [load_image, load_label_map])
def test_damage_and_claims_are_refused(tmp_path: Path, kind: str, read: Callable) -> None:
    spoil, message = DAMAGE[kind]
    file = save(tmp_path / "a.tif", GRAY)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(ValueError, match=rf"a\.tif cannot be read as .*({message})"):
        read(file)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
def test_a_bomb_is_refused_before_memory_is_taken(tmp_path: Path, compression: str) -> None:
    file = save(tmp_path / "a.tif", np.zeros((64, 64), np.uint8), compression=compression)
    content = changed(changed(file.read_bytes(), 256, 11_000), 257, 11_000)
    file.write_bytes(content)
    with pytest.raises(ValueError, match="header asks for 115 MB of voxels"):
        load_image(file)


def test_pixels_that_do_not_unpack_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "a.tif", GRAY, compression="tiff_deflate")
    content = bytearray(file.read_bytes())
    at = struct.unpack_from("<I", content, entry(bytes(content), 273) + 8)[0]
    content[at : at + 12] = b"\xff" * 12
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read"):
        load_image(file)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pages of two sizes": (lambda p: save(p, GRAY, GRAY[1:]), "its pages differ"),
    "pages of two kinds": (lambda p: save(p, GRAY, RGB), "its pages differ"),
    "transparent": (lambda p: Image.new("LA", (4, 4), (7, 0)).save(p), "are transparent"),
    "CMYK": (lambda p: Image.new("CMYK", (4, 4)).save(p), "mode CMYK"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_one_image_is_refused(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    make(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=message):
        load_image(tmp_path / "a.tif")


def test_jpeg_within_is_no_label_map(tmp_path: Path) -> None:
    file = save(tmp_path / "a.tif", np.full((16, 16), 9, np.uint8), compression="jpeg")
    assert abs(int(load_image(file).max()) - 9) <= 1
    with pytest.raises(ValueError, match="packed as JPEG, which changes label ids"):
        load_label_map(file)


def test_numbers_of_64_bits_are_refused_with_what_to_save(tmp_path: Path) -> None:
    file = save(tmp_path / "a.tif", GRAY.astype(np.float32))
    file.write_bytes(changed(file.read_bytes(), 258, 64) + bytes(200))
    with pytest.raises(ValueError, match=r"1 samples of 64 bits of a kind that is not read\); save it in gray with 8"):
        load_image(file)


def test_smaller_copies_of_a_page_are_none(tmp_path: Path) -> None:
    small = Image.fromarray(GRAY[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(GRAY).save(tmp_path / "a.tif", save_all=True, append_images=[small])
    content = (tmp_path / "a.tif").read_bytes()
    if len(tiff_pages(content)) == 1:
        assert load_image(tmp_path / "a.tif").shape == (1, 7, 5)
    else:
        pytest.skip("this version of Pillow does not write the entry")


def test_stacks_are_prepared_as_volumes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(2):
        for part in ("images", "labels"):
            (tmp_path / "src" / part).mkdir(parents=True, exist_ok=True)
        label = np.zeros((12, 12), np.uint8)
        label[3:9, 3:9] = 1
        image = [(100 * label + rng.integers(0, 9, label.shape)).astype(np.uint8) for _ in range(4)]
        save(tmp_path / "src/images" / f"p{n}.tif", *image)
        save(tmp_path / "src/labels" / f"p{n}.tif", *[label] * 4)
    options = {"size": 12, "fractions": (1, 0, 0), "progress": False}
    flat = prepare_dataset(tmp_path / "src", tmp_path / "flat", {"x": 1}, axis=2, **options)
    assert len(flat.splits["training"]) == 8
    whole = prepare_dataset(tmp_path / "src", tmp_path / "whole", {"x": 1}, spatial_dims=3, **options)
    assert len(whole.splits["training"]) == 2

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_segdiff.data import load_image, load_label_map

GRAY = (np.arange(35).reshape(5, 7) * 7).astype(np.uint8)


def shown(file: Path) -> np.ndarray:
    """What a viewer shows, as our tensors lie: x first, to the patient's right and front."""
    return np.asarray(Image.open(file).convert("L"))[::-1, ::-1].T


def with_palette(indices: np.ndarray, colors: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette([value for color in colors for value in color])
    return picture


@pytest.mark.parametrize("read", [load_image, load_label_map])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_gray_is_gray_however_it_is_stored(tmp_path: Path, mode: str, read) -> None:
    picture = Image.fromarray(GRAY if mode != "1" else (GRAY > 90) * np.uint8(255))
    if mode == "P":  # the darkest gray has the highest index
        levels = sorted(set(GRAY.ravel().tolist()), reverse=True)
        picture = with_palette(np.vectorize(levels.index)(GRAY), [(v, v, v) for v in levels])
    picture = picture if mode == "P" else picture.convert(mode)
    assert picture.mode == mode
    picture.save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert np.array_equal(found[0].numpy(), shown(tmp_path / "a.png"))
    assert np.allclose(found.affine, [[1, 0, 0, -6], [0, 1, 0, -4], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_16_bits_are_kept(tmp_path: Path) -> None:
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").max() == 257 * int(GRAY.max())
    assert load_label_map(tmp_path / "a.png").max() == 257 * int(GRAY.max())


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right side
    Image.fromarray(GRAY).save(tmp_path / "a.jpg", quality=100, exif=exif)
    found = load_image(tmp_path / "a.jpg")
    assert found.shape == (1, 5, 7)
    assert np.abs(found[0].numpy().astype(int) - np.rot90(GRAY, -1)[::-1, ::-1].T).max() <= 4


def test_colors_of_an_image_are_its_luminance(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (200, 100, 50)).save(tmp_path / "a.png")
    with_palette(np.zeros((2, 3)), [(200, 100, 50)]).save(tmp_path / "b.png")
    expected = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert set(load_image(tmp_path / "a.png").flatten().tolist()) == {expected}
    assert set(load_image(tmp_path / "b.png").flatten().tolist()) == {expected}


def test_a_label_map_in_colors_is_refused_but_the_indices_of_a_palette_are_ids(tmp_path: Path) -> None:
    painted = np.zeros((4, 6, 3), np.uint8)
    painted[:2], painted[2:] = (255, 0, 0), (0, 130, 0)  # of one luminance
    Image.fromarray(painted).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png .*2 colors \(\(0, 130, 0\), \(255, 0, 0\)\).*one id per pixel"):
        load_label_map(tmp_path / "a.png")
    with_palette(np.repeat([0, 2], 12).reshape(4, 6), [(0, 0, 0), (9, 9, 9), (255, 0, 0)]).save(tmp_path / "b.png")
    found = load_label_map(tmp_path / "b.png")
    assert sorted(set(found.flatten().tolist())) == [0, 2]
    assert found.meta["palette"] == {0: (0, 0, 0), 2: (255, 0, 0)}


def test_a_jpeg_is_an_image_and_no_label_map(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.JPG", format="JPEG", quality=95)
    assert torch.equal(load_image(tmp_path / "a.JPG")[0], torch.from_numpy(shown(tmp_path / "a.JPG").copy()))
    with pytest.raises(ValueError, match=r"a\.JPG .*JPEG, whose compression changes label ids.*save it as PNG"):
        load_label_map(tmp_path / "a.JPG")


def test_what_a_viewer_does_not_show_the_same_everywhere_is_refused(tmp_path: Path) -> None:
    half = np.dstack([GRAY, GRAY, GRAY, np.full_like(GRAY, 255)])
    half[0, :, 3] = 0
    Image.fromarray(half).save(tmp_path / "clear.png")
    with pytest.raises(ValueError, match=r"clear\.png .*20% of its pixels are transparent"):
        load_image(tmp_path / "clear.png")
    Image.fromarray(GRAY).convert("CMYK").save(tmp_path / "print.jpg")
    with pytest.raises(ValueError, match=r"print\.jpg .*mode CMYK"):
        load_image(tmp_path / "print.jpg")


def deep_colors(file: Path) -> None:
    """A PNG of one pixel with three colors of 16 bits, which Pillow would cut to 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = chunk(b"IHDR", (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0]))
    body = chunk(b"IDAT", zlib.compress(bytes([0, 1, 2, 3, 4, 5, 6])))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))


def test_colors_of_16_bits_are_not_cut_to_8(tmp_path: Path) -> None:
    deep_colors(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png .*16 bits"):
        load_image(tmp_path / "a.png")


def flip_in_pixels(content: bytes) -> bytes:
    at = content.index(b"IDAT") + 12
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def huge(content: bytes) -> bytes:
    """A header of 60000 x 60000 with the right checksum."""
    head = b"IHDR" + (60000).to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: b"",
        lambda c: c[:60],
        lambda c: c[:-20],
        lambda c: c[:-1],
        lambda c: c[:-1] + bytes([c[-1] ^ 1]),
        flip_in_pixels,
        huge,
        lambda c: b"\x00\x05\x16\x07" + bytes(90),
    ],
    ids=["empty", "cut short", "no end", "end cut short", "a bit in the end", "a bit", "huge", "of macOS"],
)
def test_damage_is_named_with_the_file(tmp_path: Path, damage) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40)).astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(damage((tmp_path / "a.png").read_bytes()))
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image \(.+\); \w+") as caught:
        load_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_a_name_that_lies_about_the_format_is_told(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(ValueError, match=r"a\.png .*holds JPEG under the name of PNG"):
        load_label_map(tmp_path / "a.png")

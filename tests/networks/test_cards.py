from __future__ import annotations

import pytest

from monai_segdiff.networks import read_card


def test_the_card_beside_the_weights_is_read(tmp_path) -> None:
    (tmp_path / "autoencoder.pt").touch()
    (tmp_path / "autoencoder.yaml").write_text("autoencoder: {channels: [8, 16]}\n")
    assert read_card(tmp_path / "autoencoder.pt") == {"autoencoder": {"channels": [8, 16]}}


@pytest.mark.parametrize("there", [(), ("a.pt",), ("a.yaml",)])
def test_what_is_missing_is_named(tmp_path, there) -> None:
    for name in there:
        (tmp_path / name).touch()
    missing = "a.yaml" if there == ("a.pt",) else "a.pt"
    with pytest.raises(FileNotFoundError, match=missing):
        read_card(tmp_path / "a.pt")


def test_a_card_of_other_data_is_refused(tmp_path) -> None:
    (tmp_path / "a.pt").touch()
    (tmp_path / "a.yaml").write_text("image_size: [64, 64]\nclasses: {lung: 1}\n")
    assert read_card(tmp_path / "a.pt", image_size=(64, 64), classes={"lung": 1})
    with pytest.raises(ValueError, match=r"image_size: \[64, 64\], but .* \(32, 32\)"):
        read_card(tmp_path / "a.pt", image_size=(32, 32))
    with pytest.raises(ValueError, match="says levels: None"):
        read_card(tmp_path / "a.pt", levels={})


@pytest.mark.parametrize("content", ["- 1\n", "a: [\n"])
def test_a_spoiled_card_is_refused(tmp_path, content) -> None:
    (tmp_path / "a.pt").touch()
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"a\.yaml"):
        read_card(tmp_path / "a.pt")

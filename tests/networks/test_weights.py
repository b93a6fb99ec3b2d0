"""Weights: they load whole or not at all, and their hash names their content."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.networks import MaskConcatUNet, load_autoencoder, load_weights, weights_hash
from monai_segdiff.networks.weights import check_archive, read_tensors

from .autoencoders import small_autoencoder

OPTIONS = {"attention_levels": (False, False), "num_res_blocks": 1, "norm_num_groups": 4}


def unet(channels: tuple[int, ...] = (8, 8), condition_channels: int = 2) -> MaskConcatUNet:
    return MaskConcatUNet(2, 1, 1, condition_channels, channels=channels, **OPTIONS)


class Opener:
    """A pickled object that would write a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


def test_saved_weights_come_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = unet(), unet()
    path = tmp_path / "model.pt"
    torch.save(first.state_dict(), path)
    assert weights_hash(first.state_dict()) != weights_hash(second.state_dict())
    assert load_weights(second, path) is second
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_wrapped_networks_are_looked_through(tmp_path: Path) -> None:
    first, second = unet(), unet()
    torch.save(first.state_dict(), tmp_path / "model.pt")
    load_weights(torch.compile(nn.DataParallel(second), backend="eager"), str(tmp_path / "model.pt"))
    assert weights_hash(second.state_dict()) == weights_hash(first.state_dict())


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (unet(channels=(8, 16)), ["of another shape", "instead of"]),
        (
            unet(condition_channels=5),
            ["1 of another shape", "conv_in.conv.weight (8, 6, 3, 3) instead of (8, 3, 3, 3)"],
        ),
        (nn.Linear(2, 2), ["missing (unet.conv_in.conv.weight", "2 not of this network (weight, bias)", "..."]),
    ],
)
def test_another_architecture_is_refused_and_nothing_is_changed(
    tmp_path: Path, other: nn.Module, words: list[str]
) -> None:
    network = unet()
    before = weights_hash(network.state_dict())
    path = tmp_path / "other.pt"
    torch.save(other.state_dict(), path)
    with pytest.raises(ValueError) as error:
        load_weights(network, path)
    for word in [str(path), "another architecture than this MaskConcatUNet", "Use the network settings", *words]:
        assert word in str(error.value)
    assert len(str(error.value)) < 2000
    assert weights_hash(network.state_dict()) == before


def test_a_network_is_made_where_its_sizes_are_those_of_the_weights(tmp_path: Path) -> None:
    path, trained = tmp_path / "model.pt", unet()
    torch.save(trained.state_dict(), path)
    network = load_weights(unet, path)
    assert weights_hash(network.state_dict()) == weights_hash(trained.state_dict())
    with pytest.raises(ValueError, match=r"another architecture .*unet\.\S+ \([^)]*\) instead of \([^)]*2000000"):
        load_weights(lambda: unet(channels=(8, 2000000)), path)  # of terabytes


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*model\.pt"):
        load_weights(unet(), tmp_path / "model.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.pt"
    torch.save(unet().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"model\.pt cannot be read as a file of weights alone"):
        load_weights(unet(), path)


def test_text_is_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"model\.pt cannot be read as a file of weights alone"):
        load_weights(unet(), path)


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    written = tmp_path / "written"
    torch.save({"weight": Opener(written)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt .* which could run code") as error:
        load_weights(unet(), tmp_path / "model.pt")
    assert not written.exists()
    assert "weights_only" not in str(error.value), "torch's advice to run it is not passed on"


def test_damage_that_the_files_own_checksum_shows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.full((64,), 3.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((64,), 3.0).numpy().tobytes()) + 2] ^= 0x40
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["w"][0] != 3.0, "torch says nothing"
    for read in (weights_hash, read_tensors, check_archive):
        with pytest.raises(UnreadableFileError, match=r"model\.pt .*damaged: the checksum of its entry"):
            read(path)


def test_sizes_that_the_file_does_not_have_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(1).expand(2**40)}, path)
    with pytest.raises(UnreadableFileError, match="claims more values than it holds"):
        weights_hash(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/0", bytes(2**20))
    with pytest.raises(UnreadableFileError, match="claim 1048576 bytes, more than the file has"):
        weights_hash(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    state = unet().state_dict()
    state["unet.conv_in.conv.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt .*NaN or infinite values \(unet\.conv_in\.conv\.weight\)"):
        load_weights(unet(), tmp_path / "model.pt")


def test_weights_without_a_name_are_refused(tmp_path: Path) -> None:
    torch.save({**unet().state_dict(), 5: torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt names weights by 5, which is no text"):
        load_weights(unet(), tmp_path / "model.pt")


def test_training_checkpoints_and_other_content_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"network": unet().state_dict(), "epoch": 3}, path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a state dict but holds network, epoch"):
        load_weights(unet(), path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(ValueError, match="holds Tensor"):
        load_weights(unet(), path)


def test_hash_is_sha256_of_names_types_shapes_and_values() -> None:
    values = torch.tensor([1.0, -2.0])
    expected = hashlib.sha256(b"w torch.float32 (2,)\n" + values.numpy().tobytes()).hexdigest()
    assert weights_hash({"w": values}) == expected


def test_hash_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    state = unet().state_dict()
    torch.save(state, tmp_path / "a.pt")
    torch.save(dict(reversed(list(state.items()))), tmp_path / "b.pt")
    assert weights_hash(tmp_path / "a.pt") == weights_hash(str(tmp_path / "b.pt")) == weights_hash(state)


def test_hash_sees_every_difference() -> None:
    value = torch.arange(6.0)
    variants = [
        {"w": value},
        {"v": value},
        {"w": value.reshape(2, 3)},
        {"w": value.double()},
        {"w": value.bfloat16()},
        {"w": value.int()},
        {"w": value + torch.tensor([0, 0, 0, 0, 0, 1e-6])},
        {"w": value, "count": torch.tensor(3)},
    ]
    assert len({weights_hash(state) for state in variants}) == len(variants)
    strided = torch.arange(12.0)[::2]
    assert weights_hash({"w": strided}) == weights_hash({"w": strided.clone()})


def test_the_autoencoder_is_loaded_where_it_is_the_one_of_the_latents(tmp_path: Path) -> None:
    path = tmp_path / "autoencoder.pt"
    first, second = small_autoencoder(), small_autoencoder()
    torch.nn.init.normal_(first.post_quant_conv.conv.weight)
    torch.save(first.state_dict(), path)
    wanted = weights_hash(first.state_dict())
    for digest in (wanted, None):
        torch.nn.init.zeros_(second.post_quant_conv.conv.weight)
        assert load_autoencoder(second, path, digest) is second
        assert weights_hash(second.state_dict()) == wanted


def test_an_autoencoder_with_other_latents_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "autoencoder.pt"
    network, other = small_autoencoder(), small_autoencoder()
    torch.nn.init.normal_(other.quant_conv_mu.conv.bias)
    torch.save(other.state_dict(), path)
    trained, found = weights_hash(network.state_dict()), weights_hash(path)
    with pytest.raises(ValueError, match="was trained on another autoencoder's latents") as error:
        load_autoencoder(network, path, trained)
    assert all(word in str(error.value) for word in (str(path), trained, found))
    assert weights_hash(network.state_dict()) == trained, "it stays as it was"


def test_an_autoencoder_of_another_shape_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "autoencoder.pt"
    with pytest.raises(FileNotFoundError, match=r"autoencoder\.pt"):
        load_autoencoder(small_autoencoder(), path, "0" * 64)
    torch.save(small_autoencoder(levels=3).state_dict(), path)
    with pytest.raises(ValueError, match="another architecture than this AutoencoderKL"):
        load_autoencoder(small_autoencoder(), path, weights_hash(path))

"""Names of weights, without the old package; `test_against_generative.py` compares with it."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.conversion import convert_weights, find_weights, network_of, read_checkpoint

from .cases import CASES, monai_network, old_weights

SMALL = "unet 2D"


@pytest.mark.parametrize("name", CASES)
def test_every_weight_of_monais_network_is_found_among_the_old_ones(name):
    network = monai_network(name)
    old = old_weights(network)
    converted = convert_weights(old)
    assert converted.network == CASES[name][0]
    expected = network.state_dict()
    assert converted.weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in converted.weights.items())
    assert set(converted.renamed) | set(converted.dropped) == set(old) - (set(old) & set(expected))
    assert set(converted.renamed.values()) | set(converted.added) == set(expected) - set(old)


def test_projections_that_were_never_applied_become_identities_of_the_same_type():
    old = {key: value.half() for key, value in old_weights(monai_network(SMALL)).items()}
    converted = convert_weights(old)
    assert converted.added
    for key in converted.added:
        value = converted.weights[key]
        assert value.dtype == torch.float16
        expected = torch.eye(len(value)) if key.endswith("weight") else torch.zeros(len(value))
        assert torch.equal(value.float(), expected)


def test_converted_weights_are_copies():
    old = old_weights(monai_network(SMALL))
    converted = convert_weights(old)
    old["conv_in.conv.weight"].zero_()
    assert converted.weights["conv_in.conv.weight"].abs().max() > 0


def test_weights_with_new_names_are_told_and_not_converted_again():
    with pytest.raises(ValueError, match=r"have MONAI's names already, such as .*: load them as they are"):
        convert_weights(monai_network(SMALL).state_dict())


def test_weights_of_other_networks_are_refused():
    with pytest.raises(ValueError, match=r"not the weights of one of DiffusionModelUNet.*hold layer.weight"):
        convert_weights({"layer.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"are none of AutoencoderKL's, but of DiffusionModelUNet: leave the network"):
        convert_weights(old_weights(monai_network(SMALL)), "autoencoder")
    mixed = {**old_weights(monai_network(SMALL)), "layer.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 of .* weights are none of DiffusionModelUNet's: layer.weight"):
        convert_weights(mixed)
    spade = {
        **old_weights(monai_network("autoencoder 2D")),
        "decoder.blocks.1.norm1.mlp_gamma.conv.weight": torch.ones(1),
    }
    assert network_of(spade) is None


def test_a_part_of_a_network_is_none(tmp_path):
    unet = old_weights(monai_network(SMALL))
    encoder = {key: value for key, value in unet.items() if key.split(".")[0] not in ("middle_block", "up_blocks")}
    for part in (encoder, {key: value for key, value in unet.items() if not key.startswith("up_blocks")}):
        assert network_of(part) is None
        with pytest.raises(ValueError, match=r"each as a whole"):
            find_weights({"model": part})
        with pytest.raises(ValueError, match=r"each as a whole"):
            convert_weights(part, "unet")


@pytest.mark.parametrize(
    ("wrap", "part", "left_out"),
    [
        (lambda state: state, "", ()),
        (lambda state: {"state_dict": state, "epoch": 3}, "state_dict", ("epoch",)),
        (
            lambda state: {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
            "model",
            ("optimizer",),
        ),
        (lambda state: {"network": {f"module.{key}": value for key, value in state.items()}}, "network.module", ()),
        (lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}, "_orig_mod", ()),
        (
            lambda state: {"a": {"state_dict": {f"unet.{k}": v for k, v in state.items()}, 7: 1}, "b": 2},
            "a.state_dict.unet",
            ("b", "a.7"),
        ),
        (
            lambda state: {
                "net": {**{f"m.unet.{k}": v for k, v in state.items()}, "m.other.a.b": torch.ones(1)},
            },
            "net.m.unet",
            ("net.m.other",),
        ),
    ],
    ids=["plain", "state_dict", "model", "module", "compiled", "nested", "beside"],
)
def test_weights_are_found_in_their_wrappers(tmp_path, wrap, part, left_out):
    state = old_weights(monai_network(SMALL))
    torch.save(wrap(state), tmp_path / "old.pt")
    found = find_weights(read_checkpoint(tmp_path / "old.pt"))
    assert (found.part, found.network, found.left_out) == (part, "unet", left_out)
    assert found.weights.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in found.weights.items())


def test_of_several_networks_one_is_chosen():
    unet, autoencoder = (old_weights(monai_network(name)) for name in (SMALL, "autoencoder 2D"))
    content = {"state_dict": unet, "ema": unet, "autoencoder": autoencoder}
    with pytest.raises(ValueError, match=r"several networks: state_dict \(Diff.*ema \(Diff.*autoencoder \(Auto"):
        find_weights(content)
    assert find_weights(content, network="autoencoder").part == "autoencoder"
    assert find_weights(content, part="ema").network == "unet"
    with pytest.raises(ValueError, match=r"state_dict \(.*ema \("):
        find_weights(content, network="unet")
    with pytest.raises(ValueError, match=r"no weights of .* in its part 'other', but the keys state_dict, ema"):
        find_weights(content, part="other")


def test_weights_are_not_converted_as_those_of_a_network_that_they_are_not_of():
    spade = old_weights(monai_network("spade 2D"))
    for content in (spade, {"model": spade}):
        with pytest.raises(ValueError, match=r"none of DiffusionModelUNet's, but of SPADEDiffusionModelUNet: .*spade"):
            find_weights(content, network="unet")
    with pytest.raises(ValueError, match=r"none of DiffusionModelUNet's, but of SPADE"):
        convert_weights(spade, "unet")
    assert find_weights(spade, network="spade").network == "spade"


class _Planted:
    ran: list[str] = []  # noqa: RUF012

    def __reduce__(self):
        return (self.ran.append, ("ran",))


def test_a_pickle_is_refused_and_not_run(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "extra": _Planted()}, tmp_path / "evil.pt")
    with pytest.raises(
        ValueError, match=r"evil.pt cannot be loaded as weights alone .*save the weights alone, .*torch.save"
    ):
        read_checkpoint(tmp_path / "evil.pt")
    assert not _Planted.ran


def test_files_that_are_no_checkpoints_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*none.pt"):
        read_checkpoint(tmp_path / "none.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"cut.pt"):
        read_checkpoint(tmp_path / "cut.pt")
    for text in (b"unet:\n", b"bundle_root: .\n", b"(dp0\n", b"]", b"}"):
        (tmp_path / "text.pt").write_bytes(text)
        with pytest.raises(ValueError, match=r"text.pt "):
            read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(ValueError, match=r"holds no weights of DiffusionModelUNet, .* but a Tensor"):
        find_weights(torch.zeros(3))


def test_mappings_that_hold_themselves_are_refused():
    content: dict = {}
    content |= {f"k{number}": content for number in range(50)}
    with pytest.raises(ValueError, match="do some of them hold themselves"):
        find_weights(content)


def test_damage_that_the_files_own_checksum_shows_is_refused(tmp_path):
    file = tmp_path / "old.pt"
    torch.save({"weight": torch.arange(1000.0)}, file)
    content = bytearray(file.read_bytes())
    at = content.index(torch.arange(500.0, 502.0).numpy().tobytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"old\.pt cannot be read as a checkpoint .*checksum"):
        read_checkpoint(file)

from __future__ import annotations

import json

import pytest
import torch
import yaml
from monai.networks import nets
from monai.networks.nets import AutoencoderKL

from monai_segdiff.__main__ import main
from monai_segdiff.conversion import NETWORKS, ConvertedWeights, convert_options, convert_weights, fitting_network
from monai_segdiff.networks import LatentSpace, load_autoencoder

from .cases import CASES, monai_network, old_weights

AUTOENCODER = "autoencoder 2D"


@pytest.fixture
def old(tmp_path):
    """An old checkpoint with its bundle's configuration."""
    options = CASES[AUTOENCODER][1]
    network = {"_target_": "generative.networks.nets.AutoencoderKL", **options, "spatial_dims": "@dims"}
    (tmp_path / "old.json").write_text(json.dumps({"dims": 2, "net": network}, indent=2))
    torch.save({"model": old_weights(monai_network(AUTOENCODER))}, tmp_path / "old.pt")
    return tmp_path


def _run(folder, *more, checkpoint="old.pt"):
    return main(["convert", str(folder / checkpoint), str(folder / "new.pt"), *map(str, more)])


def _config(folder):
    return "--config", folder / "old.json", "--new-config", folder / "new.yaml"


def test_weights_and_configuration_go_on_in_monai(old, capsys):
    assert _run(old, *_config(old)) == 0
    out = capsys.readouterr().out
    assert f"{old / 'old.pt'}: AutoencoderKL, in its part model, " in out
    assert "renamed, such as decoder.blocks." in out
    assert f"{old / 'old.json'}:8: net#num_channels: num_channels -> channels" in out
    assert f"{old / 'new.yaml'}: its net takes these weights" in out
    net = yaml.safe_load((old / "new.yaml").read_text())["net"]
    options = {key: value for key, value in net.items() if key != "_target_"}
    network = load_autoencoder(AutoencoderKL(**{**options, "spatial_dims": 2}), old / "new.pt")
    expected = monai_network(AUTOENCODER)
    image = torch.rand(1, 1, 16, 16)
    space = LatentSpace(network)
    with torch.no_grad():
        mean, _ = expected.eval().encode(image)
        torch.testing.assert_close(space.decode(space.encode(image)), expected.decode(mean), atol=1e-5, rtol=1e-5)


def test_files_are_not_overwritten_unless_asked(old, capsys):
    torch.save({"a": torch.zeros(1)}, old / "new.pt")
    before = (old / "new.pt").read_bytes()
    assert _run(old) == 2
    assert "new.pt exists: choose another name, or replace it with --overwrite" in capsys.readouterr().err
    assert (old / "new.pt").read_bytes() == before
    assert _run(old, "--overwrite") == 0
    assert main(["convert", str(old / "old.pt"), str(old / "old.pt"), "--overwrite"]) == 2
    assert "is an input of the conversion: choose another name for the output" in capsys.readouterr().err


def test_a_run_that_ended_between_its_two_files_is_made_again(old, capsys):
    assert _run(old, *_config(old)) == 0
    text = (old / "new.yaml").read_text()
    for lost in (["new.yaml"], [], ["new.pt", "new.yaml"]):
        for name in lost:
            (old / name).unlink()
        assert _run(old, *_config(old)) == 0
        assert (old / "new.yaml").read_text() == text
    (old / "new.yaml").write_text("{}")
    assert _run(old, *_config(old)) == 2
    assert "new.yaml exists" in capsys.readouterr().err
    (old / "new.yaml").write_text(text)
    assert main(["verify", str(old / "new.pt")]) == 0, "a configuration beside weights is no card"
    for other in (b"notes", None):
        (old / "new.yaml").unlink(missing_ok=True)
        (old / "new.pt").write_bytes(other) if other else torch.save({"a": torch.zeros(1)}, old / "new.pt")
        before = (old / "new.pt").read_bytes()
        assert _run(old, *_config(old)) == 2
        assert "new.pt exists" in capsys.readouterr().err
        assert (old / "new.pt").read_bytes() == before


def test_weights_of_half_an_attention_are_named(old, capsys):
    content = torch.load(old / "old.pt", weights_only=True)
    name = next(key for key in content["model"] if key.endswith("to_v.weight"))
    del content["model"][name]
    torch.save(content, old / "old.pt")
    assert _run(old) == 2
    assert f"{old / 'old.pt'}: the weights lack {name}, which goes with" in capsys.readouterr().err


def test_what_killed_runs_have_left_beside_the_files_goes(old):
    (old / "configs").mkdir()
    for folder in (old, old / "configs"):
        (folder / ".tmp-4711-new.pt").touch()
    config = ("--config", old / "old.json", "--new-config", old / "configs" / "new.yaml")
    assert _run(old, *config) == 0
    assert not list(old.rglob(".tmp*"))


def test_nothing_is_written_where_anything_fails(old, capsys):
    config = json.loads((old / "old.json").read_text())
    config["other"] = {"_target_": "generative.networks.nets.Unheard"}
    (old / "old.json").write_text(json.dumps(config, indent=2))
    assert _run(old, *_config(old)) == 2
    err = capsys.readouterr().err
    assert "old.json cannot be converted as a whole, and nothing was written" in err
    assert "other#_target_: no counterpart of generative.networks.nets.Unheard" in err
    assert {path.name for path in old.iterdir()} == {"old.pt", "old.json"}
    assert _run(old, *_config(old), "--partial") == 0
    assert "left as it was: " in capsys.readouterr().out
    assert yaml.safe_load((old / "new.yaml").read_text())["other"] == config["other"]


def test_nothing_is_written_where_json_cannot_hold_the_configuration(old, capsys):
    (old / "old.yaml").write_text("day: 2020-01-02\n")
    assert _run(old, "--config", old / "old.yaml", "--new-config", old / "new.json") == 2
    assert "new.json cannot hold the configuration" in capsys.readouterr().err
    assert {path.name for path in old.iterdir()} == {"old.pt", "old.json", "old.yaml"}


def test_a_configuration_alone(old, capsys):
    assert main(["convert", *map(str, _config(old))]) == 0
    assert yaml.safe_load((old / "new.yaml").read_text())["net"]["_target_"] == "monai.networks.nets.AutoencoderKL"
    assert {path.name for path in old.iterdir()} == {"old.pt", "old.json", "new.yaml"}
    capsys.readouterr()
    for arguments in ([], [str(old / "old.pt")], [str(old / "old.pt"), *map(str, _config(old))]):
        assert main(["convert", *arguments, "--overwrite"]) == 2
        assert "give CHECKPOINT and OUTPUT, or --config OLD and --new-config NEW" in capsys.readouterr().err


def test_what_a_checkpoint_holds_besides_is_said_to_be_left_out(old, capsys):
    content = torch.load(old / "old.pt", weights_only=True)
    torch.save({"autoencoder": content["model"], "discriminator": {}, "optimizer": {"state": {}}}, old / "old.pt")
    assert _run(old) == 0
    out = capsys.readouterr().out
    assert "  left out: discriminator, optimizer\n" in out
    assert "  the output is a plain state dict" in out
    assert torch.is_tensor(next(iter(torch.load(old / "new.pt", weights_only=True).values())))


def test_what_does_not_fit_is_converted_in_part(old, capsys):
    config = json.loads((old / "old.json").read_text())
    config["net"]["use_convtranspose"] = True
    (old / "old.json").write_text(json.dumps(config))
    assert _run(old, *_config(old)) == 2
    assert "net#use_convtranspose: AutoencoderKL's option" in capsys.readouterr().err
    assert _run(old, *_config(old), "--partial") == 0
    assert (
        f"{old / 'new.yaml'}: the weights do not fit the configuration's AutoencoderKL: net: "
        in capsys.readouterr().out
    )


def test_weights_of_another_size_than_the_configuration_says_are_refused(old, capsys):
    config = (old / "old.json").read_text().replace('"latent_channels": 3', '"latent_channels": 4')
    (old / "old.json").write_text(config)
    assert _run(old, *_config(old)) == 2
    err = capsys.readouterr().err
    assert (
        f"{old / 'old.pt'} with {old / 'old.json'}: the weights do not fit the configuration's AutoencoderKL: " in err
    )
    assert "net: size mismatch for encoder.blocks" in err
    assert "Where another file changes these options, convert with --partial." in err
    assert not (old / "new.pt").exists()


def test_a_network_can_be_named_but_not_made_up(old, capsys):
    assert _run(old, "--network", "autoencoder") == 0
    assert _run(old, "--network", "unet", "--overwrite") == 2
    assert "are none of DiffusionModelUNet's" in capsys.readouterr().err


def test_options_that_need_the_configuration_to_run_are_not_compared():
    converted = convert_weights(old_weights(monai_network(AUTOENCODER)))
    network = {"_target_": "monai.networks.nets.AutoencoderKL", "spatial_dims": "$1 / 0"}
    assert fitting_network({"net": network}, converted) is None
    assert fitting_network({"net": {**network, "spatial_dims": "@dims"}, "dims": "@dims"}, converted) is None
    with pytest.raises(ValueError, match=r"net: MONAI refuses its options"):
        fitting_network({"net": {**network, "spatial_dims": 2, "nonsense": 1}}, converted)
    odd = {**CASES[AUTOENCODER][1], "norm_num_groups": 0}
    odd["channels"] = odd.pop("num_channels")
    with pytest.raises(ValueError, match=r"net: MONAI refuses its options \(ZeroDivisionError: "):
        fitting_network({"net": {**network, **odd}}, converted)


def _described(**changes):
    options = CASES[AUTOENCODER][1] | changes
    return {"_target_": "monai.networks.nets.AutoencoderKL", **convert_options("AutoencoderKL", options)}


def test_a_network_whose_options_are_not_known_may_be_the_one():
    converted = convert_weights(old_weights(monai_network(AUTOENCODER)))
    other, unknown = _described(latent_channels=4), _described(latent_channels="$1 + 2")
    assert fitting_network({"a": other, "b": unknown}, converted) is None
    with pytest.raises(ValueError, match=r"a: size mismatch"):
        fitting_network({"a": other}, converted)


def test_options_that_the_file_overrides_are_compared_as_overridden():
    converted = convert_weights(old_weights(monai_network(AUTOENCODER)))
    config = {"net": _described(latent_channels=4), "net#latent_channels": 3, True: 1}
    assert fitting_network(config, converted) == "net"
    assert config["net"]["latent_channels"] == 4
    assert fitting_network({"net": _described(latent_channels=4), "+net": {"latent_channels": 3}}, converted) == "net"
    assert fitting_network({"a": [1], "a#9#b": 1, "net": _described()}, converted) is None


def test_heads_that_do_not_come_out_even_have_a_remedy():
    kind, options = CASES["unet 2D"]
    name = NETWORKS[kind]
    given = convert_options(name, {**options, "num_channels": [8, 12, 16], "num_head_channels": 8})
    network = getattr(nets, name)(**{**given, "num_head_channels": [8, 12, 8]})
    converted = convert_weights(old_weights(network))
    config = {"net": {"_target_": f"monai.networks.nets.{name}", **given}}
    with pytest.raises(ValueError, match=r"with num_head_channels \[8, 12, 8\] the network is that of"):
        fitting_network(config, converted)
    config["net"]["num_head_channels"] = [8, 12, 8]
    assert fitting_network(config, converted) == "net"


@pytest.mark.parametrize("arguments", [["--config", "old.json"], ["--new-config", "new.yaml"]])
def test_a_configuration_needs_both_its_names(old, arguments, capsys):
    assert _run(old, *arguments) == 2
    assert "belong together" in capsys.readouterr().err


def test_options_that_ask_for_layers_without_end_are_no_network_of_these_weights():
    given = ConvertedWeights("unet", {f"w{number}": torch.zeros(1) for number in range(100)}, {}, (), ())
    plain = {"_target_": "monai.networks.nets.DiffusionModelUNet", "spatial_dims": 2, "in_channels": 1}
    for option, value in (("num_res_blocks", 10**6), ("transformer_num_layers", 10**6), ("channels", [32] * 5000)):
        with pytest.raises(ValueError, match=f"net: its {option} makes more layers than there are weights"):
            fitting_network({"net": {**plain, "out_channels": 1, option: value}}, given)


def test_references_that_multiply_are_not_followed():
    given = ConvertedWeights("unet", {"w": torch.zeros(1)}, {}, (), ())
    lists = {"a0": [1] * 9, **{f"a{k}": [f"@a{k - 1}"] * 9 for k in range(1, 19)}}
    net = {"_target_": "monai.networks.nets.DiffusionModelUNet", "channels": "@a18"}
    assert fitting_network({**lists, "net": net}, given) is None

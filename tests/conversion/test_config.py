from __future__ import annotations

import json

import pytest
import yaml

from monai_segdiff.conversion import convert_config, convert_options

OLD = """\
# How it was trained
imports:
  - $import torch
  - $import generative
  - $from generative.inferers import DiffusionInferer as Inferer, LatentDiffusionInferer
spatial_dims: 2
nested:
  - deep:
      autoencoder:
        _target_: generative.networks.nets.autoencoderkl.AutoencoderKL  # with its module
        spatial_dims: "@spatial_dims"
        num_channels: [8, 16]
        attention_levels: [false, false]
        use_checkpointing: true
        use_convtranspose: false
unet: &unet
  _target_: "generative.networks.nets.DiffusionModelUNet"
  num_channels: [8, 8]
levels: $len(@unet#num_channels) + len(@unet::num_channels)
first: "@unet#num_channels#0"
unet#num_channels: [8, 16]
same: *unet
options: {num_channels: [4]}
quantizer: "$Quantizer(generative.networks.layers.EMAQuantizer(2, 8, 4), @unet#num_channels)"
group: "$torch.nn.GroupNorm(num_groups=2, num_channels=@unet#num_channels#1)"
called: $generative.networks.nets.AutoencoderKL(spatial_dims=2,
  channels=[4, 8],
  use_checkpoint=False)
inferer:
  _target_: generative.inferers.LatentDiffusionInferer
  scheduler: {_target_: generative.networks.schedulers.DDIMScheduler, schedule: cosine}
metric: {_target_: generative.metrics.SSIMMetric, spatial_dims: 2, kernel_size: 7}
path: $@root + '/generative/models'
num_channels: 3
"""


def _convert(tmp_path, text, name="old.yaml"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return convert_config(tmp_path / name)


def test_components_options_references_and_expressions_of_any_depth(tmp_path):
    done = _convert(tmp_path, OLD)
    assert done.problems == ()
    data = done.data
    assert data["imports"] == [
        "$import torch",
        "$import monai",
        "$from monai.inferers import DiffusionInferer as Inferer, LatentDiffusionInferer",
    ]
    autoencoder = data["nested"][0]["deep"]["autoencoder"]
    assert autoencoder == {
        "_target_": "monai.networks.nets.AutoencoderKL",
        "spatial_dims": "@spatial_dims",
        "channels": [8, 16],
        "attention_levels": [False, False],
        "use_checkpoint": True,
        "use_convtranspose": False,
    }
    assert data["unet"] == data["same"] == {"_target_": "monai.networks.nets.DiffusionModelUNet", "channels": [8, 8]}
    assert data["levels"] == "$len(@unet#channels) + len(@unet::channels)"
    assert data["first"] == "@unet#channels#0"
    assert data["unet#channels"] == [8, 16]
    assert data["options"] == {"num_channels": [4]}
    assert data["quantizer"] == "$Quantizer(monai.networks.layers.EMAQuantizer(2, 8, 4), @unet#channels)"
    assert data["called"] == "$monai.networks.nets.AutoencoderKL(spatial_dims=2, channels=[4, 8], use_checkpoint=False)"
    assert data["inferer"]["_target_"] == "monai.inferers.LatentDiffusionInferer"
    assert data["inferer"]["scheduler"]["_target_"] == "monai.networks.schedulers.DDIMScheduler"
    assert data["metric"] == {"_target_": "monai.metrics.SSIMMetric", "spatial_dims": 2, "win_size": 7}


def test_what_is_no_component_of_the_old_package_stays(tmp_path):
    data = _convert(tmp_path, OLD).data
    assert data["num_channels"] == 3
    assert data["path"] == "$@root + '/generative/models'"
    # The keyword is torch's; the reference is to what was renamed.
    assert data["group"] == "$torch.nn.GroupNorm(num_groups=2, num_channels=@unet#channels#1)"


def test_comments_and_layout_stay(tmp_path):
    done = _convert(tmp_path, OLD)
    assert done.text.startswith("# How it was trained\n")
    assert "_target_: monai.networks.nets.AutoencoderKL  # with its module\n" in done.text
    assert "unet: &unet\n" in done.text
    words = ("generative", "num_channels", "use_checkpointing", "kernel_size", "channels=", "use_checkpoint=")
    kept = [line for line in OLD.splitlines() if not any(word in line for word in words)]
    assert [line for line in done.text.splitlines() if line in kept] == kept
    assert yaml.safe_load(done.text) == done.data


def test_changes_and_notes_name_file_line_and_key(tmp_path):
    done = _convert(tmp_path, OLD)
    file = tmp_path / "old.yaml"
    assert f"{file}:12: nested#0#deep#autoencoder#num_channels: num_channels -> channels" in done.changes
    schedulers = [note for note in done.notes if ":31: inferer#scheduler: " in note]
    assert any("visits other timesteps" in note for note in schedulers)
    assert any("cosine schedule" in note for note in schedulers)
    assert len(done.notes) == 2


def test_a_converted_configuration_has_nothing_left_to_convert(tmp_path):
    done = _convert(tmp_path, OLD)
    again = _convert(tmp_path, done.text, "new.yaml")
    assert again.changes == again.problems == ()
    assert again.text == done.text


def test_overrides_of_components_of_the_file(tmp_path):
    net = "net: {_target_: generative.networks.nets.VQVAE}\n"
    overrides = "net#num_channels: [4]\n+net#num_channels: [8]\n+net: {num_channels: [8]}\nconv#out_channels: 3\n"
    done = _convert(tmp_path, net + overrides)
    assert done.problems == ()
    assert done.text.splitlines()[1:] == overrides.replace("num_channels", "channels").splitlines()


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "old.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert convert_config(tmp_path / "old.json").data == {"a": 1}


def test_json_stays_json_and_can_become_yaml(tmp_path):
    content = {"net": {"_target_": "generative.networks.nets.VQVAE", "num_channels": [4]}, "name": 'Größe "x"'}
    done = _convert(tmp_path, json.dumps(content, indent="\t", ensure_ascii=False), "old.json")
    expected = {"net": {"_target_": "monai.networks.nets.VQVAE", "channels": [4]}, "name": 'Größe "x"'}
    assert json.loads(done.text_for("new.json")) == done.data == expected
    as_yaml = done.text_for("new.yaml")
    assert yaml.safe_load(as_yaml) == expected
    assert "{" not in as_yaml
    from_yaml = _convert(tmp_path, as_yaml)
    assert json.loads(from_yaml.text_for("new.json")) == expected


def test_files_that_are_no_configurations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.yaml"):
        convert_config(tmp_path / "none.yaml")
    for text in ("- a\n", "a: [1\n", "\tb: 1"):
        with pytest.raises(ValueError, match=r"old.yaml is n"):
            _convert(tmp_path, text)


TEN = ",".join(["*a{0}"] * 9)
STRANGE = {
    "aliases that multiply": (
        "a0: &a0 [x]\n" + "\n".join(f"a{k}: &a{k} [{TEN.format(k - 1)}]" for k in range(1, 9)),
        "multiply its content",
    ),
    "an alias within itself": ("a: &a {<<: *a}", "stands within what it is for"),
    "deep": ("[" * 5000 + "]" * 5000, "nested"),
    "long": ("a: " + "x" * 2**20, "1048579 bytes, which is too much"),
    "a long key before many values": (f"? {'k' * 60_000}\n: [{','.join('1' * 2000)}]", "longer keys"),
    "a tag that runs code": ("a: !!python/object/apply:os.system ['true']", "not readable as YAML"),
    "tabs": ("a: 1\n\tb: 2", "not readable as YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not readable as YAML"),
    "no UTF-8": (b"a: \xe9", "save it as UTF-8"),
    "no text": (b"a: \x00", "zero bytes"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_files_are_refused_in_a_line(tmp_path, case):
    text, message = STRANGE[case]
    (tmp_path / "old.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        convert_config(tmp_path / "old.yaml")
    assert str(tmp_path / "old.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rest", ["(" * 500, ".a" * 5000, " " + "-" * 50_000 + "1", "\\0"])
def test_expressions_that_python_cannot_read_are_left_to_the_user(tmp_path, rest):
    (tmp_path / "old.yaml").write_text(f'a: "$generative.nets{rest}"\n')
    done = convert_config(tmp_path / "old.yaml")
    assert done.changes == ()
    assert len(done.problems) == 1


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "old.json").write_text('{"a": 1, "a": 2}')
    with pytest.raises(ValueError, match=r"old\.json is not readable as JSON: the key 'a' occurs twice"):
        convert_config(tmp_path / "old.json")


def test_references_to_very_many_parts_change_nothing(tmp_path):
    text = f"a: '@{'a#' * 20_000}a'\nnet: {{_target_: generative.networks.nets.VQVAE}}\n"
    assert _convert(tmp_path, text).data["a"] == text[4:40_006]


def test_options_of_python_callers():
    old = {"spatial_dims": 2, "num_channels": (4,), "use_checkpointing": True, "use_convtranspose": False}
    new = convert_options("AutoencoderKL", old)
    assert new == {"spatial_dims": 2, "channels": (4,), "use_checkpoint": True, "use_convtranspose": False}
    with pytest.raises(ValueError, match=r"AutoencoderKL's option use_convtranspose cannot be converted: .*3 wide"):
        convert_options("AutoencoderKL", {**old, "use_convtranspose": True})
    with pytest.raises(ValueError, match=r"no counterpart of monai-generative's Unheard"):
        convert_options("Unheard", {})


@pytest.mark.parametrize("number", ["1e-05", "1E5", "-2.5e-3", "1e400", "3", "0.0001"])
def test_numbers_are_what_json_and_yaml_say(tmp_path, number):
    net = '{"_target_": "generative.networks.nets.VQVAE", "num_channels": [4]}'
    text = f'{{"net": {net}, "rate": {number}, "text": "1e-05"}}'
    done = _convert(tmp_path, text, "old.json")
    expected = json.loads(text)["rate"]
    assert done.data["rate"] == expected
    assert json.loads(done.text_for("new.json"))["rate"] == expected
    as_yaml = done.text_for("new.yaml")
    for key, value in (("rate", expected), ("text", "1e-05")):
        assert yaml.safe_load(as_yaml)[key] == value
        assert type(yaml.safe_load(as_yaml)[key]) is type(value)
        assert json.loads(_convert(tmp_path, as_yaml).text_for("new.json"))[key] == value


def test_yaml_that_begins_as_json_becomes_json(tmp_path):
    flow = "{net: {_target_: generative.networks.nets.VQVAE, num_channels: [4]}, on: yes}  # in a line\n"
    done = _convert(tmp_path, flow)
    expected = {"net": {"_target_": "monai.networks.nets.VQVAE", "channels": [4]}, True: True}
    assert done.text_for("new.yaml").endswith("# in a line\n")
    assert json.loads(done.text_for("new.json")) == {"net": expected["net"], "true": True}
    with pytest.raises(ValueError, match=r"old\.json is not readable as JSON"):
        _convert(tmp_path, flow, "old.json")
    with pytest.raises(ValueError, match=r"new\.json cannot hold the configuration .*date"):
        _convert(tmp_path, "day: 2020-01-02\n").text_for("new.json")

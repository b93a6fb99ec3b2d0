from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import verify_metadata

import monai_segdiff
from monai_segdiff import bundle_path

SCHEMA = Path(__file__).parent / "metadata_schema.json"  # the check downloads nothing where the file exists


@pytest.fixture(scope="module")
def metadata(configs):
    return json.loads((configs / "metadata.json").read_text())


def verify(file):
    verify_metadata(meta_file=str(file), filepath=str(SCHEMA))


def test_metadata_follow_the_schema(configs):
    verify(configs / "metadata.json")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.pop("changelog"),
        lambda m: m["required_packages_version"].pop("monai-segdiff"),
        lambda m: m["network_data_format"]["inputs"].update(timesteps=m["denoiser_data_format"]["inputs"]["timesteps"]),
        lambda m: m["network_data_format"]["outputs"]["pred"].update(dtype="real"),
    ],
)
def test_the_schema_finds_defects(metadata, tmp_path, spoil):
    spoiled = json.loads(json.dumps(metadata))
    spoil(spoiled)
    (tmp_path / "metadata.json").write_text(json.dumps(spoiled))
    with pytest.raises(ValueError, match="Failed validating"):
        verify(tmp_path / "metadata.json")


def test_versions_are_those_of_the_package(metadata):
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["monai-segdiff"] == monai_segdiff.__version__


def test_every_required_package_is_a_dependency(metadata):
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    declared = re.search(r"^dependencies = \[(.*?)^\]", project, re.S | re.M).group(1)
    for package in {*metadata["required_packages_version"], "torch", "monai", "numpy"} - {"monai-segdiff"}:
        assert f'"{package}>=' in declared, package


def test_shapes_channels_and_ranges_are_those_of_the_configuration(metadata, bundle_name, parser_of):
    parser = parser_of(bundle_name, "inference")
    get = parser.get_parsed_content
    image, pred = metadata["network_data_format"]["inputs"]["image"], metadata["network_data_format"]["outputs"]["pred"]
    assert image["value_range"] == [0, max(get("classes").values())]
    assert pred["value_range"] == get("network_range")
    condition = metadata["denoiser_data_format"]["inputs"]["condition"]
    encoder = get("encoder")
    assert condition["num_channels"] == encoder.out_channels
    codes = encoder(torch.tensor([[[0, *get("classes").values()]]]))
    assert condition["value_range"] == [codes.min(), codes.max()]
    for part in ("network_data_format", "denoiser_data_format"):
        for tensor in (*metadata[part]["inputs"].values(), *metadata[part]["outputs"].values()):
            assert tensor["spatial_shape"] in (get("image_size"), [])


def test_the_bundle_is_complete_and_holds_no_code(bundle_name):
    folder = bundle_path(bundle_name)
    made_by_running = {"models", "eval"}
    names = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not made_by_running & set(path.relative_to(folder).parts)
    }
    assert names >= {
        "LICENSE",
        "docs/README.md",
        "docs/data_license.txt",
        *(f"configs/{name}" for name in ("metadata.json", "logging.conf", "train.yaml", "inference.yaml")),
        *(f"configs/{name}" for name in ("evaluate.yaml", "multi_gpu_train.yaml")),
    }
    assert not [name for name in names if Path(name).suffix in (".py", ".pyc", ".ipynb", ".sh")]

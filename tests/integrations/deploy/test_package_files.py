"""What the wheel and a container need beside the code; nothing here needs MONAI Deploy."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from monai_segdiff import __version__, copy_bundle
from monai_segdiff.integrations import deploy
from monai_segdiff.integrations.deploy.bundles import bundle_modality, find_bundle, load_bundle
from monai_segdiff.integrations.deploy.options import GenerationOptions, read_options

FOLDER = Path(deploy.__file__).parent
ROOT = Path(__file__).parents[3]
if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


def plain(requirement: str) -> str:
    return re.sub(r"[\s_-]+", "-", requirement).lower()


def test_a_container_gets_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dicom"], *extras["deploy"]]
    lines = [line for line in (FOLDER / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert sorted(map(plain, lines)) == sorted(plain(one) for one in wanted if not one.startswith("monai-segdiff"))


def test_configuration_holds_the_defaults_and_the_version() -> None:
    assert read_options(FOLDER / "app.yaml", {}) == GenerationOptions()
    content = yaml.safe_load((FOLDER / "app.yaml").read_text())
    assert content["application"]["version"] == __version__
    assert set(content["generation"]) == set(GenerationOptions.model_fields)


def test_the_wheel_carries_the_application(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    inside = zipfile.ZipFile(wheel).namelist()
    for name in ("app.py", "__main__.py", "app.yaml", "requirements.txt"):
        assert f"monai_segdiff/integrations/deploy/{name}" in inside


@pytest.mark.skipif(importlib.util.find_spec("holoscan") is not None, reason="MONAI Deploy is installed")
def test_without_monai_deploy_the_extra_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module("monai_segdiff.integrations.deploy.__main__").main() == 2
    assert "monai-segdiff[deploy]" in capsys.readouterr().err


def bundle(folder: Path, modality: object = "CT") -> Path:
    (folder / "configs").mkdir(parents=True)
    content = {"network_data_format": {"outputs": {"pred": {"modality": modality}}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(content))
    return folder


def test_a_bundle_is_found_alone_or_in_a_folder_of_models(tmp_path: Path) -> None:
    first = bundle(tmp_path / "models" / "first")
    (tmp_path / "models" / "other").mkdir()
    assert find_bundle(first) == find_bundle(tmp_path / "models") == first
    bundle(tmp_path / "models" / "second")
    with pytest.raises(ValueError, match="holds the bundles first, second: name one of them with -m"):
        find_bundle(tmp_path / "models")
    with pytest.raises(FileNotFoundError, match="is no bundle and holds none"):
        find_bundle(tmp_path / "models" / "other")


def test_the_modality_is_that_of_the_bundle_unless_another_is_wanted(tmp_path: Path) -> None:
    assert bundle_modality(bundle(tmp_path / "a", "MR"), None) == "MR"
    assert bundle_modality(tmp_path / "a", "CT") == "CT"
    for name, wrong in (("b", "n/a"), ("c", None)):
        with pytest.raises(
            ValueError, match=r"metadata\.json gives .* set the option modality to one of CT, MR, CR, DX"
        ):
            bundle_modality(bundle(tmp_path / name, wrong), None)


def test_a_bundle_without_weights_is_refused(tmp_path: Path) -> None:
    untrained = copy_bundle("ct_organ", tmp_path / "my_ct")
    with pytest.raises(FileNotFoundError, match=r"my_ct has no weights at .*model\.pt.*with -m"):
        load_bundle(untrained, {})

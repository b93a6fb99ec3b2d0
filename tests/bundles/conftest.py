from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ConfigParser

from monai_segdiff import bundle_path

BUNDLES = ("breast_mri", "ct_organ", "knee_drr")
TRAINED = {"breast_mri": "trained_breast", "ct_organ": "trained_bundle", "knee_drr": "trained_knee"}


@pytest.fixture(scope="session", params=BUNDLES)
def bundle_name(request: pytest.FixtureRequest) -> str:
    """Every bundle passes the same checks."""
    return request.param


@pytest.fixture(scope="session")
def trained(bundle_name: str, request: pytest.FixtureRequest) -> Any:
    """The bundle after a training: not to be changed."""
    return request.getfixturevalue(TRAINED[bundle_name])


@pytest.fixture(scope="session")
def configs(bundle_name: str) -> Path:
    """Folder of the bundle's configuration files."""
    return bundle_path(bundle_name) / "configs"


@pytest.fixture(scope="session")
def read(configs: Path) -> Callable[[str], dict[str, Any]]:
    """What a configuration file says, as it stands there."""
    return lambda name: yaml.safe_load((configs / f"{name}.yaml").read_text())


@pytest.fixture(scope="session")
def parser_of() -> Callable[..., ConfigParser]:
    """A parser of a bundle's configuration files."""

    def parser_of(bundle: str, *names: str, **overrides: Any) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([bundle_path(bundle) / "configs" / f"{name}.yaml" for name in names])
        parser.update(overrides)
        return parser

    return parser_of

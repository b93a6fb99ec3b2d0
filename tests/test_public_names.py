"""No public name of ours is one of MONAI's, as configurations resolve a short name to the first match."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from monai.bundle.config_item import ComponentLocator
from monai.utils import ensure_tuple

import monai_segdiff

MONAI_MODULES = ("networks.nets", "transforms", "inferers", "engines", "handlers", "data", "metrics", "losses")
SUBPACKAGES = [module.name for module in pkgutil.iter_modules(monai_segdiff.__path__, "monai_segdiff.") if module.ispkg]


def test_subpackages_are_found() -> None:
    assert {"monai_segdiff.networks", "monai_segdiff.transforms"} <= set(SUBPACKAGES)


@pytest.mark.parametrize("subpackage", SUBPACKAGES)
def test_public_names_exist_and_are_not_monais(subpackage: str) -> None:
    ours = importlib.import_module(subpackage)
    assert len(ours.__all__) == len(set(ours.__all__))
    for name in ours.__all__:
        assert hasattr(ours, name), f"{subpackage}.__all__ lists {name}, which does not exist"
        for module in MONAI_MODULES:
            assert not hasattr(importlib.import_module(f"monai.{module}"), name), f"{name} is also in monai.{module}"


def test_short_names_resolve_to_ours_in_a_configuration() -> None:
    for subpackage in SUBPACKAGES:
        importlib.import_module(subpackage)
    locator = ComponentLocator()
    for subpackage in SUBPACKAGES:
        for name in importlib.import_module(subpackage).__all__:
            found = locator.get_component_module_name(name)
            for module in ensure_tuple(found) if found else ():
                assert module.startswith("monai_segdiff."), f"{name} of {subpackage} is also in {module}"

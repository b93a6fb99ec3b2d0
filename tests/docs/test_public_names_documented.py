"""The reference holds every public name, and no other."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import monai_segdiff

from .pages import ROOT

API = ROOT / "docs" / "api"
SUBPACKAGES = [
    module.name
    for module in pkgutil.iter_modules(monai_segdiff.__path__)
    if module.ispkg and getattr(importlib.import_module(f"monai_segdiff.{module.name}"), "__all__", None)
]
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|data):: (monai_segdiff(?:\.\w+)*)\.(\w+)$", re.MULTILINE)


def _documented(page: str) -> list[tuple[str, str]]:
    return DIRECTIVE.findall((API / f"{page}.md").read_text(encoding="utf-8"))


def test_subpackages_are_found() -> None:
    assert {"diffusion", "transforms", "inferers", "data"} <= set(SUBPACKAGES)


@pytest.mark.parametrize("subpackage", [*SUBPACKAGES, ""])
def test_every_public_name_has_an_entry(subpackage: str) -> None:
    module = importlib.import_module(f"monai_segdiff.{subpackage}" if subpackage else "monai_segdiff")
    entries = _documented(subpackage or "package")
    text = (API / f"{subpackage or 'package'}.md").read_text(encoding="utf-8")
    assert {where for where, _ in entries} == {module.__name__}
    names = [name for _, name in entries]
    assert len(names) == len(set(names))
    shown = {id(getattr(module, name)) for name in names}
    for name in module.__all__:
        # An alias is named in the text beside the entry of what it stands for.
        alias = id(getattr(module, name)) in shown and f"`{name}`" in text
        assert name in names or alias, f"docs/api/{subpackage or 'package'}.md lacks {module.__name__}.{name}"
    assert set(names) <= set(module.__all__)


def test_every_subpackage_is_in_the_table_of_contents() -> None:
    index = (API / "index.md").read_text(encoding="utf-8")
    listed = re.search(r"```\{toctree\}(.*?)```", index, re.DOTALL)
    assert listed is not None
    assert set(SUBPACKAGES) <= set(listed[1].split())

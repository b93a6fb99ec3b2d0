"""Imports between the package's parts go one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import monai_segdiff

PACKAGE = Path(monai_segdiff.__file__).parent
LAYERS = [
    ["errors"],
    ["_version", "bundle", "configuration", "ends", "evenly", "files", "documents", "digests", "diffusion", "settings"],
    ["networks"],
    ["conversion"],
    ["transforms"],
    ["inferers"],
    ["metrics", "data", "losses"],
    ["pictures"],
    ["engines", "handlers"],
    ["generation", "evaluation"],
    ["workflows", "integrations", "verification"],
    ["commands"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported_modules(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def imported_parts(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(file) if name.startswith("monai_segdiff.")}


@pytest.mark.parametrize("part", sorted(LEVEL))
def test_a_part_imports_only_from_those_below_it(part: str) -> None:
    files = [PACKAGE / f"{part}.py"] if (PACKAGE / f"{part}.py").is_file() else sorted((PACKAGE / part).rglob("*.py"))
    assert files
    for file in files:
        wrong = {other for other in imported_parts(file) - {part} if LEVEL[other] > LEVEL[part]}
        siblings = {other for other in imported_parts(file) - {part} if LEVEL[other] == LEVEL[part] > 1}
        assert not wrong, f"{file} imports from {wrong}"
        assert not siblings, f"{file} imports from {siblings}, which is of its own level"


def test_every_part_has_its_level() -> None:
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__"}
    assert parts == set(LEVEL)


def test_diffusion_knows_torch_only() -> None:
    for file in (PACKAGE / "diffusion").rglob("*.py"):
        roots = {module.split(".")[0] for module in imported_modules(file)}
        assert not roots & {"monai", "ignite", "nibabel", "skimage", "numpy"}, file

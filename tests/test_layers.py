"""Imports between the package's parts go one way."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import monai_segdiff

PACKAGE = Path(monai_segdiff.__file__).parent
DESIGN = PACKAGE.parent / "docs" / "design.md"
FIRST, *OTHERS = [
    [re.findall(r"`([\w/]+)`", cells[0]), cells[2]]
    for line in (DESIGN.read_text(encoding="utf-8") if DESIGN.is_file() else "").splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3
] or [[[], ""]]
GROUND = [*FIRST[0], "_version"]
ABOVE = {names[0]: [] if said == "nothing" else said.split(", ") for names, said in OTHERS if "/" not in names[0]}
ROOMS = {names[0]: [] if said == "nothing" else said.split(", ") for names, said in OTHERS if "/" in names[0]}
pytestmark = pytest.mark.skipif(not DESIGN.is_file(), reason="docs/design.md is in the repository, not in a wheel")


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


def files_of(part: str) -> list[Path]:
    return [PACKAGE / f"{part}.py"] if (PACKAGE / f"{part}.py").is_file() else sorted((PACKAGE / part).rglob("*.py"))


@pytest.mark.parametrize("part", ABOVE)
def test_a_part_imports_what_the_design_says(part: str) -> None:
    found = {other for file in files_of(part) for other in imported_parts(file)} - {part, *GROUND}
    assert found == set(ABOVE[part])
    order = list(ABOVE)
    assert all(order.index(other) < order.index(part) for other in found), "imports go one way"


@pytest.mark.parametrize("module", GROUND)
def test_the_ground_floor_imports_nothing_but_itself(module: str) -> None:
    assert imported_parts(PACKAGE / f"{module}.py") <= set(GROUND)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_design_says(room: str) -> None:
    package, _, name = room.rpartition("/")
    beside = [other.rpartition("/")[2] for other in ROOMS if other.rpartition("/")[0] == package]
    prefix = f"monai_segdiff.{package.replace('/', '.')}."
    modules = {module for file in (PACKAGE / room).rglob("*.py") for module in imported_modules(file)}
    found = {m.removeprefix(prefix).split(".")[0] for m in modules if m.startswith(prefix)} & {*beside} - {name}
    assert found == set(ROOMS[room])
    assert all(beside.index(other) < beside.index(name) for other in found), "imports go one way"


def test_every_part_and_every_room_is_in_the_design() -> None:
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__"}
    assert parts == {*ABOVE, *GROUND}
    large = {room.rpartition("/")[0] for room in ROOMS}
    rooms = {f"{package}/{p.parent.name}" for package in large for p in (PACKAGE / package).glob("*/__init__.py")}
    assert rooms == set(ROOMS)


def test_diffusion_knows_torch_only() -> None:
    for file in (PACKAGE / "diffusion").rglob("*.py"):
        roots = {module.split(".")[0] for module in imported_modules(file)}
        assert not roots & {"monai", "ignite", "nibabel", "skimage", "numpy"}, file

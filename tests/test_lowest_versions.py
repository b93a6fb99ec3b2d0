"""Bounds of dependencies: none below what is safe with files of others, and constraints that pip takes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lowest_versions import lowest

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

# The first versions without a published weakness that a file, or a name in one, can use.
SAFE = {"torch": "2.10", "monai": "1.6", "pillow": "12.1.1", "pydicom": "3.0.2", "jinja2": "3.1.6", "tqdm": "4.66.3"}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_no_bound_lies_below_what_is_safe() -> None:
    text = PYPROJECT.read_text(encoding="utf-8")
    for name, safe in SAFE.items():
        bounds = re.findall(rf'"{name}>=([0-9.]+)', text)
        assert bounds, name
        assert all(numbers(bound) >= numbers(safe) for bound in bounds), name


def test_every_direct_dependency_gets_its_lowest_version() -> None:
    project = """
    [project]
    dependencies = ["torch>=2.10", "numpy>=1.26,<3", "PyWavelets>=1.7"]
    [project.optional-dependencies]
    dicom = ["pydicom>=3.0.2"]
    nrrd = ["pynrrd>=1.0"]
    test = ["thing[dicom,nrrd]", "pytest>=8"]
    """
    expected = ["numpy==1.26", "PyWavelets==1.7", "pydicom==3.0.2", "pynrrd==1.0", "pytest==8"]
    assert lowest(project) == expected

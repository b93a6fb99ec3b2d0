"""Constraints for pip that give every direct dependency its lowest allowed version: `make test-lowest`.

    python tests/lowest_versions.py pyproject.toml > lowest.txt

torch is left out: it is constrained for all environments, as each of its builds is for one kind of machine.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

_BOUND = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)")


def lowest(pyproject: str) -> list[str]:
    """Lines `name==version` for what the package and its tests ask for."""
    project = tomllib.loads(pyproject)["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dicom"], *extras["nrrd"], *extras["test"]]
    bounds = [match for requirement in wanted if (match := _BOUND.match(requirement))]
    return [f"{match[1]}=={match[2]}" for match in bounds if match[1] != "torch"]


if __name__ == "__main__":
    print("\n".join(lowest(Path(sys.argv[1]).read_text(encoding="utf-8"))))

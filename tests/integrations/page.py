"""The commands of a page of the documentation, and installations checked without downloading them."""

from __future__ import annotations

import re
import shlex
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
_PROJECT = "monai-segdiff"


def page_commands(name: str) -> list[str]:
    """Every command of the shell blocks of a page in ``docs``."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def check_install(command: str, extra: str) -> None:
    """A ``pip install`` of the project with an extra is that of the Makefile, and this environment is its result."""
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z0-9_]+=", word))
    *pip, wanted = words[len(variables) :]
    assert pip == ["python", "-m", "pip", "install"]
    requirement = Requirement(wanted)
    assert (requirement.name, requirement.extras, str(requirement.specifier)) == (_PROJECT, {extra}, "")
    recipe = next(
        line
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line.startswith("\t") and f'".[{extra}]"' in line
    )
    assert set(re.findall(r"(\w+)=", recipe)) == set(variables)
    for one in _asked_for(extra):
        assert one.specifier.contains(metadata.version(one.name), prereleases=True), one


def _asked_for(extra: str) -> list[Requirement]:
    """What the project asks for with an extra, those of the project's other extras included."""
    assert extra in (metadata.metadata(_PROJECT).get_all("Provides-Extra") or [])
    found = []
    for one in map(Requirement, metadata.requires(_PROJECT) or []):
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        own = one.name.lower() == _PROJECT
        found += [each for inner in sorted(one.extras) for each in _asked_for(inner)] if own else [one]
    return found

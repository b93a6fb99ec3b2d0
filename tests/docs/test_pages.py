"""Documents lead to each other: links of the repository's own pages exist, and every bundle has its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT, page_id, pages

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
OWN = [*pages(), ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md"]
BUNDLES = sorted(path.name for path in (ROOT / "bundles").iterdir() if (path / "configs").is_dir())


@pytest.mark.parametrize("page", OWN, ids=page_id)
def test_links_to_files_exist(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    for link in links:
        assert link.startswith(("https://", "mailto:")) or (page.parent / link).exists(), f"{page}: {link} is not there"


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_bundle_has_a_page_that_holds_its_own(bundle: str) -> None:
    page = (ROOT / f"docs/bundles/{bundle}.md").read_text(encoding="utf-8")
    assert f"```{{include}} ../../bundles/{bundle}/docs/README.md\n" in page
    assert f"\n{bundle}\n" in (ROOT / "docs/bundles/index.md").read_text(encoding="utf-8")
    assert f"(docs/bundles/{bundle}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_a_front_door() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_generated_reports_are_not_kept() -> None:
    assert not list((ROOT / "docs/results").rglob("*.html"))

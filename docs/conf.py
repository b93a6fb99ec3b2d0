"""Sphinx configuration; builds without a network."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

from monai_segdiff import __version__

project = "monai_segdiff"
author = "The monai_segdiff authors"
copyright = "The monai_segdiff authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
suppress_warnings = ["toc.empty_glob"]  # docs/results may hold no page yet

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"monai_segdiff {version}"
html_theme_options = {
    "sidebar_hide_name": False,
    "top_of_page_buttons": [],
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_show_sourcelink = False
html_copy_source = False

# Docstrings write code in single backticks, and shapes such as (B, C, *spatial), which reStructuredText takes for the
# start of an emphasis.
default_role = "code"
_LITERAL = re.compile(r"(`+[^`]+`+)")
_STAR = re.compile(r"(?<![\w*\\])\*(?=[a-z])")


def _clean_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what == "data":
        lines.clear()  # a constant has no docstring but that of its type
    lines[:] = [
        "".join(part if part.startswith("`") else _STAR.sub(r"\\*", part) for part in _LITERAL.split(line))
        for line in lines
    ]


def setup(app: Sphinx) -> None:
    """Register the docstring filter before napoleon's, which has priority 500."""
    app.connect("autodoc-process-docstring", _clean_docstring, priority=400)

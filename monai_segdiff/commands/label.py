"""Verb `label-app`: the folder that a MONAI Label server starts from."""

from __future__ import annotations

import argparse
from typing import Any

from monai_segdiff.commands.common import add_verb

__all__ = ["add_label_app"]


def label_app(args: argparse.Namespace) -> int:
    """Make the folder of the MONAI Label application."""
    from monai_segdiff.integrations import make_label_app

    print(make_label_app(args.folder))
    return 0


def add_label_app(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        label_app,
        "label-app",
        "Make the folder of the MONAI Label application and print its path; the server, started with "
        "`monailabel start_server --app FOLDER --studies STUDIES --conf bundle BUNDLE`, needs the extra `label`. "
        "Made again, it keeps what was trained in it.",
    )
    p.add_argument("folder", nargs="?", default="label_app", help="folder to make (default: %(default)s)")

"""Verb `completion`: what a shell needs to complete verbs, options and files."""

from __future__ import annotations

import argparse
from typing import Any

from monai_segdiff.commands.common import add_verb

__all__ = ["add_completion"]

_SHELLS = ("bash", "zsh", "fish", "tcsh")
_COMMAND = "monai-segdiff"


def completion(args: argparse.Namespace) -> int:
    """Print what a shell needs to complete the command line."""
    try:
        import shtab
    except ImportError:
        raise ImportError("completion needs shtab: pip install 'monai-segdiff[completion]'") from None
    from monai_segdiff.commands import VERBS

    parser = argparse.ArgumentParser(_COMMAND)
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(title="verbs", dest="verb")
    for add in VERBS:
        add(verbs)
    for verb in verbs.choices.values():
        for action in verb._actions:
            if action.nargs != 0 and action.type is None and action.choices is None:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def add_completion(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        completion,
        "completion",
        f"Print a script with which a shell completes `{_COMMAND}`, its verbs, their options and files: "
        f'eval "$({_COMMAND} completion bash)" in ~/.bashrc; into _{_COMMAND} in a folder of zsh\'s fpath; into '
        f"~/.config/fish/completions/{_COMMAND}.fish.",
        stopped="run the same command again",
    )
    p.add_argument("shell", choices=_SHELLS, help="which shell")

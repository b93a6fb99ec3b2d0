"""Command line: `python -m monai_segdiff VERB`; the verbs are in `monai_segdiff.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monai_segdiff import __version__
from monai_segdiff.commands import VERBS
from monai_segdiff.commands.common import warnings_in_words
from monai_segdiff.ends import TRACEBACK, Ending

__all__ = ["main"]

_DESCRIPTION = "Segmentation-guided diffusion on MONAI: synthetic images that obey a given label map."
_EPILOG = f"""The whole way, from a folder of scans and label maps:
  python -m monai_segdiff check-data SCANS
  python -m monai_segdiff prepare SCANS prepared --size 128 --intensity-range -200 300
  python -m monai_segdiff train ct_organ --output my_ct --data prepared
  python -m monai_segdiff generate --bundle my_ct --masks prepared --output synthetic
  python -m monai_segdiff evaluate --real prepared --synthetic synthetic --output report

What goes wrong is said in one line, `error: ...`, with exit code 2; {TRACEBACK}=1 in the environment shows where."""


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m monai_segdiff", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain
    )
    parser.add_argument("--version", action="version", version=f"monai_segdiff {__version__}")
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True)
    for add in VERBS:
        add(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: arguments; those of the process by default.

    Returns:
        The exit code: 0 if all is well, 1 where ``check-data`` found errors, 2 if the verb failed, 130 and 143 if it
        was stopped (Ctrl-C, SIGTERM), 141 if nobody reads what it prints.
    """
    ending = Ending("python -m monai_segdiff")

    def act() -> int:
        args = _parser().parse_args(argv)
        ending.name, ending.stopped = args.verb, args.stopped
        with warnings_in_words():
            return int(args.function(args))

    return ending.run(act)


if __name__ == "__main__":
    sys.exit(main())

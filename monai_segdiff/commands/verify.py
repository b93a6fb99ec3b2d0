"""Verb `verify`: whether data sets, bundles, weights and checkpoints are whole."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from monai_segdiff.commands.common import add_verb

__all__ = ["add_verify"]

_TEXT = """Read all of a data set, a bundle, a checkpoint or a file of weights, and say
whether it is whole: data sets by the hashes that were recorded when they were
written (SHA256SUMS), bundles and weights by the checksums in the files, by the
hash in the card, and whether all values are finite."""
_EXAMPLES = """exit code: 0 if all is whole, 1 if something is missing or damaged, 2 if that cannot be told

examples:
  python -m monai_segdiff verify prepared
  python -m monai_segdiff verify synthetic my_ct my_ct/models/checkpoint_epoch=100.pt
  python -m monai_segdiff verify --record scans     what is there now is what later runs compare with"""


def verify(args: argparse.Namespace) -> int:
    """Say whether data sets, bundles and weights are whole."""
    from monai_segdiff.verification import record
    from monai_segdiff.verification import verify as read

    verdicts, unknown = [], 0
    for path in args.paths:
        try:
            verdict = (record if args.record else read)(path, progress=True)
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            unknown += 1
            continue
        for issue in verdict.issues:
            print(issue)
        said = "whole" if verdict.whole else "NOT WHOLE"
        if not (verdict.whole or verdict.damaged):
            said = "readable, but nothing was recorded to compare it with (--record does)"
        print(f"{path}: {said} ({verdict.kind}, {verdict.files} files)")
        verdicts.append(verdict)
    damaged = sum(verdict.damaged for verdict in verdicts)
    unknown += sum(not (verdict.whole or verdict.damaged) for verdict in verdicts)
    found = [issue for verdict in verdicts for issue in verdict.issues]
    errors = sum(issue.severity == "error" for issue in found)
    print(
        f"{sum(v.whole for v in verdicts)} whole, {damaged} not whole, {unknown} unknown; "
        f"{sum(v.files for v in verdicts)} files, {errors} errors, {len(found) - errors} warnings"
    )
    return 1 if damaged else 2 if unknown else 0


def add_verify(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        verify,
        "verify",
        _TEXT,
        stopped="run the same command again to begin anew",
    )
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.epilog = _EXAMPLES
    p.add_argument("paths", nargs="+", metavar="PATH", help="folder of a data set or a bundle, or a file of weights")
    p.add_argument(
        "--record", action="store_true", help="record what the files of a data set hold that has no SHA256SUMS yet"
    )

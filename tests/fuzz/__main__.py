"""Run the fuzz test and print its table: ``python -m tests.fuzz``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .batches import fuzz, table

_SHOWN = 400


def main() -> int:
    """Fuzz; the exit code is 1 where a problem was found."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description="Mutated files for all verbs.")
    parser.add_argument("--inputs", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: %(default)s)")
    parser.add_argument("--formats", nargs="+", default=(), metavar="NAME", help="formats (default: all)")
    parser.add_argument("--keep", type=Path, help="folder for the files that a problem was found with")
    parser.add_argument("--json", type=Path, help="file for the counts and every problem")
    args = parser.parse_args()
    rows = fuzz(args.inputs, args.seed, tuple(args.formats), args.keep)
    for row in rows.values():
        for example in row.examples:
            last = " | ".join(line for line in example.get("told", "").splitlines()[-2:] if line.strip())
            print(f"{', '.join(example['problems'])}: {example['command']}")
            print(f"  {example['file']}: {example['mutation']}; {example.get('kept', '')} {last[-_SHOWN:]}")
    print(table(rows))
    if args.json:
        counts = {
            name: {"inputs": r.inputs, "problems": dict(r.problems), "slowest": r.slowest} for name, r in rows.items()
        }
        examples = [example for row in rows.values() for example in row.examples]
        args.json.write_text(json.dumps({"formats": counts, "examples": examples}, indent=1))
    return 1 if any(row.problems for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Verb `demo`: the whole way on phantoms."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_segdiff.commands.common import add_verb, positive, seed

__all__ = ["add_demo"]


def demo(args: argparse.Namespace) -> int:
    """Train, generate and evaluate on phantoms."""
    from monai_segdiff.workflows.demo import run_demo

    overrides = {} if args.max_images is None else {"max_images": args.max_images}
    run_demo(Path(args.output), number=args.samples, seed=args.seed, overrides=overrides)
    return 0


def add_demo(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        demo,
        "demo",
        "Make phantoms, train the ct_organ bundle on them, generate images for held-out masks and "
        "write the report: minutes on two CPU cores. Stopped and run again, it goes on where it was.",
    )
    p.add_argument("--output", default="demo", help="folder for everything (default: %(default)s)")
    p.add_argument("--max-images", type=positive, help="training length (default: as in configs/cpu_demo.yaml)")
    p.add_argument("--samples", type=positive, default=256, help="images to generate (default: %(default)s)")
    p.add_argument("--seed", type=seed, default=0, help="seed of everything (default: %(default)s)")

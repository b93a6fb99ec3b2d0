"""Verb `choose-guidance`: the guidance weight that fits a trained bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_segdiff.commands.common import add_verb, number, positive, seed

__all__ = ["add_choose_guidance"]


def choose_guidance(args: argparse.Namespace) -> int:
    """Choose the guidance weight on validation masks, and write it into the card."""
    from monai_segdiff.workflows import choose_guidance as choose

    output = Path(args.output) if args.output else Path(args.bundle) / "eval" / "guidance"
    figures = choose(
        args.bundle,
        args.data,
        output,
        weights=args.weights,
        most_masks=args.max_masks,
        per_mask=args.per_mask,
        seed=args.seed,
    )
    print(" weight   Dice  (ceiling)  failed      KID")
    for one in sorted(figures, key=lambda one: one.weight):
        mark = "  chosen" if one is figures[0] else ""
        print(f"{one.weight:7g}  {one.dice:.3f}    ({one.ceiling:.3f})  {one.failed:6.1%}  {one.kid:7.4f}{mark}")
    print(f"in the card from now on; images of each weight: {output}")
    return 0


def add_choose_guidance(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        choose_guidance,
        "choose-guidance",
        "Generate images for validation masks with several guidance weights, and let a segmenter trained on real "
        "images read them. The weight with the best Dice, among those with which realism does not suffer, goes into "
        "the card that generate reads. Use it before `train --tune`, which builds the guidance in.",
        stopped="run the same command again: images and networks that are done are kept",
    )
    p.add_argument("bundle", metavar="BUNDLE", help="folder of a trained bundle")
    p.add_argument("--data", required=True, help="prepared data set that it was trained on")
    p.add_argument("--output", help="folder for images and the segmenter (default: eval/guidance of the bundle)")
    p.add_argument(
        "--weights",
        type=number(0, 100),
        nargs="+",
        default=[1.0, 1.5, 2.0, 3.0],
        metavar="W",
        help="weights to try; 1 is no guidance (default: 1 1.5 2 3)",
    )
    p.add_argument(
        "--max-masks", type=positive, default=128, metavar="N", help="validation masks at most (default: %(default)s)"
    )
    p.add_argument(
        "--per-mask", type=positive, default=1, metavar="K", help="images for each mask (default: %(default)s)"
    )
    p.add_argument("--seed", type=seed, default=0, help="seed of samples and trainings (default: %(default)s)")

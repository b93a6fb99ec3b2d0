"""Verb `evaluate`: the report on a synthetic data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_segdiff.commands.common import add_verb, number, positive, seed

__all__ = ["add_evaluate"]


def evaluate(args: argparse.Namespace) -> int:
    """Compare a synthetic data set with the real one."""
    from monai_segdiff.evaluation import evaluate as run

    if args.utility_seeds is not None and not args.utility:
        raise ValueError("--utility-seeds needs --utility: give it, too")
    report = run(
        args.real,
        args.synthetic,
        args.output,
        segmenter=args.segmenter,
        extractor=args.extractor,
        seed=args.seed,
        no_real_images=args.no_real_images,
        cache_dir=args.cache_dir,
        classifier_images=args.classifier_images,
        max_images=args.max_images,
        utility=args.utility,
        utility_seeds=args.utility_seeds or 3,
        radiomics=args.radiomics,
    )
    print(report.summary())
    print(f"report: {Path(args.output) / 'report.html'}")
    return 0


def add_evaluate(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        evaluate,
        "evaluate",
        "Measure how well synthetic images obey their masks, how real and how diverse they look, how many failed, "
        "whether training images are repeated, and, where findings are asked for, whether they are seen: "
        "report.html, report.json, report.csv, samples.png.",
        stopped="run the same command again: networks that were trained are kept, the rest begins anew",
    )
    p.add_argument("--real", required=True, help="real data set, with training and held-out patients")
    p.add_argument("--synthetic", required=True, help="data set that generate wrote")
    p.add_argument("--output", required=True, help="folder for the report")
    p.add_argument("--segmenter", help="segmenter to use (default: train one on the real training patients)")
    p.add_argument(
        "--extractor",
        help="feature extractor for FID, KID and memorization, TorchScript or exported program (default: the "
        "segmenter's features)",
    )
    p.add_argument(
        "--utility",
        action="store_true",
        help="train segmenters on real, on synthetic and on both kinds of images, and test them on real ones (minutes)",
    )
    p.add_argument(
        "--utility-seeds", type=number(1, 1000, whole=True), help="trainings of each kind for --utility (default: 3)"
    )
    p.add_argument("--radiomics", action="store_true", help="add a Fréchet distance of radiomic features")
    p.add_argument("--no-real-images", action="store_true", help="keep real images out of the report")
    p.add_argument("--cache-dir", help="where trained networks are kept (default: inside the output folder)")
    p.add_argument(
        "--classifier-images",
        type=positive,
        help="length of the training of the classifier of findings, in images seen (default: by image size)",
    )
    p.add_argument("--max-images", type=positive, help="use at most so many synthetic images")
    p.add_argument("--seed", type=seed, default=0, help="seed of bootstrap and trainings (default: %(default)s)")

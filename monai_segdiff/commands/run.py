"""Verbs `run` and `plan`: a study of a user's own data, in one command."""

from __future__ import annotations

import argparse
from typing import Any

from monai_segdiff.commands.common import add_verb, number, positive
from monai_segdiff.commands.source_options import add_described, add_meant, add_split, choices_of

__all__ = ["add_plan", "add_run"]


def run(args: argparse.Namespace) -> int:
    """Go from a folder of scans and label maps to a generator, pairs and a report."""
    study = _study(args, args.until)
    if args.until == "evaluate":
        print("\n".join(_end(study)))
    return 0


def plan(args: argparse.Namespace) -> int:
    """Check data, say what they are, and plan a study of them, with reasons and expected hours."""
    _study(args, "plan")
    return 0


def add_run(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        run,
        "run",
        "Check, plan, prepare, train, generate images for held-out label maps, and evaluate. A stage whose result is "
        "there and current is not done again; a plan that was edited has done again what depends on it, and no more.",
    )
    _add_data(p)
    p.add_argument(
        "--until",
        choices=("check", "plan", "prepare", "train", "guide", "tune", "generate", "evaluate"),
        default="evaluate",
        help="the last stage (default: %(default)s)",
    )


def add_plan(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        plan,
        "plan",
        "Check the data, measure what they are and what a few real steps take on this machine, and write plan.yaml, "
        "which can be edited, and overview.png. `run` with the same folder goes on from there.",
    )
    _add_data(p)


def _add_data(p: argparse.ArgumentParser) -> None:
    p.add_argument("scans", help="folder of the data, as for prepare")
    p.add_argument("--output", required=True, metavar="STUDY", help="folder of the study")
    p.add_argument(
        "--hours",
        type=number(0.001, 10**5),
        help="time for everything (default: as plan.yaml has it, else 22,400 images in 2D and 4,800 in 3D)",
    )
    p.add_argument("--images", type=positive, help="images that the training sees, instead of --hours")
    group = p.add_argument_group(
        "the data",
        "as for prepare; what is given is kept in the folder of the study, and holds until something else is given",
    )
    add_meant(group, "what the label ids mean, e.g. liver=5 kidneys=2,3 (default: as the data say)")
    add_described(group)
    add_split(group)


def _study(args: argparse.Namespace, until: str) -> Any:
    from monai_segdiff.workflows import run_study

    return run_study(
        args.scans,
        args.output,
        hours=args.hours,
        images=args.images,
        classes=args.classes,
        labels=args.labels,
        patients=args.patients_csv,
        choices=choices_of(args),
        channels=args.channels,
        covariates=args.covariates,
        covariates_table=args.covariates_table,
        parents=args.parents,
        fractions=args.fractions,
        seed=args.seed,
        keep_split=args.keep_split,
        until=until,
    )


def _end(study: Any) -> list[str]:
    """What to open, and the main figures."""
    figures = study.figures
    lines = []
    if figures["dice"] is not None and figures["ceiling"]:
        share = figures["dice"] / figures["ceiling"]
        lines.append(
            f"Dice to the label map {figures['dice']:.3f}, of {figures['ceiling']:.3f} on real images ({share:.0%})"
        )
    if figures["failed"] is not None:
        real = "" if figures["failed_real"] is None else f" (real images {figures['failed_real']:.1%})"
        lines.append(f"failed samples {figures['failed']:.1%}{real}")
    return [
        *lines,
        f"report:   {study.report / 'report.html'}",
        f"overview: {study.overview}",
        f"pairs:    {study.synthetic}",
        f"weights:  {study.weights}",
        f"time:     {study.spent / 60:.1f} min, expected {study.expected / 60:.1f} min",
    ]

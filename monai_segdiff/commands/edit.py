"""Verb `edit`: images as they would be under another mask."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from monai_segdiff.commands.common import add_verb, number
from monai_segdiff.commands.covariates import add_covariate, covariates_of
from monai_segdiff.commands.generate import add_sampling, sampling_overrides

__all__ = ["add_edit"]


def edit(args: argparse.Namespace) -> int:
    """Change an image as its mask was changed."""
    from monai_segdiff.generation import EditSettings, collect_edits, edit_dataset, load_generator

    settings = EditSettings(args.method, args.level, args.dilation, args.softness)
    if args.guidance is not None:
        settings = replace(settings, guidance=args.guidance)
    covariates = covariates_of(args)
    overrides = sampling_overrides(args)
    overrides.pop("guidance_weight", None)  # that of an edit is its own
    edits = collect_edits(args.images, args.edited, args.masks, args.split)
    generator = load_generator(args.bundle, args.weights, overrides=overrides, tuned=False)
    dataset = edit_dataset(
        generator,
        edits,
        args.output,
        settings,
        covariates=covariates,
        batch_size=args.batch_size,
        overwrite=args.overwrite,
    )
    print(f"{args.output}: {len(dataset.splits['training'])} edited images; look at {args.output}/pictures")
    return 0


def add_edit(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        edit,
        "edit",
        "From an image, its mask and an edited mask, in which a class was moved, removed or grown, make the image "
        "with that change and the rest kept: image and label pairs, and a picture of each. Of folders those images "
        "are edited that have an edited mask of their name.",
    )
    p.add_argument("--bundle", required=True, help="name (ct_organ) or folder of a bundle")
    p.add_argument("--images", required=True, help="image, folder of images, or data set")
    p.add_argument("--masks", help="label map of the image, or folder of them (default: those of the data set)")
    p.add_argument("--edited", required=True, help="edited label map, or folder of them")
    p.add_argument("--output", required=True, help="folder for the results")
    p.add_argument("--split", help="split of the images' data set (default: test)")
    add_sampling(
        p,
        "weight with which the edited mask is told apart from the image's own; above 1 less stays of what was there, "
        "at twice the cost (default: 2)",
    )
    add_covariate(p, "as the images' data set says of each, and unknown where it does not")
    group = p.add_argument_group("edit")
    group.add_argument(
        "--method",
        choices=("invert", "noise"),
        default="invert",
        help="undo the image along the way that it comes from under its mask, or by noise (default: %(default)s)",
    )
    group.add_argument(
        "--level",
        type=number(),
        metavar="T",
        help="how far it is undone, from 0 to 1 (all); less keeps more of what was there "
        "(default: to noise of 1.5 times the images' range)",
    )
    group.add_argument(
        "--dilation",
        type=number(),
        default=3.0,
        metavar="PIXELS",
        help="how far around the edit the image may change (default: %(default)g)",
    )
    group.add_argument(
        "--softness",
        type=number(),
        default=2.0,
        metavar="PIXELS",
        help="width of that region's soft edge, inside it (default: %(default)g)",
    )

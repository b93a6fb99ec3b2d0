"""Verb `generate`: images for label maps."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from monai_segdiff.commands.common import add_segments, add_verb, number, positive, require_device, seed
from monai_segdiff.commands.covariates import add_covariate, covariates_of

__all__ = ["add_generate", "add_sampling", "sampling_overrides"]


def generate(args: argparse.Namespace) -> int:
    """Make images for label maps, with a trained bundle."""
    from monai_segdiff.generation import (
        DicomOutput,
        Similarity,
        default_modality,
        generate_dataset,
        holds_dicom_masks,
        load_generator,
        open_dicom_masks,
    )
    from monai_segdiff.workflows.accept_by_dice import accept_by_dice

    if args.masks is None and args.like is None:
        raise ValueError("nothing to generate for: give --masks, or --like with a data set or one of its images")
    if (args.like is None) != (args.similarity is None):
        raise ValueError("--like and --similarity belong together: give the image, and a similarity from 0 to 1")
    if args.similarity_level is not None and args.like is None:
        raise ValueError("--similarity-level needs --like and --similarity: give them, too")
    if (args.accept_dice is None) != (args.segmenter is None):
        raise ValueError(
            "--accept-dice and --segmenter belong together: `evaluate` leaves the segmenter that it trained in the "
            "folder `segmenter` beside its report"
        )
    if args.max_tries is not None and args.accept_dice is None:
        raise ValueError("--max-tries needs --accept-dice and --segmenter: give them, too")
    for option, names in (("--drop-class", args.drop_class), ("--finding", args.finding)):
        for name in names or ():
            if names.count(name) > 1:
                raise ValueError(f"{option} names {name!r} twice: name it once")
    pathology = _pathology(args)
    covariates = covariates_of(args)
    similarity = None if args.similarity is None else Similarity(args.similarity, args.similarity_level)
    overrides = sampling_overrides(args)
    if args.modality is not None and args.format != "dicom":
        raise ValueError("--modality needs --format dicom: give it, too")
    # What is wrong with masks is said before a network is loaded; those in DICOM need its classes.
    in_dicom = args.masks is not None and holds_dicom_masks(args.masks)
    if in_dicom and (args.like is not None or pathology is not None):
        raise ValueError(
            "masks in DICOM cannot be used with --like or findings: convert them with the prepare command first"
        )
    if not in_dicom and (args.segments or args.precedence or args.drop_other_labels):
        raise ValueError(
            "--segments, --precedence and --drop-other-labels need masks in DICOM: leave them out, or give --masks a "
            "DICOM segmentation"
        )
    if in_dicom and args.split is not None:
        raise ValueError("--split cannot be used with masks in DICOM, which have no splits: leave it out")
    masks = [] if in_dicom else _masks(args)
    generator = load_generator(args.bundle, args.weights, overrides=overrides, tuned=args.like is None)
    dropped = args.drop_class or []
    accept = None
    if args.accept_dice is not None:
        accept = accept_by_dice(generator, args.segmenter, args.accept_dice, args.max_tries or 10, drop_classes=dropped)
    opened: Any = nullcontext((masks, {}))
    if in_dicom:
        opened = open_dicom_masks(
            args.masks,
            generator,
            segments=dict(args.segments) if args.segments else None,
            precedence=args.precedence or (),
            drop_others=args.drop_other_labels,
        )
    with opened as (masks, sources):
        dicom = None if args.format != "dicom" else DicomOutput(args.modality or default_modality(args.bundle), sources)
        dataset = generate_dataset(
            generator,
            masks if args.max_masks is None else masks[: args.max_masks],
            args.output,
            per_mask=args.per_mask,
            batch_size=args.batch_size,
            drop_classes=dropped,
            covariates=covariates,
            similarity=similarity,
            pathology=pathology,
            accept=accept,
            dicom=dicom,
            file_format=None if args.format == "dicom" else args.format,
            overwrite=args.overwrite,
        )
    print(f"{args.output}: {len(dataset.splits['training'])} pairs")
    if accept is not None:
        _print_acceptance(args.output)
    _print_placement(args.output)
    return 0


def _masks(args: argparse.Namespace) -> Any:
    from monai_segdiff.generation import collect_masks, collect_pairs

    if args.like is None:
        return collect_masks(args.masks, args.split)
    return collect_pairs(args.like, args.masks, args.split)


def _pathology(args: argparse.Namespace) -> Any:
    from monai_segdiff.generation import Pathology

    if args.finding is None and not args.findings_of_masks:
        if args.region is not None:
            raise ValueError("--region needs --finding: give it with the names of the findings, too")
        return None
    if args.finding is not None and args.findings_of_masks:
        raise ValueError("--finding and --findings-of-masks exclude each other: leave one out")
    if args.like is not None:
        raise ValueError("--like and --finding exclude each other: leave one out")
    region = None if args.region is None else Path(args.region)
    if region is not None and not region.exists():
        raise FileNotFoundError(f"--region {region} does not exist: give a region map, or a folder of them")
    if args.finding is not None:
        return Pathology(tuple(args.finding), region)
    from monai_segdiff.data import read_dataset

    return Pathology(None, region, read_dataset(args.masks).findings or None)


def _print_acceptance(output: str) -> None:
    from monai_segdiff.data.description.records import read_manifest

    content = read_manifest(output)
    found = content["acceptance"]
    print(f"accepted {found['kept']} of {found['drawn']} images drawn ({found['rate']:.0%})")
    lost = [f"{record['mask']} (best {record['score']:.2f})" for record in content.get("rejected", [])]
    if lost:
        print(f"{len(lost)} left out, as no try was accepted: {', '.join(lost)}")


def _print_placement(output: str) -> None:
    """What the records say of masks that were not on the network's grid."""
    from statistics import median

    from monai_segdiff.data.description.records import read_manifest

    records = read_manifest(output)["samples"]
    if seams := [record["seam_gradient"] for record in records if "seam_gradient" in record]:
        print(
            f"seam gradient {median(seams):.2f} ({min(seams):.2f} to {max(seams):.2f}) of {len(seams)} images drawn in "
            "windows: the gradient across their borders over that beside them; 1 where no seam shows"
        )
    placements = [record["placement"] for record in records if "placement" in record]
    if sliced := [placement for placement in placements if "slices" in placement]:
        names = ", ".join(sorted({("sagittal", "coronal", "axial")[one["slice_axis"]] for one in sliced}))
        print(f"{len(sliced)} volumes were drawn slice by slice ({names})")
    if told := [placement for placement in placements if "remark" in placement]:
        print(
            f"{len(told)} images are for masks that the training saw no like of: `placement` in manifest.json says why"
        )


def sampling_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Values of the bundle's ids that the options of :func:`add_sampling` set.

    Args:
        args: parsed arguments.

    Raises:
        ValueError: if the device cannot be used.
    """
    if args.device is not None:
        require_device(args.device)
    overrides = {
        "seed": args.seed,
        "sampler": args.sampler,
        "num_steps": args.num_steps,
        "guidance_weight": args.guidance,
        "device": args.device,
    }
    return {name: value for name, value in overrides.items() if value is not None}


_GUIDANCE = (
    "guidance weight; above 1 the mask, or the findings of a bundle that knows them, count for more, at twice the cost "
    "(default: the bundle's)"
)


def add_sampling(p: argparse.ArgumentParser, guidance: str = _GUIDANCE) -> None:
    """Add the options of a generator and its runs.

    Args:
        p: the verb's parser.
        guidance: help text of the option of that name.
    """
    p.add_argument(
        "--weights",
        help="weights (default: models/tuned/model.pt of the bundle where it is there and serves what is asked for, "
        "else models/model.pt)",
    )
    p.add_argument("--seed", type=seed, default=0, help="seed of the samples (default: %(default)s)")
    p.add_argument("--num-steps", type=number(1, 10000, whole=True), help="sampling steps (default: the bundle's)")
    p.add_argument("--sampler", help="sampler (default: the bundle's)")
    p.add_argument("--guidance", type=number(0, 100), metavar="W", help=guidance)
    p.add_argument(
        "--batch-size",
        type=number(1, 65536, whole=True),
        default=16,
        help="images sampled at once (default: %(default)s)",
    )
    p.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    p.add_argument("--overwrite", action="store_true", help="discard what the folder holds from another run")


def add_generate(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        generate,
        "generate",
        "Generate K images for each label map with a trained bundle; image and label pairs, "
        "dataset.json and manifest.json. Stopped and run again, it goes on. Under torchrun "
        "processes share the work.",
    )
    p.add_argument("--bundle", required=True, help="name (ct_organ) or folder of a bundle")
    p.add_argument(
        "--masks",
        help="data set, or folder of label maps of any size: each is brought onto the network's grid, and its image "
        "back; or a DICOM segmentation (SEG), or a folder of them (default: those of the images that --like gives)",
    )
    p.add_argument("--output", required=True, help="folder for the pairs")
    p.add_argument("--split", help="split of the masks' data set (default: test)")
    p.add_argument(
        "--per-mask",
        type=number(1, 100000, whole=True),
        default=1,
        metavar="K",
        help="images for each mask (default: 1)",
    )
    p.add_argument("--max-masks", type=positive, metavar="N", help="use the first N masks only")
    add_sampling(p)
    p.add_argument(
        "--format",
        choices=("nifti", "png", "nrrd", "mha", "dicom"),
        help="of images and label maps (default: that of each mask where it can be written, else nifti); dicom: beside "
        "the data set, write each pair as a DICOM series and segmentation, marked as synthetic, to dicom/SAMPLE",
    )
    p.add_argument(
        "--modality",
        choices=("CT", "MR", "CR", "DX", "ES", "XC", "GM", "OT"),
        help="of the DICOM images; the last four of pictures in colors (default: as the bundle says)",
    )
    group = p.add_argument_group("masks in DICOM")
    add_segments(group, "make segments of no class background")
    group = p.add_argument_group("incomplete masks")
    group.add_argument(
        "--drop-class",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="take these classes out of every mask: their shape varies, the others stay in place",
    )
    add_covariate(p, "as the masks' data set says of each, and unknown where it does not")
    group = p.add_argument_group("similarity to real images")
    group.add_argument("--like", metavar="PATH", help="image, folder of images, or data set")
    group.add_argument(
        "--similarity", type=number(), metavar="S", help="how like them, from 0 (not at all) to 1, under the same mask"
    )
    group.add_argument(
        "--similarity-level",
        type=number(),
        metavar="T",
        help="when the run meets the image, from 1 (its start) to 0 (its end); the nearer to 0 the more alike "
        "(default: at noise of a quarter of the images' range)",
    )
    group = p.add_argument_group("findings", "for a bundle that knows them, such as chest_xray")
    group.add_argument(
        "--finding",
        nargs="*",
        action="extend",
        metavar="NAME",
        help="findings that every image is to show; without a name, none at all",
    )
    group.add_argument(
        "--findings-of-masks", action="store_true", help="take the findings that the masks' data set names for each"
    )
    group.add_argument(
        "--region",
        metavar="PATH",
        help="where: a label map for all masks, or a folder with one of each mask's name (default: the region maps of "
        "the masks' data set)",
    )
    group = p.add_argument_group("filter")
    group.add_argument(
        "--accept-dice",
        type=number(0, 1),
        metavar="D",
        help="draw an image again until a segmenter reads its mask in it with at least this Dice",
    )
    group.add_argument("--segmenter", metavar="FILE", help="the segmenter: what evaluate trained, or a network's file")
    group.add_argument(
        "--max-tries", type=number(1, 1000, whole=True), metavar="N", help="tries for each image (default: 10)"
    )

"""Verbs that make and check data sets: `check-data`, `prepare`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from monai_segdiff.commands.common import add_verb, one_or_all, positive
from monai_segdiff.commands.source_options import add_described, add_meant, add_split, choices_of
from monai_segdiff.forkserver import ready_processes

__all__ = ["add_check_data", "add_prepare"]


def check_data(args: argparse.Namespace) -> int:
    """List everything that is wrong with a data set, and how much of each label it holds."""
    from monai_segdiff.data import LabelVolumes, check_dataset

    volumes = LabelVolumes()
    issues = check_dataset(
        args.dataset,
        args.classes,
        args.spatial_dims,
        workers=args.workers,
        progress=True,
        choices=choices_of(args),
        volumes=volumes,
        labels=args.labels,
        patients=args.patients_csv,
    )
    if volumes.found:
        print(volumes.found)
    for issue in issues:
        print(issue)
    if volumes.ids:
        print(volumes.table())
    errors = sum(issue.severity == "error" for issue in issues)
    print(f"{errors} errors, {len(issues) - errors} warnings in {args.dataset}")
    return 1 if errors else 0


def add_check_data(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        check_data,
        "check-data",
        "Read every file of a data set in any form and say what it is, what is wrong, by file, with the remedy, and "
        "how "
        "much of each label id there is. Exit code 1 if there is an error.",
        stopped="the data set is unchanged, and a new run begins anew",
    )
    p.add_argument("dataset", help="folder of a data set in any form, or a list of cases (datalist.json)")
    p.add_argument("--spatial-dims", type=int, choices=(2, 3), help="number of axes that files must have")
    p.add_argument("--workers", type=positive, default=2, help="files read at a time (default: %(default)s)")
    add_meant(p, "label ids that may occur (default: as dataset.json says)")


def prepare(args: argparse.Namespace) -> int:
    """Turn volumes or pictures into a data set to train on."""
    ready_processes(args.workers)  # before this process imports the same
    from monai_segdiff.data import prepare_dataset
    from monai_segdiff.data.preparation.pairing import pair_source
    from monai_segdiff.data.splits import check_kept_split

    choices = choices_of(args)
    check_kept_split(args.keep_split or args.fold is not None, args.fractions, args.seed)
    drawn = {name: getattr(args, name) for name in ("fractions", "seed") if getattr(args, name) is not None}
    source = args.source if args.labels is None else pair_source(args.source, args.labels, choices)
    dataset = prepare_dataset(
        source,
        args.output,
        args.classes,
        patients=args.patients_csv,
        spatial_dims=args.spatial_dims,
        size=one_or_all(args.size),
        spacing=one_or_all(args.spacing),
        axis=args.axis,
        intensity_range=args.intensity_range and _range(args.intensity_range),
        percentiles=args.percentiles and tuple(args.percentiles),
        n4=args.n4,
        within_patient=args.within_patient,
        min_foreground=args.min_foreground,
        drop_other_labels=args.drop_other_labels,
        body_threshold=args.body_threshold,
        parents=args.parents,
        findings=args.findings,
        findings_table=args.findings_table,
        channels=args.channels,
        covariates=args.covariates,
        covariates_table=args.covariates_table,
        segments=args.segments,
        precedence=args.precedence or (),
        crop=args.crop,
        margin=args.margin,
        outside=args.outside,
        workers=args.workers,
        attribution=args.attribution,
        choices=choices,
        keep_split=args.keep_split,
        **drawn,
    )
    counts = ", ".join(f"{len(cases)} {split}" for split, cases in dataset.splits.items())
    told = f"; covariates {', '.join(dataset.covariates)}" if dataset.covariates else ""
    print(f"{args.output}: {counts}; split {dataset.split_kind}; classes {', '.join(dataset.classes)}{told}")
    return 0


def _range(numbers: Sequence[float]) -> tuple[Any, ...]:
    """One pair as it is, several as a pair for each channel."""
    if len(numbers) == 2:
        return tuple(numbers)
    if len(numbers) % 2:
        raise ValueError(f"intensity_range (--intensity-range) takes LOW HIGH, or pairs of them, got {len(numbers)}")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def add_prepare(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        prepare,
        "prepare",
        "Slice, resample and relabel volumes (or pictures) to one size, split them by patient, as far as it is known "
        "whose they are, and write a data set to train on.",
        stopped="no output is left; run the same command again to begin anew",
    )
    p.add_argument(
        "source",
        help="folder of a data set in any form: with dataset.json, images*/labels* folders, a folder for each patient, "
        "TotalSegmentator's, nnU-Net's; or with a sub-folder for each DICOM study (images and their SEG or "
        "RTSTRUCT); or "
        "a list of cases (datalist.json)",
    )
    p.add_argument("output", help="folder to create")
    add_meant(p, "classes to keep and their source ids, e.g. liver=5 kidneys=2,3 (default: those of the source)")
    p.add_argument(
        "--spatial-dims", type=int, choices=(2, 3), default=2, help="slices or volumes (default: %(default)s)"
    )
    p.add_argument(
        "--size", type=int, nargs="+", default=[128], help="voxels per axis: one number or one per axis (default: 128)"
    )
    p.add_argument(
        "--spacing", type=float, nargs="+", metavar="MM", help="voxel size in mm (default: fit the field of view)"
    )
    p.add_argument(
        "--crop",
        choices=("none", "labels", "body"),
        default="none",
        help="lay the grid around what is labeled, or the body, inside the field of view wherever it fits (default: "
        "around the middle of the field of view)",
    )
    p.add_argument(
        "--margin", type=float, default=0.0, metavar="MM", help="room around what --crop names (default: %(default)s)"
    )
    p.add_argument(
        "--outside",
        choices=("fill", "class"),
        help="pixels outside the field of view: background, or a class of their own, outside_view (default: class "
        "with --crop, else fill)",
    )
    p.add_argument(
        "--axis", type=int, choices=(0, 1, 2), help="slice axis of volumes: sagittal, coronal, axial (default: 2)"
    )
    p.add_argument(
        "--intensity-range",
        type=float,
        nargs="+",
        metavar="NUMBER",
        help="intensities that matter, LOW HIGH, e.g. -200 300 for abdominal CT, or LOW HIGH of each channel one after "
        "the other (default: 0.5 and 99.5 percentile)",
    )
    p.add_argument(
        "--percentiles",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="scale each source image so that these percentiles of its own become 0 and 1, e.g. 0.5 99.5 for MRI",
    )
    p.add_argument(
        "--n4", action="store_true", help="correct the bias field of each source image first (MRI; needs the extra n4)"
    )
    add_split(p)
    p.add_argument(
        "--within-patient",
        action="store_true",
        help="allow a single patient: hold out a contiguous block of slices, with a gap",
    )
    p.add_argument(
        "--min-foreground",
        type=float,
        metavar="SHARE",
        help="leave out slices of volumes with a smaller labeled share (default: 0.01)",
    )
    p.add_argument(
        "--body-threshold",
        type=float,
        metavar="HU",
        help="add a class 'body': everything inside the skin, found above this intensity, e.g. -300",
    )
    add_described(p)
    p.add_argument(
        "--findings-table",
        metavar="CSV",
        help="what is found in each image, one column a finding, as CheXpert's and MIMIC-CXR-JPG's labels: 1 there, 0 "
        "absent, -1 uncertain, blank unknown; by a column id, path, dicom_id or study_id",
    )
    p.add_argument(
        "--findings",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="the vocabulary of findings, e.g. 'Pleural Effusion' Edema; columns of --findings-table",
    )
    p.add_argument(
        "--attribution", default="", help="whom to credit for the source; goes into dataset.json and reports"
    )
    p.add_argument("--workers", type=positive, default=1, help="cases prepared at a time (default: %(default)s)")

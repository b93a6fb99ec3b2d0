"""Options that say what is meant by a folder of data and how it is split, of all verbs that read one."""

from __future__ import annotations

import argparse
from typing import Any

from monai_segdiff.commands.common import NamedOnce, add_classes, add_segments, class_pair, whole

__all__ = ["add_described", "add_meant", "add_split", "choices_of"]


def add_meant(p: Any, classes: str) -> None:
    """Add the options that decide where a folder alone does not.

    Args:
        p: the verb's parser, or a group of it.
        classes: help text of `--classes`.
    """
    p.add_argument(
        "--labels", help="folder of label maps, where the data are a plain folder of images with the same names"
    )
    p.add_argument(
        "--patients-csv",
        metavar="CSV",
        help="whose each case is, to split by patient: a table with a heading, names of cases (files without "
        "extension) and patients (default: as the source says)",
    )
    add_classes(p, classes)
    p.add_argument(
        "--image-name",
        nargs="+",
        metavar="NAME",
        help="file that is the image in a patient's folder, or files that are its channels in their order; or folder "
        "of images; * stands for any signs (default: as names tell, and several candidates are an error)",
    )
    p.add_argument(
        "--label-name",
        metavar="NAME",
        help="file that is the label map in a patient's folder, or folder of label maps, e.g. 'seg_manual*' "
        "(default: as names tell, and several candidates are an error)",
    )
    p.add_argument(
        "--fold", type=whole, metavar="N", help="fold of a datalist.json that is for validation (default: 0)"
    )
    add_segments(p, "make ids that --classes does not name, and segments of no class, background")


def add_described(p: Any) -> None:
    """Add the options that say what else is known of classes, images and patients."""
    p.add_argument(
        "--parents",
        nargs="+",
        type=class_pair,
        action=NamedOnce,
        metavar="CHILD=PARENT",
        help="which class encloses which, e.g. tumor=liver (default: an added body encloses all)",
    )
    p.add_argument(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="names of the images' channels in their order, e.g. red green blue, without which pictures in colors "
        "become gray; or, of those that the source names, the ones to keep",
    )
    p.add_argument(
        "--covariates",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="what else to tell the network of each patient or image, e.g. age sex: columns of --covariates-table, "
        "keywords of DICOM attributes (PatientAge), or spacing, which is measured (default: those of the source)",
    )
    p.add_argument(
        "--covariates-table",
        metavar="CSV",
        help="numbers and categories of each case, one column a covariate, blank where unknown; by a column id, path, "
        "dicom_id, study_id or patient",
    )


def add_split(p: Any) -> None:
    """Add the options that say how cases are split; None stands for one that is not given."""
    p.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the patients (default: 0.8 0.1 0.1)",
    )
    p.add_argument(
        "--keep-split",
        action="store_true",
        help="keep the split that the source has (folders or lists by split, --fold) rather than draw one",
    )
    p.add_argument("--seed", type=int, help="seed of the split (default: 0)")


def choices_of(args: argparse.Namespace) -> Any:
    """What the options of :func:`add_meant` say where a folder alone does not."""
    from monai_segdiff.data import Choices

    return Choices(
        image=tuple(args.image_name or ()),
        label=args.label_name,
        fold=args.fold,
        segments=dict(args.segments) if args.segments else None,
        precedence=tuple(args.precedence or ()),
        drop_others=args.drop_other_labels,
    )

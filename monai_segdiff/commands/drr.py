"""Verb `make-drr`: radiographs from CT."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from monai_segdiff.commands.common import add_verb, number, one_or_all, positive, require_device, seed

__all__ = ["add_make_drr"]


def make_drr(args: argparse.Namespace) -> int:
    """Project volumes to radiographs, with contour and bone."""
    from PIL import Image

    from monai_segdiff.data import make_drr_dataset
    from monai_segdiff.files import atomic_file
    from monai_segdiff.handlers import dataset_overview

    if args.device is not None:
        require_device(args.device)
    if args.angles is not None and args.views is not None:
        raise ValueError("--angles and --views exclude each other: leave one out")
    if args.device is not None and args.backend == "rtk":
        raise ValueError("--device does not go with --backend rtk, which projects on the CPU: leave it out")
    views = args.views or 60
    options = {
        "angles": args.angles or [360 * view / views for view in range(views)],
        "detector_shape": one_or_all(args.size),
        "detector_spacing": one_or_all(args.detector_spacing),
        "source_to_isocenter": args.source_to_isocenter,
        "source_to_detector": args.source_to_detector,
        "axis": one_or_all(args.axis),
        "beam": "parallel" if args.parallel else "cone",
        "spectrum": args.spectrum,
        "photons": args.photons,
        "normalize": args.normalize,
        "allow_truncation": args.allow_truncation,
        "backend": args.backend,
        "device": args.device,
    }
    dataset = make_drr_dataset(
        args.source,
        args.output,
        {name: value for name, value in options.items() if value is not None},
        contour_threshold=args.contour_threshold,
        bone_threshold=args.bone_threshold,
        min_bone_length=args.min_bone_length,
        tissues=args.tissues,
        patients=args.patients_csv,
        split=args.split,
        fractions=args.fractions,
        seed=args.seed,
        workers=args.workers,
        skip_failed=args.skip_failed,
        licence=args.licence,
        attribution=args.attribution,
    )
    with atomic_file(dataset.root / "overview.png") as temporary:
        Image.fromarray(dataset_overview(dataset)).save(temporary)
    counts = ", ".join(f"{len(cases)} {split}" for split, cases in dataset.splits.items())
    print(f"{args.output}: {counts}; split {dataset.split_kind}; look at {dataset.root / 'overview.png'}")
    for name, reason in dataset.settings.get("skipped", {}).items():
        print(f"left out {name}: {reason}", file=sys.stderr)
    return 0


def add_make_drr(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        make_drr,
        "make-drr",
        "Project CT volumes to radiographs (DRRs) all around, segment contour and bone in them, and write a data set "
        "to train on, with the geometry of every view (geometry/) and overview.png. A volume that fails does not stop "
        "the others. Stopped and run again, it goes on with the volumes that are not finished.",
    )
    p.add_argument(
        "source",
        help="folder of CT volumes in HU: NIfTI, NRRD or MHA files, or sub-folders with one such file or one DICOM "
        "series each",
    )
    p.add_argument("output", help="folder of the data set")
    group = p.add_argument_group("views")
    group.add_argument(
        "--views",
        type=number(1, 10000, whole=True),
        metavar="N",
        help="views, equally spaced over 360 degrees (default: 60)",
    )
    group.add_argument(
        "--angles",
        type=number(),
        nargs="+",
        action="extend",
        metavar="DEG",
        help="these angles instead; 0 is from the front",
    )
    group.add_argument(
        "--axis",
        type=_axis,
        nargs="+",
        default=["S"],
        help="axis of rotation: R, A, S or a vector in RAS (default: S, along the body)",
    )
    group.add_argument(
        "--size",
        type=number(1, 8192, whole=True),
        nargs="+",
        default=[256],
        help="detector pixels: one number, or U and V (default: 256)",
    )
    group.add_argument(
        "--detector-spacing",
        type=number(0.001, 1000),
        nargs="+",
        metavar="MM",
        help="mm between detector pixels: one number, or along U and V (default: fitted to each volume's grid)",
    )
    group.add_argument(
        "--source-to-isocenter", type=number(), default=1000.0, metavar="MM", help="distance (default: %(default)g)"
    )
    group.add_argument(
        "--source-to-detector", type=number(), default=1500.0, metavar="MM", help="distance (default: %(default)g)"
    )
    group.add_argument("--parallel", action="store_true", help="parallel rays instead of a cone")
    group.add_argument(
        "--allow-truncation",
        action="store_true",
        help="go on where the beam is wider than the volume, whose views then lack tissue at the rim (they are marked)",
    )
    group = p.add_argument_group("intensities")
    group.add_argument(
        "--normalize",
        choices=("volume", "view"),
        default="volume",
        help="map to [0, 1] once for each volume, or for each view (default: %(default)s)",
    )
    group.add_argument(
        "--spectrum", choices=("70kVp",), help="polychromatic beam of a tube (default: monochromatic, 60 keV)"
    )
    group.add_argument(
        "--photons", type=number(1, 1e15), metavar="N", help="photon noise: N photons a pixel (default: no noise)"
    )
    group = p.add_argument_group("segmentations")
    group.add_argument(
        "--contour-threshold",
        type=number(0, 1),
        default=0.1,
        metavar="T",
        help="a normalized view above this is inside the contour (default: %(default)s)",
    )
    group.add_argument(
        "--bone-threshold",
        type=number(),
        default=200.0,
        metavar="HU",
        help="bone is from here on (default: %(default)g)",
    )
    group.add_argument(
        "--min-bone-length",
        type=number(),
        default=2.0,
        metavar="MM",
        help="path through bone that makes a pixel bone (default: %(default)g)",
    )
    group = p.add_argument_group("data set")
    group.add_argument(
        "--split",
        choices=("volume", "image"),
        default="volume",
        help="volume keeps each volume on one side; image is the paper's: views of one volume are in training and "
        "held out, so that results are optimistic (default: %(default)s)",
    )
    group.add_argument(
        "--fractions",
        type=number(0, 1),
        nargs=3,
        default=[9 / 11, 1 / 11, 1 / 11],
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the volumes or images (default: 9/11 1/11 1/11)",
    )
    group.add_argument(
        "--patients-csv",
        help="table of volume names and patients, where a patient has several volumes (default: one each)",
    )
    group.add_argument(
        "--tissues",
        metavar="TABLE",
        help="SOURCE holds label maps; make CT volumes of them first, with this table of tissues, a CSV file or "
        "spl_knee_atlas",
    )
    group.add_argument("--attribution", default="", help="whom to credit for the source; goes into dataset.json")
    group.add_argument("--licence", default="", help="terms of use of the source; go into dataset.json")
    group = p.add_argument_group("run")
    group.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="volumes projected at a time, each in a process with one thread (default: %(default)s)",
    )
    group.add_argument("--skip-failed", action="store_true", help="finish the data set without volumes that fail")
    group.add_argument(
        "--backend",
        choices=("torch", "rtk"),
        default="torch",
        help="what projects; rtk needs the extra rtk (default: %(default)s)",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cpu)")
    group.add_argument("--seed", type=seed, default=0, help="seed of split, noise and texture (default: %(default)s)")


def _axis(text: str) -> str | float:
    if text in ("R", "A", "S"):
        return text
    try:
        return float(number()(text))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not R, A, S or a number of a vector") from None

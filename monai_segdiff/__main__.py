"""Command line: `python -m monai_segdiff VERB`, one function a verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

_DESCRIPTION = "Segmentation-guided diffusion on MONAI: synthetic images that obey a given label map."
_EPILOG = """The whole way, from a folder of scans and label maps:
  python -m monai_segdiff check-data SCANS
  python -m monai_segdiff prepare SCANS prepared --size 128 --intensity-range -200 300
  python -c "import monai_segdiff; monai_segdiff.copy_bundle('ct_organ', 'my_ct')"
  cd my_ct
  python -m monai.bundle run training --config_file configs/train.yaml \\
      --dataset_dir ../prepared --image_size "[128,128]"
  cd ..
  python -m monai_segdiff generate --bundle my_ct --masks prepared --output synthetic
  python -m monai_segdiff evaluate --real prepared --synthetic synthetic --output report"""


def check_data(args: argparse.Namespace) -> int:
    """List everything that is wrong with a data set."""
    from monai_segdiff.data import check_dataset

    findings = check_dataset(args.dataset, args.classes, args.spatial_dims, workers=args.workers, progress=True)
    for finding in findings:
        print(finding)
    errors = sum(finding.severity == "error" for finding in findings)
    print(f"{errors} errors, {len(findings) - errors} warnings in {args.dataset}")
    return 1 if errors else 0


def prepare(args: argparse.Namespace) -> int:
    """Turn volumes or pictures into a data set to train on."""
    from monai_segdiff.data import pair_folders, prepare_dataset

    source = args.source if args.labels is None else pair_folders(args.source, args.labels, args.patients_csv)
    dataset = prepare_dataset(
        source,
        args.output,
        args.classes,
        spatial_dims=args.spatial_dims,
        size=_one_or_all(args.size),
        spacing=_one_or_all(args.spacing),
        axis=args.axis,
        intensity_range=tuple(args.intensity_range) if args.intensity_range else None,
        fractions=args.fractions,
        within_patient=args.within_patient,
        seed=args.seed,
        min_foreground=args.min_foreground,
        drop_other_labels=args.drop_other_labels,
        body_threshold=args.body_threshold,
        parents=dict(args.parents) if args.parents else None,
        attribution=args.attribution,
    )
    counts = ", ".join(f"{len(cases)} {split}" for split, cases in dataset.splits.items())
    print(f"{args.output}: {counts}; split {dataset.split_kind}; classes {', '.join(dataset.classes)}")
    return 0


def make_drr(args: argparse.Namespace) -> int:
    """Project volumes to radiographs, with contour and bone."""
    from PIL import Image

    from monai_segdiff.data import make_drr_dataset
    from monai_segdiff.data.atomic import atomic_file
    from monai_segdiff.handlers import dataset_overview

    if args.device is not None:
        _require_device(args.device)
    options = {
        "angles": args.angles or [360 * view / args.views for view in range(args.views)],
        "detector_shape": _one_or_all(args.size),
        "detector_spacing": _one_or_all(args.detector_spacing),
        "source_to_isocenter": args.source_to_isocenter,
        "source_to_detector": args.source_to_detector,
        "axis": _one_or_all(args.axis),
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


def generate(args: argparse.Namespace) -> int:
    """Make images for label maps, with a trained bundle."""
    from monai_segdiff.generation import collect_masks, generate_dataset, load_generator

    if args.device is not None:
        _require_device(args.device)
    masks = collect_masks(args.masks, args.split)
    if args.max_masks is not None:
        masks = masks[: args.max_masks]
    overrides = {"seed": args.seed}
    for name, value in {
        "sampler": args.sampler,
        "num_steps": args.num_steps,
        "guidance_weight": args.guidance,
        "device": args.device and f"$torch.device('{args.device}')",
    }.items():
        if value is not None:
            overrides[name] = value
    generator = load_generator(args.bundle, args.weights, overrides=overrides)
    dataset = generate_dataset(
        generator,
        masks,
        args.output,
        per_mask=args.per_mask,
        batch_size=args.batch_size,
        overwrite=args.overwrite,
    )
    print(f"{args.output}: {len(dataset.splits['training'])} pairs")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Compare a synthetic data set with the real one."""
    from monai_segdiff.evaluation import evaluate as run

    report = run(
        args.real,
        args.synthetic,
        args.output,
        segmenter=args.segmenter,
        extractor=args.extractor,
        seed=args.seed,
        no_real_images=args.no_real_images,
        cache_dir=args.cache_dir,
        max_images=args.max_images,
    )
    print(report.summary())
    print(f"report: {Path(args.output) / 'report.html'}")
    return 0


def demo(args: argparse.Namespace) -> int:
    """Train, generate and evaluate on phantoms."""
    from monai_segdiff.demo import run_demo

    overrides = {} if args.max_images is None else {"max_images": args.max_images}
    run_demo(Path(args.output), number=args.samples, seed=args.seed, overrides=overrides)
    return 0


def _require_device(name: str) -> None:
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); leave --device out") from None


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _one_or_all(values: Sequence[Any] | None) -> Any:
    return values[0] if values is not None and len(values) == 1 else values


def _class(text: str) -> tuple[str, int | list[int]]:
    """NAME=ID, NAME=ID,ID and NAME=FIRST-LAST."""
    name, _, listed = text.partition("=")
    ids: list[int] = []
    try:
        for part in listed.split(","):
            first, _, last = part.partition("-")
            ids.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ID, NAME=ID,ID,... or NAME=FIRST-LAST") from None
    return name, ids[0] if len(ids) == 1 else ids


def _axis(text: str) -> str | float:
    if text in ("R", "A", "S"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not R, A, S or a number of a vector") from None


def _pair(text: str) -> tuple[str, str]:
    child, _, parent = text.partition("=")
    if not (child and parent):
        raise argparse.ArgumentTypeError(f"{text!r} is not CHILD=PARENT")
    return child, parent


class _Classes(argparse.Action):
    """Collect NAME=ID[,ID...] arguments in a dictionary."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, dict(values))


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m monai_segdiff", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True)

    def verb(function: Any, name: str, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=function.__doc__.rstrip(".").lower(), description=text)
        added.set_defaults(function=function)
        return added

    def add_classes(to: argparse.ArgumentParser, text: str) -> None:
        to.add_argument("--classes", nargs="+", type=_class, action=_Classes, metavar="NAME=ID", help=text)

    p = verb(
        demo,
        "demo",
        "Make phantoms, train the ct_organ bundle on them, generate images for held-out masks and "
        "write the report: minutes on two CPU cores. Stopped and run again, it goes on where it was.",
    )
    p.add_argument("--output", default="demo", help="folder for everything (default: %(default)s)")
    p.add_argument("--max-images", type=_positive, help="training length (default: as in configs/cpu_demo.yaml)")
    p.add_argument("--samples", type=_positive, default=256, help="images to generate (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")

    p = verb(
        check_data,
        "check-data",
        "Read every file of a data set and name what is wrong, by file, with the remedy. "
        "Exit code 1 if there is an error.",
    )
    p.add_argument("dataset", help="folder with dataset.json, or with images*/labels* folders")
    add_classes(p, "label ids that may occur (default: as dataset.json says)")
    p.add_argument("--spatial-dims", type=int, choices=(2, 3), help="number of axes that files must have")
    p.add_argument("--workers", type=_positive, default=2, help="files read at a time (default: %(default)s)")

    p = verb(
        prepare,
        "prepare",
        "Slice, resample and relabel volumes (or pictures) to one size, split them by patient, "
        "and write a data set to train on.",
    )
    p.add_argument("source", help="folder with dataset.json, or with images*/labels* folders")
    p.add_argument("output", help="folder to create")
    p.add_argument(
        "--labels", help="folder of label maps, where SOURCE is a plain folder of images with the same names"
    )
    p.add_argument("--patients-csv", help="with --labels: table of image file names and patients, to split by patient")
    add_classes(p, "classes to keep and their source ids, e.g. liver=5 kidneys=2,3 (default: those of the source)")
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
        "--axis", type=int, choices=(0, 1, 2), default=2, help="slice axis: sagittal, coronal, axial (default: 2)"
    )
    p.add_argument(
        "--intensity-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="intensities that matter, e.g. -200 300 for abdominal CT (default: 0.5 and 99.5 percentile)",
    )
    p.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        default=[0.8, 0.1, 0.1],
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the patients (default: 0.8 0.1 0.1)",
    )
    p.add_argument(
        "--within-patient",
        action="store_true",
        help="allow a single patient: hold out a contiguous block of slices, with a gap",
    )
    p.add_argument(
        "--min-foreground",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="leave out slices with a smaller labeled share (default: %(default)s)",
    )
    p.add_argument("--drop-other-labels", action="store_true", help="make ids that --classes does not name background")
    p.add_argument(
        "--body-threshold",
        type=float,
        metavar="HU",
        help="add a class 'body': everything inside the skin, found above this intensity, e.g. -300",
    )
    p.add_argument(
        "--parents",
        nargs="+",
        type=_pair,
        metavar="CHILD=PARENT",
        help="which class encloses which, e.g. tumor=liver (default: an added body encloses all)",
    )
    p.add_argument(
        "--attribution", default="", help="whom to credit for the source; goes into dataset.json and reports"
    )
    p.add_argument("--seed", type=int, default=0, help="seed of the split (default: %(default)s)")

    p = verb(
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
        "--views", type=_positive, default=60, metavar="N", help="views, equally spaced over 360 degrees (default: 60)"
    )
    group.add_argument(
        "--angles", type=float, nargs="+", metavar="DEG", help="these angles instead; 0 is from the front"
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
        type=_positive,
        nargs="+",
        default=[256],
        help="detector pixels: one number, or U and V (default: 256)",
    )
    group.add_argument(
        "--detector-spacing",
        type=float,
        nargs="+",
        metavar="MM",
        help="mm between detector pixels: one number, or along U and V (default: fitted to each volume's grid)",
    )
    group.add_argument(
        "--source-to-isocenter", type=float, default=1000.0, metavar="MM", help="distance (default: %(default)g)"
    )
    group.add_argument(
        "--source-to-detector", type=float, default=1500.0, metavar="MM", help="distance (default: %(default)g)"
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
    group.add_argument("--photons", type=float, metavar="N", help="photon noise: N photons a pixel (default: no noise)")
    group = p.add_argument_group("segmentations")
    group.add_argument(
        "--contour-threshold",
        type=float,
        default=0.1,
        metavar="T",
        help="a normalized view above this is inside the contour (default: %(default)s)",
    )
    group.add_argument(
        "--bone-threshold", type=float, default=200.0, metavar="HU", help="bone is from here on (default: %(default)g)"
    )
    group.add_argument(
        "--min-bone-length",
        type=float,
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
        type=float,
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
        type=_positive,
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
    group.add_argument("--seed", type=int, default=0, help="seed of split, noise and texture (default: %(default)s)")

    p = verb(
        generate,
        "generate",
        "Generate K images for each label map with a trained bundle; image and label pairs, "
        "dataset.json and manifest.json. Stopped and run again, it goes on. Under torchrun "
        "processes share the work.",
    )
    p.add_argument("--bundle", required=True, help="name (ct_organ) or folder of a bundle")
    p.add_argument("--masks", required=True, help="data set, or folder of label maps")
    p.add_argument("--output", required=True, help="folder for the pairs")
    p.add_argument("--split", default="test", help="split of the masks' data set (default: %(default)s)")
    p.add_argument("--per-mask", type=_positive, default=1, metavar="K", help="images for each mask (default: 1)")
    p.add_argument("--max-masks", type=_positive, metavar="N", help="use the first N masks only")
    p.add_argument("--weights", help="weights (default: models/model.pt of the bundle)")
    p.add_argument("--seed", type=int, default=0, help="seed of the samples (default: %(default)s)")
    p.add_argument("--num-steps", type=_positive, help="sampling steps (default: the bundle's)")
    p.add_argument("--sampler", help="sampler (default: the bundle's)")
    p.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="guidance weight; above 1 the mask counts for more, at twice the cost (default: 1)",
    )
    p.add_argument("--batch-size", type=_positive, default=16, help="images sampled at once (default: %(default)s)")
    p.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    p.add_argument("--overwrite", action="store_true", help="discard what the folder holds from another run")

    p = verb(
        evaluate,
        "evaluate",
        "Measure how well synthetic images obey their masks, how real they look and how "
        "many failed: report.html, report.json, report.csv, samples.png.",
    )
    p.add_argument("--real", required=True, help="real data set, with training and held-out patients")
    p.add_argument("--synthetic", required=True, help="data set that generate wrote")
    p.add_argument("--output", required=True, help="folder for the report")
    p.add_argument("--segmenter", help="segmenter to use (default: train one on the real training patients)")
    p.add_argument(
        "--extractor",
        help="feature extractor for FID and KID, TorchScript or exported program (default: the segmenter's features)",
    )
    p.add_argument("--no-real-images", action="store_true", help="keep real images out of the report")
    p.add_argument("--cache-dir", help="where trained segmenters are kept (default: inside the output folder)")
    p.add_argument("--max-images", type=_positive, help="use at most so many synthetic images")
    p.add_argument("--seed", type=int, default=0, help="seed of bootstrap and segmenter (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: arguments; those of the process by default.

    Returns:
        The exit code: 0 if all is well, 1 where ``check-data`` found errors, 2 if the verb failed.
    """
    args = _parser().parse_args(argv)
    try:
        return args.function(args)
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

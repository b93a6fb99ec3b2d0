"""Train on real images, generate for held-out masks and write the report that users get.

The data are small: one abdominal CT, within which a block of slices is held out, or 37 chest X-rays split by patient.
The report shows that the software works on real input, not how well a method generalizes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bundles import TIME_LIMIT, train_bundle
from benchmarks.common import RESULTS, say
from benchmarks.publish import publish
from benchmarks.recipes import prepare_chest_xrays
from monai_segdiff import copy_bundle
from monai_segdiff.data import SegmentationDataset, prepare_dataset
from monai_segdiff.evaluation import evaluate
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator

# TotalSegmentator's numbering, version 2.
_ORGANS: dict[str, int | list[int]] = {
    "lungs": list(range(10, 15)),
    "liver": 5,
    "spleen": 1,
    "kidneys": [2, 3],
    "bones": [*range(25, 51), *range(75, 79), *range(92, 118)],
}


_TITLES = {"ct": "Real CT: the TotalSegmentator example", "cxr": "Real chest X-rays"}


def prepare_ct(source: Path, output: Path, size: int, seed: int) -> SegmentationDataset:
    """Make a data set of axial slices of the TotalSegmentator example, within its one patient."""
    case = {"id": "totalseg", "image": source / "ct.nii.gz", "label": source / "seg_total.nii.gz"}
    return prepare_dataset(
        [case],
        output,
        _ORGANS,
        size=size,
        intensity_range=(-200.0, 300.0),
        fractions=(0.7, 0.1, 0.2),
        within_patient=True,
        drop_other_labels=True,
        body_threshold=-300.0,
        seed=seed,
        name="TotalSegmentator example CT",
        modality="CT",
        licence="Apache-2.0",
        attribution="TotalSegmentator",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.real_data", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", choices=("ct", "cxr"), required=True, help="the CT, or the chest X-rays")
    parser.add_argument("--size", type=int, default=64, help="pixels per axis")
    parser.add_argument("--minutes", type=float, default=6.0, help="length of the training")
    parser.add_argument("--number", type=int, default=128, help="images to generate, at least")
    parser.add_argument("--work", type=Path, default=Path("runs/real_data"), help="where data and bundle go")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the page and the report")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    args = _parser().parse_args(argv)
    samples = os.environ.get("SEGDIFF_DATA")
    if not samples:
        raise SystemExit("set SEGDIFF_DATA to the folder that holds the real sample data")
    work = args.work / f"{args.data}_{args.size}"
    if args.data == "ct":
        dataset = prepare_ct(Path(samples) / "ct" / "totalseg_example", work / "data", args.size, args.seed)
    else:
        dataset = prepare_chest_xrays(Path(samples) / "cxr" / "mhh_v7", work / "data", args.size, args.seed)
    bundle = copy_bundle("ct_organ", work / "ct_organ")
    say(f"training for {args.minutes:g} minutes")
    facts = train_bundle(
        bundle,
        ["cpu_demo.yaml", TIME_LIMIT],
        {
            "dataset_dir": str(dataset.root),
            "image_size": [args.size, args.size],
            "limit_seconds": round(60 * args.minutes),
            "seed": args.seed,
        },
    )
    masks = collect_masks(dataset.root, "test")
    generator = load_generator(bundle, overrides={"seed": args.seed})
    generate_dataset(generator, masks, work / "synthetic", per_mask=-(-args.number // len(masks)), overwrite=True)
    report = evaluate(dataset.root, work / "synthetic", work / "report", seed=args.seed)
    print(report.summary())
    publish(
        work / "report",
        f"real_{args.data}",
        _TITLES[args.data],
        f"{__doc__.partition(chr(10))[2].strip()}\n\nTrained for {args.minutes:g} minutes with the sizes of "
        f"`cpu_demo.yaml` at {args.size}x{args.size} ({facts.images:,d} images seen). "
        f"Source: {dataset.attribution} ({dataset.licence}).",
        args.output,
    )


if __name__ == "__main__":
    main()

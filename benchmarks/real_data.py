"""Train on real images, generate for held-out masks and write the report that users get.

The data are small: one abdominal CT, within which a block of slices is held out; 37 chest X-rays split by patient, in
image space or in the latent space of `chest_xray`; or breast MRI of two patients with crude masks, one to train on and
one to test. The report shows that the software works on real input, not how well a method generalizes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundles import TrainingFacts, train_bundle
from benchmarks.common import RESULTS, say
from benchmarks.publish import publish
from benchmarks.recipes import prepare_chest_xrays
from monai_segdiff import copy_bundle
from monai_segdiff.data import SegmentationDataset, prepare_dataset, write_dataset
from monai_segdiff.evaluation import PairReader, evaluate
from monai_segdiff.generation import TrainedGenerator, collect_masks, generate_dataset, load_generator
from monai_segdiff.metrics import paired_errors

# TotalSegmentator's numbering, version 2.
_ORGANS: dict[str, int | list[int]] = {
    "lungs": list(range(10, 15)),
    "liver": 5,
    "spleen": 1,
    "kidneys": [2, 3],
    "bones": [*range(25, 51), *range(75, 79), *range(92, 118)],
}


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


def prepare_breast(source: Path, output: Path, size: int, seed: int) -> SegmentationDataset:
    """Make a data set of axial slices of two patients, p1 to train on and p3 to test; `seed` decides nothing."""
    cases = [
        {
            "id": patient,
            "image": source / patient / "t1_fl3d_fs.nii.gz",
            "label": source / patient / "derived_breast1_dense2.nii.gz",
        }
        for patient in ("p1", "p3")
    ]
    dataset = prepare_dataset(
        cases,
        output,
        {"breast": 1, "fgt": 2},
        size=size,
        percentiles=(0.5, 99.5),
        parents={"fgt": "breast"},
        fractions=(1.0, 0.0, 0.0),
        min_foreground=0.02,
        name="breast MRI with crude masks",
        modality="MR",
        licence="CC BY-SA 4.0",
        attribution="MIMBCD-UI UTA4/UTA7; masks by thresholds, not ground truth",
    )
    prepared = [case for split in dataset.splits.values() for case in split]
    splits = {name: [c for c in prepared if c.patient == p] for name, p in (("training", "p1"), ("test", "p3"))}
    dataset = replace(dataset, splits=splits, split_kind="by patient")
    write_dataset(dataset.root, dataset)
    return dataset


@dataclass(frozen=True)
class _Source:
    title: str
    folder: str
    prepare: Callable[[Path, Path, int, int], SegmentationDataset]
    bundle: str = "ct_organ"
    overrides: dict[str, Any] = field(default_factory=dict)
    trainings: tuple[str, ...] = ("train",)  # configurations, one after the other
    pictures: bool = True  # whether the licence lets the page show real images


_SOURCES = {
    "ct": _Source("Real CT: the TotalSegmentator example", "ct/totalseg_example", prepare_ct),
    "cxr": _Source("Real chest X-rays", "cxr/mhh_v7", prepare_chest_xrays),
    "chest": _Source(
        "Real chest X-rays, latent diffusion",
        "cxr/mhh_v7",
        prepare_chest_xrays,
        "chest_xray",
        trainings=("train_autoencoder", "train_anatomy", "train_diffusion"),
    ),
    "breast": _Source(
        "Real breast MRI, crude masks",
        "breast_mri",
        prepare_breast,
        "breast_mri",
        {"validate#dataset#data": "$@dataset_info.items('test')"},  # there is no third patient
        pictures=False,
    ),
}


def _rebuilt(generator: TrainedGenerator, dataset: SegmentationDataset) -> str:
    """What an autoencoder leaves of held-out images, where there is one."""
    space = getattr(generator.inferer, "latent_space", None)
    if space is None:
        return ""
    reader = PairReader(dataset.classes, dataset.intensity_range, 2)
    images = torch.stack([reader.image(case) for case in dataset.splits["test"]])
    with torch.no_grad():
        errors = paired_errors((space.decode(space.encode(images)).clamp(-1, 1) + 1) / 2, (images + 1) / 2)
    return (
        f"The autoencoder leaves a PSNR of {float(errors.psnr.mean()):.1f} dB on {len(images)} held-out images, "
        f"{float(errors.psnr.min()):.1f} dB on the worst. "
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.real_data", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", choices=tuple(_SOURCES), required=True, help="what to train on")
    parser.add_argument("--size", type=int, default=64, help="pixels per axis")
    parser.add_argument(
        "--images",
        type=int,
        nargs="+",
        help="length of the trainings, or of each, in images seen (default: cpu_demo.yaml's)",
    )
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
    source = _SOURCES[args.data]
    dataset = source.prepare(Path(samples) / source.folder, work / "data", args.size, args.seed)
    bundle = copy_bundle(source.bundle, work / source.bundle)
    values = {"dataset_dir": str(dataset.root), "image_size": [args.size, args.size], "seed": args.seed}
    lengths = [{"max_images": images} for images in args.images or ()] or [{}]
    if len(lengths) not in (1, len(source.trainings)):
        raise SystemExit(f"--images: one number, or one for each of {', '.join(source.trainings)}")
    lengths *= len(source.trainings) if len(lengths) == 1 else 1
    facts: dict[str, TrainingFacts] = {}
    for name, length in zip(source.trainings, lengths, strict=True):
        say(f"training: {name}")
        facts[name] = train_bundle(bundle, ["cpu_demo.yaml"], {**values, **length, **source.overrides}, f"{name}.yaml")
    masks = collect_masks(dataset.root, "test")
    generator = load_generator(bundle, overrides={"seed": args.seed})
    generate_dataset(generator, masks, work / "synthetic", per_mask=-(-args.number // len(masks)), overwrite=True)
    report = evaluate(dataset.root, work / "synthetic", work / "report", seed=args.seed)
    print(report.summary())
    trained = "; ".join(f"{name}, {done.images:,d} images seen" for name, done in facts.items())
    text = f"Trained with the sizes of `cpu_demo.yaml` at {args.size}x{args.size} ({trained}). "
    text += _rebuilt(generator, dataset)
    publish(
        work / "report",
        f"real_{args.data}",
        source.title,
        f"{__doc__.partition(chr(10))[2].strip()}\n\n{text}Source: {dataset.attribution} ({dataset.licence}).",
        args.output,
        pictures=source.pictures,
    )


if __name__ == "__main__":
    main()

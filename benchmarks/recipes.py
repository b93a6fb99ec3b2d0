"""The published recipe beside the default: trained for equal minutes on the same data, sampled for the same masks."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bundles import Part, TrainingFacts, train_for_a_time
from benchmarks.common import Column, Results, Table, arguments, say
from benchmarks.quality import COLUMNS, Judge, sample, spread_over_patients
from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import SegmentationDataset, make_ct_phantoms, prepare_dataset, read_dataset
from monai_segdiff.generation import collect_masks, load_generator

# of the published set-up: its network, its batches and its optimizer
_SIZES = {
    "image_size",
    "channels",
    "num_res_blocks",
    "attention_levels",
    "num_head_channels",
    "norm_num_groups",
    "batch_size",
    "learning_rate",
    "warmup_steps",
}
_COLUMNS = {
    "minutes": Column("minutes trained", "{:.4g}"),
    "trained": Column("images seen", "{:,d}"),
    **COLUMNS,
}
_TEXT = (
    "Each recipe is trained by the bundle's own configuration for the same time on the same data, with the same "
    "network, optimizer and batch size, and then sampled for the same held-out masks. Only what is named differs: "
    "how the mask is encoded and ablated, what the network predicts, and how it is sampled. The learning rate is "
    "constant after its warm-up; time is counted from the first iteration."
)
_NOISE_SIDE = ("parameterization", "sampler", "num_steps", "clip")

LABELS = {
    "published": "published: k/255 in one channel, classes dropped with p = 0.5, noise prediction, ddim 50",
    "one_hot_epsilon": "one-hot with known channels, noise prediction, ddim 50",
    "default": "default: one-hot with known channels, EDM, dpmpp_2m 20",
    "one_hot_velocity": "one-hot with known channels, velocity prediction, dpmpp_2m 20",
    "one_hot_flow": "one-hot with known channels, rectified flow, dpmpp_2m 20",
}


def recipes() -> dict[str, dict[str, Any]]:
    """Overrides of the bundle's training configuration, by recipe.

    The published one is read from the bundle's ``published.yaml``, its sizes and optimizer left out, because
    all recipes are compared with the same network.
    """
    published = yaml.safe_load((bundle_path("ct_organ") / "configs" / "published.yaml").read_text())
    published = {key: value for key, value in published.items() if key not in _SIZES}
    return {
        "published": published,
        "one_hot_epsilon": {key: published[key] for key in _NOISE_SIDE},
        "default": {},
        "one_hot_velocity": {"parameterization": {"_target_": "monai_segdiff.diffusion.VelocityVP"}},
        "one_hot_flow": {"parameterization": {"_target_": "monai_segdiff.diffusion.RectifiedFlow"}},
    }


def prepare_chest_xrays(source: Path, output: Path, size: int, seed: int = 0) -> SegmentationDataset:
    """Make a data set of the chest X-rays with lung masks, split by patient.

    Args:
        source: folder with ``images``, ``masks_lung`` and ``patients.csv``.
        output: folder to create.
        size: pixels per axis.
        seed: of the split.
    """
    with open(source / "patients.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cases = [
        {
            "id": row["image_id"],
            "patient": row["patient_id"],
            "image": source / "images" / f"{row['image_id']}.png",
            "label": source / "masks_lung" / f"{row['image_id']}.png",
        }
        for row in rows
    ]
    return prepare_dataset(
        cases,
        output,
        {"lungs": 255},
        size=size,
        fractions=(0.6, 0.1, 0.3),
        seed=seed,
        name="chest X-rays",
        modality="DX",
        licence="CC BY 3.0, masks CC BY 4.0",
        attribution="images ml-workgroup covid-19-image-repository, masks v7labs",
    )


def open_data(args: argparse.Namespace) -> SegmentationDataset:
    """The data set that the arguments name, made where it has to be."""
    if args.dataset is not None:
        return read_dataset(args.dataset)
    folder = args.work / f"{args.data}_{args.size}"
    if args.data == "phantoms":
        return make_ct_phantoms(folder, patients=args.patients, size=args.size, slices_per_patient=8, seed=args.seed)
    samples = os.environ.get("SEGDIFF_DATA")
    if not samples:
        raise SystemExit("set SEGDIFF_DATA to the folder that holds cxr/mhh_v7, or choose --data phantoms")
    return prepare_chest_xrays(Path(samples) / "cxr" / "mhh_v7", folder, args.size, args.seed)


def train_recipe(
    bundle: Path, recipe: dict[str, Any], dataset: SegmentationDataset, args: argparse.Namespace
) -> TrainingFacts:
    """Train a recipe for its time, unless that was done before."""
    seconds = max(1, round(60 * args.minutes))
    settings = {"recipe": recipe, "seconds": seconds, "config": args.config, "size": args.size, "seed": args.seed}
    overrides = {
        **recipe,
        "dataset_dir": str(dataset.root),
        "image_size": [args.size, args.size],
        "seed": args.seed,
    }
    return train_for_a_time("ct_organ", bundle, [Part([args.config], overrides, seconds)], settings)


def _parser() -> argparse.ArgumentParser:
    parser = arguments("The published recipe beside the default: equal minutes, same data, same masks.", "recipes")
    parser.add_argument(
        "--data", choices=("cxr", "phantoms"), default="cxr", help="X-rays in SEGDIFF_DATA, or phantoms"
    )
    parser.add_argument("--dataset", type=Path, help="another data set, used instead; --size is then its size")
    parser.add_argument("--size", type=int, default=32, help="pixels per axis")
    parser.add_argument("--patients", type=int, default=160, help="number of phantom patients")
    parser.add_argument("--minutes", type=float, default=5.0, help="time that each recipe is trained")
    parser.add_argument("--recipes", nargs="+", choices=LABELS, default=list(LABELS)[:3], help="rows of the table")
    parser.add_argument("--config", default="cpu_demo.yaml", help="overlay with the sizes of network and training")
    parser.add_argument("--per-mask", type=int, default=8, help="images for each held-out mask")
    parser.add_argument("--masks", type=int, help="number of held-out masks (default: all)")
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    parser.add_argument("--segmenter-images", type=int, help="segmenter's training (default: as evaluate)")
    parser.add_argument("--work", type=Path, default=Path("runs/recipes"), help="folder for data, bundles and images")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    args.work = args.work.resolve()
    dataset = open_data(args)
    masks = spread_over_patients(collect_masks(dataset.root, "test"))[: args.masks]
    # first of all, so that its training shares no minute with those that are timed
    judge = Judge(dataset, args.segmenter_images, args.work / "segmenters", args.seed)
    counts = {
        split: f"{len(cases)} images of {len({case.patient for case in cases})} patients"
        for split, cases in dataset.splits.items()
    }
    settings = {
        "data set": f"{dataset.name}, split {dataset.split_kind}",
        "source": f"{dataset.attribution} ({dataset.licence})" if dataset.attribution else dataset.licence,
        **counts,
        "size": args.size,
        "sizes of network and training": args.config,
        "minutes": args.minutes,
        "masks": len(masks),
        "images per mask": args.per_mask,
        "segmenter images": args.segmenter_images,
        "seed": args.seed,
    }
    tables = [Table(f"{args.minutes:g} minutes each", _COLUMNS, LABELS, judge.notes)]
    results = Results(args.output, "Recipes", _TEXT, settings, tables, overwrite=args.overwrite)
    shown = masks[: min(8, len(masks))]
    made = {}
    for name in args.recipes:
        say(f"{name}: {LABELS[name]}")
        bundle = args.work / f"{dataset.root.name}_{name}"
        facts = train_recipe(bundle, recipes()[name], dataset, args)
        generator = load_generator(bundle, overrides={"seed": args.seed})
        folder = bundle / "eval" / "images"
        sampled = sample(generator, masks, folder, per_mask=args.per_mask, batch_size=args.batch_size)
        measured = judge.measure(sampled.cases, name)
        trained = {"minutes": facts.seconds / 60, "trained": facts.images}
        results.add(name, {**trained, **judge.cells(sampled, measured)})
        made[name] = sampled.cases[:: args.per_mask][: len(shown)]
    picture = args.output.with_name(f"{args.output.name}.png")
    judge.picture(shown, {LABELS[name]: cases for name, cases in made.items()}, picture)
    results.show(picture, f"From the top: mask, real, {'; '.join(LABELS[name] for name in made)}")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

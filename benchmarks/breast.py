"""What the studies on breast phantoms share: data, trainings of equal time with several seeds, and who judges them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bundles import Part, TrainingFacts, facts_of, train_for_a_time
from benchmarks.common import arguments, chosen_device, say
from benchmarks.quality import Judge, spread_over_patients
from monai_segdiff.data import Case, SegmentationDataset, make_breast_phantoms
from monai_segdiff.generation import TrainedGenerator, collect_masks, load_generator

__all__ = ["STAGES", "Trained", "Variant", "data_settings", "held_out_masks", "open_data", "parser", "run_stages"]

STAGES = ("data", "train", "table")
_FRACTIONS = (0.7, 0.1, 0.2)


@dataclass(frozen=True)
class Variant:
    """A way to train the bundle.

    Args:
        label: how tables name it.
        overlays: of ``train.yaml``, those of sizes left out.
        overrides: values of ids of ``train.yaml``.
        conditioning: id ``conditioning`` of the bundle.
        base_overlays: overlays of a network that is trained first, for half of the time; none where there is no such.
    """

    label: str
    overlays: Sequence[str] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    conditioning: str = "spade"
    base_overlays: Sequence[str] = ()


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Args:
        name: of the variant.
        seed: of the training, and of the noise that sampling starts from.
        folder: copy of the bundle.
        facts: what was done.
        generator: loaded on the CPU or wherever the arguments say.
    """

    name: str
    seed: int
    folder: Path
    facts: TrainingFacts
    generator: TrainedGenerator

    @property
    def row(self) -> str:
        """Key of its row in tables."""
        return f"{self.name}/{self.seed}"

    @property
    def parameters(self) -> int:
        """Number of weights, frozen ones included."""
        return sum(weight.numel() for weight in self.generator.network.parameters())


def parser(description: str, name: str, variants: Mapping[str, Variant], what: str) -> argparse.ArgumentParser:
    """The command line of a study.

    Args:
        description: what it measures.
        name: of the result files and the module.
        variants: what can be trained.
        what: name of the option that chooses among them, without dashes.
    """
    found = arguments(description, name)
    found.add_argument("--stage", nargs="+", choices=(*STAGES, "all"), default=["all"], help="what to do")
    found.add_argument(f"--{what}", dest="variants", nargs="+", choices=variants, default=list(variants), help="which")
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the trainings")
    found.add_argument("--seconds", type=int, default=300, help="time of each training")
    found.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: the time that processes compute")
    found.add_argument("--work", type=Path, default=Path("runs") / name, help="folder for data, trainings and images")
    found.add_argument("--patients", type=int, default=160, help="number of phantom patients")
    found.add_argument("--slices", type=int, default=8, help="slices of each patient")
    found.add_argument("--size", type=int, default=48, help="pixels per axis")
    found.add_argument("--config", default="cpu_demo.yaml", help="overlay with the sizes of network and training")
    found.add_argument("--overrides", default="{}", help="values of further ids of train.yaml, as JSON")
    found.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    found.add_argument("--segmenter-images", type=int, help="segmenter's training (default: as evaluate)")
    found.add_argument("--device", help="where to sample (default: a GPU if there is one)")
    return found


def open_data(args: argparse.Namespace) -> SegmentationDataset:
    """The phantoms, made where they have to be."""
    return make_breast_phantoms(
        args.work / f"phantoms_{args.size}",
        patients=args.patients,
        size=args.size,
        slices_per_patient=args.slices,
        seed=args.seed,
        fractions=_FRACTIONS,
    )


def held_out_masks(dataset: SegmentationDataset, number: int | None) -> list[Case]:
    """Masks of test patients, so chosen that few of them belong to as many patients as possible."""
    return spread_over_patients(collect_masks(dataset.root, "test"))[:number]


def run_stages(
    args: argparse.Namespace, variants: Mapping[str, Variant]
) -> tuple[SegmentationDataset, Judge, list[Trained]] | None:
    """Make data and segmenter, train what is asked for, and load what is trained.

    Returns:
        Data, judge and all finished trainings of the chosen variants and seeds; None where no table is wanted.
    """
    args.work = args.work.resolve()
    stages = STAGES if "all" in args.stage else args.stage
    dataset = open_data(args)
    judge = None
    if {"data", "table"} & set(stages):  # before the trainings, so that it takes none of their time
        judge = Judge(dataset, args.segmenter_images, args.work / "segmenters", args.seed)
    if "train" in stages:
        for name in args.variants:
            for seed in args.seeds:
                facts = _train(name, variants[name], seed, dataset, args)
                say(f"{name}, seed {seed}: {facts.images:,d} images in {facts.seconds:.0f} seconds")
    if "table" not in stages or judge is None:
        return None
    finished = list(_finished(variants, args))
    if not finished:
        raise SystemExit(f"nothing in {args.work} is trained with these arguments: run --stage train first")
    return dataset, judge, finished


def data_settings(dataset: SegmentationDataset, masks: Sequence[Case], args: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on, beside the trainings themselves."""
    counts = {
        split: f"{len(cases)} images of {len({case.patient for case in cases})} patients"
        for split, cases in dataset.splits.items()
    }
    return {
        "data": dataset.name,
        **counts,
        "masks": f"{len(masks)} of {len({case.patient for case in masks})} test patients",
        "size": f"{args.size}x{args.size}",
        "sizes of network and training": args.config,
        "other overrides": args.overrides,
        "seconds of each training": f"{args.seconds} ({args.clock})",
        "segmenter images": args.segmenter_images,
        "device": str(chosen_device(args.device)),
        "seed": args.seed,
    }


def _settings(variant: Variant, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    return {
        "overlays": [args.config, *variant.overlays],
        "base_overlays": list(variant.base_overlays),
        "overrides": {**json.loads(args.overrides), **variant.overrides},
        "seconds": args.seconds,
        "clock": args.clock,
        "seed": seed,
        "data": [args.patients, args.slices, args.size, args.seed],
    }


def _folder(name: str, seed: int, args: argparse.Namespace) -> Path:
    return args.work / "trained" / f"{name}_{seed}"


def _train(
    name: str, variant: Variant, seed: int, dataset: SegmentationDataset, args: argparse.Namespace
) -> TrainingFacts:
    settings = _settings(variant, seed, args)
    overrides = {
        **settings["overrides"],
        "dataset_dir": str(dataset.root),
        "image_size": [args.size, args.size],
        "seed": seed,
    }
    first = args.seconds // 2 if variant.base_overlays else 0
    parts = [Part([args.config, *variant.base_overlays], overrides, first, args.clock)] if variant.base_overlays else []
    parts.append(Part([args.config, *variant.overlays], overrides, args.seconds - first, args.clock))
    say(f"{name}, seed {seed}: {variant.label}")
    return train_for_a_time("breast_mri", _folder(name, seed, args), parts, settings)


def _finished(variants: Mapping[str, Variant], args: argparse.Namespace) -> Iterator[Trained]:
    device = chosen_device(args.device)
    for name in args.variants:
        for seed in args.seeds:
            folder, variant = _folder(name, seed, args), variants[name]
            facts = facts_of(folder, _settings(variant, seed, args))
            if facts is None:
                say(f"{name}, seed {seed}: not trained with these arguments, left out")
                continue
            values = {"conditioning": variant.conditioning, "seed": seed, "device": str(device)}
            yield Trained(name, seed, folder, facts, load_generator(folder, overrides=values))

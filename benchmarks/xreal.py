"""The chest X-ray bundle on phantoms: autoencoder, anatomy and pathology control, fewer evaluations, and its rivals.

Stages: `data` makes the phantoms, `train` trains (XReal's three networks one after the other, then rivals for as long),
`anatomy`, `pathology` and `autoencoder` measure. Every stage goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common import Cell, Column, Results, Table, arguments, say
from benchmarks.quality import COLUMNS, Judge, Sampled, sample
from benchmarks.xreal_trainings import RIVALS, XREAL, facts_of_all, train_all
from monai_segdiff.data import Case, SegmentationDataset, load_image, make_chest_phantoms
from monai_segdiff.evaluation.measure import Measurements
from monai_segdiff.generation import Pathology, TrainedGenerator, load_generator
from monai_segdiff.metrics import bootstrap_mean, paired_errors

LUNGS = ("lung_right", "lung_left")
_STEPS = {"xreal": 100, "xreal_20": 20}
_LABELS = {
    "xreal": "XReal, 100 steps",
    "xreal_20": "XReal, 20 steps",
    "latent_mask": "mask concatenated in latent space",
    "image_space": "mask concatenated in image space",
}
_ANATOMY = {
    "lungs": Column("Dice to lungs", "{:.3f}"),
    "lungs_share": Column("share of ceiling", "{:.3f}"),
    **COLUMNS,
    "difference": Column("Dice to lungs minus that of 100 steps, paired", "{:+.4f}"),
}
_PATHOLOGY = {
    "outside": Column("mean change outside the region", "{:.3%}"),
    "own": Column("of which the autoencoder's own error", "{:.3%}"),
    "excess": Column("beyond it", "{:+.3%}"),
    "inside": Column("mean change inside", "{:.2%}"),
    "failed": COLUMNS["failed"],
    "evaluations": COLUMNS["evaluations"],
    "images": COLUMNS["images"],
}
_AUTOENCODER = {
    "psnr": Column("PSNR in dB", "{:.2f}"),
    "mae": Column("MAE", "{:.4f}"),
    "images": Column("held-out images", "{:,d}"),
}


def lung_dice(measured: Measurements, classes: Sequence[str]) -> torch.Tensor:
    """Dice of both lungs, averaged, of each image.

    Args:
        measured: the images.
        classes: names of the classes, in their order.
    """
    return measured.dice[:, [list(classes).index(name) for name in LUNGS]].nanmean(1)


def anatomy_row(
    sampled: Sampled, measured: Measurements, judge: Judge, reference: torch.Tensor | None
) -> tuple[dict[str, Cell], torch.Tensor]:
    """Figures of images for masks.

    Args:
        sampled: the images.
        measured: what was measured of them.
        judge: who measured.
        reference: Dice to lungs of the images that these are compared with, for the same masks or more.

    Returns:
        The row, and the Dice to lungs of each image.
    """
    classes = list(judge.reader.classes)
    lungs = lung_dice(measured, classes)
    ceiling = float(lung_dice(judge.real, classes).nanmean())
    found = bootstrap_mean(lungs, measured.patients, seed=judge.seed)
    cells: dict[str, Cell] = {
        "lungs": found,
        "lungs_share": None if found.value is None else found.value / ceiling,
        **judge.cells(sampled, measured),
    }
    if reference is not None:
        n = min(len(lungs), len(reference))
        cells["difference"] = bootstrap_mean(lungs[:n] - reference[:n], measured.patients[:n], seed=judge.seed)
    return cells, lungs


def changes(
    images: torch.Tensor, anatomies: torch.Tensor, regions: torch.Tensor, rebuilt: torch.Tensor
) -> dict[str, torch.Tensor]:
    """How much each image differs from its anatomy, as a share of the range.

    Args:
        images: (N, 1, *spatial), in a range of length 1.
        anatomies: the images before the findings.
        regions: where the findings were allowed, 0 or 1.
        rebuilt: the anatomies after autoencoder and back.

    Returns:
        (N,) each: mean absolute change ``outside`` and ``inside``, and the autoencoder's ``own`` error outside.
    """
    outside, axes = 1 - regions, tuple(range(1, images.ndim))

    def mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return (values.abs() * where).sum(axes) / where.sum(axes)

    return {
        "outside": mean(images - anatomies, outside),
        "own": mean(rebuilt - anatomies, outside),
        "inside": mean(images - anatomies, regions),
    }


def _generator(name: str, args: argparse.Namespace) -> TrainedGenerator:
    values = {"seed": args.seed, "device": "$torch.device('cpu')"}
    if name == "image_space":
        return load_generator(args.work / "ct_organ", overrides=values)
    if name == "latent_mask":
        return load_generator(args.work / "chest_xray", overrides={**values, "conditioning": "mask"})
    steps = _STEPS[name]
    return load_generator(args.work / "chest_xray", overrides={**values, "num_steps": steps})


def _anatomy(args: argparse.Namespace, dataset: SegmentationDataset, judge: Judge) -> None:
    masks = dataset.splits["test"][: args.masks]
    ceiling = float(lung_dice(judge.real, list(dataset.classes)).nanmean())
    notes = [f"Ceiling of the lungs: Dice {ceiling:.3f}.", *judge.notes]
    results = _results(args, dataset, "anatomy", _ANATOMY, _LABELS, notes)
    reference: torch.Tensor | None = None
    made: list[list[Case]] = []
    for name in args.methods:
        chosen = masks[: args.few_masks] if name == "xreal_20" else masks
        sampled = sample(_generator(name, args), chosen, args.work / "images" / name, batch_size=args.batch_size)
        measured = judge.measure(sampled.cases, name)
        cells, lungs = anatomy_row(sampled, measured, judge, reference)
        reference = lungs if name == "xreal" else reference
        made.append(sampled.cases[:8])
        results.add(name, cells)
    picture = args.output.with_name(f"{args.output.name}_anatomy.png")
    judge.picture(masks[:8], made, picture)
    results.show(picture, f"From the top: mask, real, {'; '.join(_LABELS[name] for name in args.methods)}")


def _pathology(args: argparse.Namespace, dataset: SegmentationDataset, judge: Judge) -> None:
    generator = _generator("xreal", args)
    rows = {name: f"{name}, in its region" for name in dataset.findings} | {"none": "no finding, in these regions"}
    notes = ["Regions and findings are those of held-out phantoms; images begin at the anatomy that their masks give."]
    results = _results(args, dataset, "pathology", _PATHOLOGY, rows, notes)
    every = [case for case in dataset.splits["test"] if case.findings and case.region]
    for name in rows:
        cases = [case for case in every if case.findings == (name,)] if name != "none" else every
        cases = cases[: args.few_masks]
        findings = () if name == "none" else (name,)
        folder = args.work / "images" / f"finding_{name}"
        sampled = sample(generator, cases, folder, batch_size=args.batch_size, pathology=Pathology(findings))
        measured = judge.measure(sampled.cases, name)
        figures = _changes_of(sampled.cases, cases, folder, generator, dataset)
        cells: dict[str, Cell] = {
            key: bootstrap_mean(values, measured.patients, seed=judge.seed) for key, values in figures.items()
        }
        cells["excess"] = bootstrap_mean(figures["outside"] - figures["own"], measured.patients, seed=judge.seed)
        cells |= {key: value for key, value in judge.cells(sampled, measured).items() if key in _PATHOLOGY}
        results.add(name, cells)


def _changes_of(
    made: Sequence[Case], masks: Sequence[Case], folder: Path, generator: TrainedGenerator, dataset: SegmentationDataset
) -> dict[str, torch.Tensor]:
    assert dataset.intensity_range is not None
    low, high = dataset.intensity_range

    def read(file: Path | None) -> torch.Tensor:
        assert file is not None
        return (load_image(file).as_tensor().float() - low) / (high - low)

    images = torch.stack([read(case.image) for case in made])
    anatomies = torch.stack([read(folder / "anatomyTr" / case.image.name) for case in made if case.image])
    regions = torch.stack([(load_image(case.region).as_tensor() > 0).float() for case in masks if case.region])
    space = generator.inferer.latent_space
    with torch.no_grad():
        rebuilt = torch.cat([space.decode(space.encode(2 * part - 1)) for part in anatomies.split(32)])
    return changes(images, anatomies, regions, (rebuilt.clamp(-1, 1) + 1) / 2)


def _autoencoder(args: argparse.Namespace, dataset: SegmentationDataset, judge: Judge) -> None:
    space = _generator("xreal", args).inferer.latent_space
    cases = dataset.splits["test"]
    images = torch.stack([judge.reader(case).image for case in cases])
    with torch.no_grad():
        rebuilt = torch.cat([space.decode(space.encode(part)) for part in images.split(32)])
    errors = paired_errors((rebuilt.clamp(-1, 1) + 1) / 2, (images + 1) / 2)
    patients = [case.patient for case in cases]
    results = _results(
        args, dataset, "autoencoder", _AUTOENCODER, {"autoencoder": "autoencoder, to latent and back"}, []
    )
    results.add(
        "autoencoder",
        {
            **{key: bootstrap_mean(getattr(errors, key), patients, seed=args.seed) for key in ("psnr", "mae")},
            "images": len(cases),
        },
    )


def _results(
    args: argparse.Namespace,
    dataset: SegmentationDataset,
    stage: str,
    columns: dict[str, Column],
    rows: dict[str, str],
    notes: Sequence[str],
) -> Results:
    trained = {name: f"{facts.images:,d} images in {facts.seconds:.0f} s" for name, facts in facts_of_all(args.work)}
    return Results(
        args.output.with_name(f"{args.output.name}_{stage}"),
        f"Chest X-rays by latent diffusion: {stage}",
        "Chest phantoms, split by patient, one image each. XReal's networks are trained with `cpu_demo.yaml`; each "
        "rival has the processor time of those that it replaces.",
        {
            "data": f"{dataset.name}, {args.patients} patients, {args.size}x{args.size}",
            "trained": trained,
            "masks": args.masks,
            "few masks": args.few_masks,
            "seed": args.seed,
        },
        [Table(stage.capitalize(), columns, rows, list(notes))],
        overwrite=args.overwrite,
    )


_STAGES = {"anatomy": _anatomy, "pathology": _pathology, "autoencoder": _autoencoder}


def _parser() -> argparse.ArgumentParser:
    parser = arguments("The chest X-ray bundle on phantoms.", "xreal")
    names = [part.name for part in (*XREAL, *RIVALS)]
    parser.add_argument("--stage", nargs="+", choices=("data", "train", *_STAGES), required=True, help="what to do")
    parser.add_argument("--trainings", nargs="+", choices=names, default=names, help="train: which")
    parser.add_argument("--methods", nargs="+", choices=tuple(_LABELS), default=list(_LABELS), help="anatomy: which")
    parser.add_argument("--work", type=Path, default=Path("runs") / "xreal", help="folder for everything")
    parser.add_argument("--patients", type=int, default=1600, help="number of phantoms")
    parser.add_argument("--size", type=int, default=64, help="pixels per axis")
    parser.add_argument("--masks", type=int, default=256, help="held-out masks")
    parser.add_argument("--few-masks", type=int, default=64, help="masks for 20 steps, and for each finding")
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    args.work = args.work.resolve()
    dataset = make_chest_phantoms(
        args.work / f"phantoms_{args.size}", args.patients, args.size, seed=args.seed, fractions=(0.7, 0.1, 0.2)
    )
    if "train" in args.stage:
        for name, facts in train_all(args.work, dataset, args.size, args.trainings).items():
            say(f"{name}: {facts.images:,d} images in {facts.seconds:.0f} processor seconds")
    if set(_STAGES) & set(args.stage):
        judge = Judge(dataset, None, args.work / "segmenters", args.seed)
        for stage in args.stage:
            if stage in _STAGES:
                _STAGES[stage](args, dataset, judge)


if __name__ == "__main__":
    main()

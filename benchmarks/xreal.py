"""The chest X-ray bundle on phantoms: autoencoder, anatomy and pathology control, fewer evaluations, and its rivals.

Stages: `data` makes the phantoms, `train` trains (XReal's three networks one after the other, then rivals for as long),
`anatomy`, `pathology` and `autoencoder` measure. Every stage goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.common import Cell, Column, Results, Table, arguments, say
from benchmarks.quality import COLUMNS, Judge, Sampled, sample
from benchmarks.xreal_pathology import CLASSIFIER, EDITS, NONE, Edits, classifier_row, draw_edits, edit_rows
from benchmarks.xreal_trainings import LONGER, RIVALS, XREAL, facts_of_all, train_all, train_longer
from monai_segdiff.data import Case, SegmentationDataset, make_chest_phantoms
from monai_segdiff.evaluation import train_finding_classifier
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.generation import TrainedGenerator, load_generator
from monai_segdiff.metrics import bootstrap_mean, paired_errors

LUNGS = ("lung_right", "lung_left")
_STEPS = {"xreal": 100, "xreal_20": 20}
_ALL = "all"  # the row of all edits taken together
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
_EDIT_NOTES = [
    "Regions and findings are those of held-out phantoms; images begin at the anatomy that their masks give.",
    "Changes are absolute differences to that anatomy as a share of the range. Outside the region an image is the "
    "anatomy after autoencoder and back: that error is the autoencoder's own.",
    "Seen: by a classifier that was trained on training patients. Surest inside: the pixel in which it is surest of "
    "the finding lies in the region, widened by one latent.",
]
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


def _generator(name: str, args: argparse.Namespace) -> TrainedGenerator:
    values = {"seed": args.seed, "device": "cpu"}
    if name == "image_space":
        return load_generator(args.work / "ct_organ", overrides=values)
    if name == "latent_mask":
        return load_generator(args.work / args.chest, overrides={**values, "conditioning": "mask"})
    values |= {"num_steps": _STEPS[name]} | ({"guidance_weight": args.guidance} if args.guidance else {})
    return load_generator(args.work / args.chest, overrides=values)


def _anatomy(args: argparse.Namespace, dataset: SegmentationDataset, judge: Judge) -> None:
    masks = dataset.splits["test"][: args.masks]
    ceiling = float(lung_dice(judge.real, list(dataset.classes)).nanmean())
    notes = [f"Ceiling of the lungs: Dice {ceiling:.3f}.", *judge.notes]
    results = _results(args, dataset, "anatomy", _ANATOMY, _LABELS, notes)
    reference: torch.Tensor | None = None
    made: dict[str, list[Case]] = {}
    for name in args.methods:
        chosen = masks[: args.few_masks] if name == "xreal_20" else masks
        sampled = sample(_generator(name, args), chosen, args.images / name, batch_size=args.batch_size)
        measured = judge.measure(sampled.cases, name)
        cells, lungs = anatomy_row(sampled, measured, judge, reference)
        reference = lungs if name == "xreal" else reference
        made[_LABELS[name]] = sampled.cases[:8]
        results.add(name, cells)
    picture = args.output.with_name(f"{args.output.name}_anatomy.png")
    judge.picture(masks[:8], made, picture)
    results.show(picture, f"From the top: mask, real, {'; '.join(_LABELS[name] for name in args.methods)}")


def _pathology(args: argparse.Namespace, dataset: SegmentationDataset, judge: Judge) -> None:
    every = [case for case in dataset.splits["test"] if case.findings and case.region]
    masks = {name: [case for case in every if case.findings == (name,)][: args.few_masks] for name in dataset.findings}
    masks[NONE] = every[: args.few_masks]
    labels = {name: f"{name}, in its region" for name in dataset.findings}
    labels[NONE] = "empty prompt, in these regions; seen: each of the findings"
    table = {
        f"{name}/{steps}": f"{label}, {steps} + {steps} steps"
        for name, label in labels.items()
        for steps in _STEPS.values()
    }
    classifier = train_finding_classifier(
        dataset.splits["training"],
        judge.reader,
        dataset.findings,
        args.classifier_images,
        cache_dir=args.work / "segmenters",
        device="cpu",
    )
    results = _results(args, dataset, "pathology", EDITS, table, _EDIT_NOTES)
    fewer = {"lungs": EDITS["lungs"], "difference": _ANATOMY["difference"]}
    fewer |= {key: EDITS[key] for key in ("evaluations", "images")}
    rows = {f"{_ALL}/{steps}": f"{steps} + {steps} steps" for steps in _STEPS.values()}
    results.tables = [
        Table(
            "The classifier, on held-out phantoms",
            CLASSIFIER,
            {name: name for name in dataset.findings},
            [f"The held-out patients of the data and {args.unseen_patients:,d} patients of another seed."],
        ),
        *results.tables,
        Table("Fewer evaluations, all edits", fewer, rows),
    ]
    for name, cells in classifier_row(classifier, _unseen(args, dataset), judge).items():
        results.add(name, cells)
    lungs: dict[str, torch.Tensor] = {}
    for method, steps in _STEPS.items():
        generator = _generator(method, args)
        edits = {
            name: draw_edits(
                generator, name, cases, args.images / f"{name}_{steps}", judge, dataset, args.batch_size, LUNGS
            )
            for name, cases in masks.items()
        }
        for name, cells in edit_rows(edits, classifier, generator, judge).items():
            results.add(f"{name}/{steps}", cells)
        lungs[method] = torch.cat([edit.lungs for edit in edits.values()])
        patients = [patient for edit in edits.values() for patient in edit.measured.patients]
        row: dict[str, Cell] = {
            "lungs": bootstrap_mean(lungs[method], patients, seed=judge.seed),
            "evaluations": max(edit.sampled.evaluations for edit in edits.values()),
            "images": len(patients),
        }
        if method != "xreal":
            row["difference"] = bootstrap_mean(lungs[method] - lungs["xreal"], patients, seed=judge.seed)
        results.add(f"{_ALL}/{steps}", row)
        if method == "xreal":
            _draw_edits(edits, args.output, judge, results)


def _unseen(args: argparse.Namespace, dataset: SegmentationDataset) -> list[Case]:
    """The held-out patients and a second population: a rate of 95% needs more patients than the former."""
    others = make_chest_phantoms(
        args.work / f"phantoms_{args.size}_unseen", args.unseen_patients, args.size, seed=args.seed + 1
    )
    cases = [replace(case, patient=f"unseen-{case.patient}") for split in others.splits.values() for case in split]
    return [*dataset.splits["test"], *cases]


def _draw_edits(edits: Mapping[str, Edits], output: Path, judge: Judge, results: Results) -> None:
    for name, edit in edits.items():
        made = edit.sampled.cases[:8]
        before = [
            replace(case, image=case.image.parent.parent / "anatomyTr" / case.image.name) for case in made if case.image
        ]
        picture = output.with_name(f"{output.name}_{name}.png")
        judge.picture(edit.masks[:8], {"anatomy alone": before, f"with {name}": made}, picture)
        results.show(
            picture,
            f"Prompt: {name}. From the top: mask, real image, drawn anatomy, the same with the prompt in the region",
        )


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
    trained = {
        name: f"{facts.images:,d} images in {facts.seconds:.0f} s"
        for name, facts in facts_of_all(args.work, args.chest)
    }
    return Results(
        args.output.with_name(f"{args.output.name}_{stage}"),
        f"Chest X-rays by latent diffusion: {stage}" + (f" at guidance {args.guidance:g}" if args.guidance else ""),
        "Chest phantoms, split by patient, one image each. XReal's networks are trained with `cpu_demo.yaml`; "
        + (
            "the training of the diffusion model went on after that."
            if args.longer
            else "each rival has the processor time of those that it replaces."
        ),
        {
            "data": f"{dataset.name}, {args.patients} patients, {args.size}x{args.size}",
            "trained": trained,
            "guidance": args.guidance or "the bundle's",
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
    parser.add_argument(
        "--longer", type=int, help="go on with XReal's diffusion training up to so many images, or measure what did"
    )
    parser.add_argument("--guidance", type=float, help="guidance on the finding (default: the bundle's)")
    parser.add_argument("--methods", nargs="+", choices=tuple(_LABELS), default=list(_LABELS), help="anatomy: which")
    parser.add_argument("--work", type=Path, default=Path("runs") / "xreal", help="folder for everything")
    parser.add_argument("--patients", type=int, default=1600, help="number of phantoms")
    parser.add_argument("--size", type=int, default=64, help="pixels per axis")
    parser.add_argument("--masks", type=int, default=256, help="held-out masks")
    parser.add_argument("--few-masks", type=int, default=64, help="masks for 20 steps, and for each finding")
    parser.add_argument("--classifier-images", type=int, default=32000, help="classifier's training, in images seen")
    parser.add_argument("--unseen-patients", type=int, default=1600, help="further phantoms to test the classifier on")
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    args.work = args.work.resolve()
    dataset = make_chest_phantoms(
        args.work / f"phantoms_{args.size}", args.patients, args.size, seed=args.seed, fractions=(0.7, 0.1, 0.2)
    )
    args.chest = LONGER if args.longer else "chest_xray"
    parts = ["images", "longer" if args.longer else "", f"guidance_{args.guidance:g}" if args.guidance else ""]
    args.images = args.work / "_".join(filter(None, parts))
    if args.longer and "train" in args.stage:
        facts = train_longer(args.work, dataset, args.size, args.longer)
        say(f"diffusion: {facts.images:,d} images")
    elif "train" in args.stage:
        for name, facts in train_all(args.work, dataset, args.size, args.trainings).items():
            say(f"{name}: {facts.images:,d} images in {facts.seconds:.0f} processor seconds")
    if set(_STAGES) & set(args.stage):
        judge = Judge(dataset, None, args.work / "segmenters", args.seed)
        for stage in args.stage:
            if stage in _STAGES:
                _STAGES[stage](args, dataset, judge)


if __name__ == "__main__":
    main()

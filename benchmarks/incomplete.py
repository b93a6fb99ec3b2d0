"""Masks that hold only some of their classes: ways to train for them, and every subset of classes given.

Stages as in `benchmarks.rivals`: `data`, `train`, `table`. What is asked of an image is Dice on the classes that its
mask was given, beside the Dice of an image from the whole mask on the same classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.breast import Trained, Variant, data_settings, held_out_masks, parser, run_stages
from benchmarks.bundles import train_bundle
from benchmarks.common import Cell, Column, Results, Table, chosen_device, say
from benchmarks.quality import Judge, sample
from benchmarks.seeds import over_seeds, value_of
from benchmarks.subsets import GivenDice, Subset, subsets
from monai_segdiff import copy_bundle
from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.files import atomic_file
from monai_segdiff.generation import TrainedGenerator, load_generator
from monai_segdiff.metrics import bootstrap_mean
from monai_segdiff.pictures.lettering import lettered
from monai_segdiff.pictures.tiles import color_labels, gray_levels, picture_grid, upright


def _concatenated(label: str, *overlays: str, **overrides: Any) -> Variant:
    return Variant(f"concatenation: {label}", ["concat.yaml", *overlays], overrides, "concat")


TRAININGS = {
    "default": Variant("SPADE: a draw for each mask, filled from around, known flags (default)"),
    "per_sample": _concatenated("a draw for each mask, filled from around, known flags"),
    "none": _concatenated("whole masks only, no flags", "no_ablation.yaml", known_flags=False),
    "per_batch": _concatenated("a draw for each batch, filled from around, known flags", "ablation_per_batch.yaml"),
    "background": _concatenated("a draw for each mask, filled with background, no flags", "ablation_background.yaml"),
}
_LABELS = {name: variant.label for name, variant in TRAININGS.items()}
_LABELS["longer"] = "the default, trained for longer until its learning rate is zero"
_FIRST = {"guided": "default", "longer_guided": "longer", "longer_guided_3": "longer"}  # whose network it is
_GUIDANCE = {"guided": 2.0, "longer_guided": 2.0, "longer_guided_3": 3.0}
_LABELS |= {name: f"{_LABELS[own]}, sampled with guidance {_GUIDANCE[name]:g}" for name, own in _FIRST.items()}
_FILL = {"background": "background"}  # what a dropped class becomes, where it is not the class around it

_COLUMNS = {
    "dice": Column("Dice on given classes", "{:.3f}"),
    "whole": Column("whole mask's on these", "{:.3f}"),
    "difference": Column("difference", "{:+.3f}"),
    "failed": Column("failed samples", "{:.1%}"),
    "kid": Column("KID to held-out real images", "{:.5f}"),
}
_OVERVIEW = {
    **{key: _COLUMNS[key] for key in ("dice", "whole", "difference")},
    "worst": Column("worst difference", "{:+.3f}"),
    "failed": _COLUMNS["failed"],
    "kid": _COLUMNS["kid"],
    "trained": Column("images seen", "{:,.0f}"),
    "seeds": Column("trainings", "{:d}"),
}
_TEXT = (
    "Trainings of equal time: the bundle's default, and four by concatenation that differ in how classes are removed "
    "from training masks; where asked for, the default once more as users train it. Guidance takes twice the "
    "evaluations. Each then generates "
    "for the same held-out masks with every subset of classes given. A dropped class becomes what it became in "
    "training, and its known flag goes off where the training had flags. Dice on given classes: the segmenter's "
    "reading of the image, with the dropped classes merged into the ones around them, against the mask with the same "
    "merged; the classes that were not given may be wherever they belong. Images of whole masks are read likewise."
)


def run_training(
    trained: Trained, masks: Sequence[Case], dataset: SegmentationDataset, judge: Judge, batch_size: int
) -> tuple[dict[str, dict[str, Cell]], dict[str, list[Case]]]:
    """Generate for every subset with one training, and measure.

    Args:
        trained: the training.
        masks: the whole label maps.
        dataset: real images.
        judge: measures the images.
        batch_size: images sampled at once.

    Returns:
        Figures and images by the key of the subset.
    """
    rows: dict[str, dict[str, Cell]] = {}
    made: dict[str, list[Case]] = {}
    whole: Measurements | None = None
    scores = {subset.key: GivenDice(subset, dataset.parents) for subset in subsets(list(dataset.classes))}
    for subset in subsets(list(dataset.classes)):
        say(f"{trained.row}: {subset.key}")
        sampled = sample(
            trained.generator,
            masks,
            trained.folder / "eval" / (trained.name if trained.name in _FIRST else "") / subset.key,
            batch_size=batch_size,
            drop_classes=subset.dropped,
            drop_fill=_FILL.get(trained.name, "parent"),
        )
        cases = sampled.cases
        made[subset.key] = cases
        # What counts is the mask that the image was made for, whatever of it was given.
        held = [replace(case, label=mask.label) for case, mask in zip(cases, masks, strict=True)]
        measured = judge.measure(
            held, f"{trained.row} {subset.key}", scores if whole is None else _only(scores, subset)
        )
        whole = measured if whole is None else whole
        rows[subset.key] = _cells(subset, measured, whole, judge)
    return rows, made


def _only(scores: Mapping[str, GivenDice], subset: Subset) -> dict[str, GivenDice]:
    return {subset.key: scores[subset.key]}


def _cells(subset: Subset, measured: Measurements, whole: Measurements, judge: Judge) -> dict[str, Cell]:
    own, other = measured.extras[subset.key], whole.extras[subset.key]
    patients = measured.patients
    return {
        "dice": bootstrap_mean(own, patients, seed=judge.seed),
        "whole": bootstrap_mean(other, patients, seed=judge.seed),
        "difference": bootstrap_mean(own - other, patients, seed=judge.seed),
        "failed": judge.failed(measured, own),
        "kid": judge.distance(measured),
    }


def summary(rows: Sequence[Mapping[str, Mapping[str, Cell]]], images: Sequence[int]) -> dict[str, dict[str, Cell]]:
    """Means over the trainings of one kind.

    Args:
        rows: of each training, figures by subset.
        images: that each training has seen.

    Returns:
        Figures by subset, and under ``overview`` those of all subsets that lack a class.
    """
    others = list(rows[0])[1:]
    found: dict[str, dict[str, Cell]] = {
        key: {name: over_seeds([value_of(row[key][name]) for row in rows]) for name in _COLUMNS} for key in rows[0]
    }
    overview: dict[str, Cell] = {
        name: over_seeds([over_seeds([value_of(row[key][name]) for key in others]).value for row in rows])
        for name in _COLUMNS
    }
    worst = [min((value_of(row[key]["difference"]) for key in others), key=lambda value: value or 0.0) for row in rows]
    trained = over_seeds(images).value
    found["overview"] = {**overview, "worst": over_seeds(worst), "trained": trained, "seeds": len(rows)}
    return found


def draw(
    masks: Sequence[Case], made: Mapping[str, Mapping[str, Sequence[Case]]], keys: Sequence[str], judge: Judge
) -> Image.Image:
    """Masks that lose one class after another, each above the images made for it.

    Args:
        masks: the whole label maps, a column each.
        made: images by subset, by training.
        keys: subsets, from the whole one.
        judge: reads the cases.
    """
    tiles, names, synthetic = [], [], set()
    for key in keys:
        names += [f"given: {key}", *made]
        given = [judge.reader(case) for case in next(iter(made.values()))[key][: len(masks)]]
        tiles.append([color_labels(upright(pair.mask, pair.affine)[0]) for pair in given])
        for images in made.values():
            synthetic.add(len(tiles))
            pairs = [judge.reader(case) for case in images[key][: len(masks)]]
            tiles.append([gray_levels(upright(pair.image, pair.affine)) for pair in pairs])
    return Image.fromarray(lettered(picture_grid(tiles, 96, synthetic=synthetic), names))


def _tables(names: Sequence[str], keys: Sequence[str], judge: Judge) -> list[Table]:
    notes = ["Means over trainings, with 95% t intervals over their seeds.", *judge.notes]
    overview = Table(
        "All subsets that lack a class",
        _OVERVIEW,
        {f"{name}/overview": _LABELS[name] for name in names},
        notes,
    )
    each = [Table(_LABELS[name], _COLUMNS, {f"{name}/{key}": key for key in keys}) for name in names]
    return [overview, *each]


def _with_guidance(finished: Sequence[Trained], args: argparse.Namespace) -> Iterator[Trained]:
    """The trainings, each followed by the same network under guidance where `_FIRST` says so."""
    for trained in finished:
        yield trained
        for name in [guided for guided, own in _FIRST.items() if own == trained.name]:
            generator = _default_generator(trained.folder, trained.seed, args, _GUIDANCE[name])
            yield replace(trained, name=name, generator=generator)


def _default_generator(
    folder: Path, seed: int, args: argparse.Namespace, guidance_weight: float = 1.0
) -> TrainedGenerator:
    device = str(chosen_device(args.device))
    values = {"seed": seed, "device": device, "guidance_weight": guidance_weight}
    return load_generator(folder, overrides=values)


def _longer(args: argparse.Namespace, dataset: SegmentationDataset) -> Trained:
    """The bundle's training as it is, of so many images; one that was stopped goes on where it was."""
    folder = args.work / "trained" / "longer"
    copy_bundle("breast_mri", folder)
    values = {"dataset_dir": str(dataset.root), "image_size": [args.size, args.size], "max_images": args.longer}
    facts = train_bundle(folder, [args.config], values)
    return Trained("longer", args.seed, folder, facts, _default_generator(folder, args.seed, args))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    command_line = parser("Masks that hold only some of their classes.", "incomplete", TRAININGS, "trainings")
    command_line.add_argument("--masks", type=int, default=64, help="number of held-out masks")
    command_line.add_argument("--longer", type=int, help="train the default once more, for so many images")
    args = command_line.parse_args(argv)
    opened = run_stages(args, TRAININGS)
    if opened is None:
        return
    dataset, judge, finished = opened
    finished += [_longer(args, dataset)] if args.longer else []
    masks = held_out_masks(dataset, args.masks)
    rows: dict[str, list[dict[str, dict[str, Cell]]]] = {}
    made: dict[str, dict[str, list[Case]]] = {}
    for trained in _with_guidance(finished, args):
        figures, images = run_training(trained, masks, dataset, judge, args.batch_size)
        rows.setdefault(trained.name, []).append(figures)
        made.setdefault(trained.name, images)
    keys = [subset.key for subset in subsets(list(dataset.classes))]
    results = Results(
        args.output,
        "Incomplete masks",
        _TEXT,
        data_settings(dataset, masks, args),
        _tables(list(rows), keys, judge),
        chosen_device(args.device),
        args.overwrite,
    )
    for name, of_trainings in rows.items():
        seen = [trained.facts.images for trained in finished if trained.name == _FIRST.get(name, name)]
        for key, cells in summary(of_trainings, seen).items():
            results.add(f"{name}/{key}", cells)
    losing = ["+".join(list(dataset.classes)[:count]) for count in range(len(dataset.classes), 0, -1)]
    picture = args.output.with_name(f"{args.output.name}.png")
    with atomic_file(picture) as temporary:
        draw(masks[: min(6, len(masks))], made, losing, judge).save(temporary, format="PNG")
    shown = "; ".join(_LABELS[name] for name in made)
    results.show(picture, f"Masks that lose one class after another, each above images of the trainings: {shown}")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

"""Ways to tell the network the mask, on equal terms: same data, trainer, time, sampler and judge, several seeds.

Stages: `data` makes phantoms and segmenter, `train` trains (several processes may train different `--rivals` or
`--seeds` at once), `table` generates for held-out masks and compares what is trained. Every stage goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.breast import Trained, Variant, data_settings, held_out_masks, parser, run_stages
from benchmarks.common import Cell, Column, Results, Table, chosen_device, say
from benchmarks.quality import Judge, sample
from benchmarks.seeds import Criterion, over_seeds, ranking, value_of
from monai_segdiff.data import Case
from monai_segdiff.metrics import Estimate, bootstrap_mean


def _concatenated(how: str, **overrides: Any) -> Variant:
    return Variant(f"concatenation, {how}", ["concat.yaml"], overrides, "concat")


RIVALS = {
    "spade": Variant("SPADE, one-hot with known flags (default)"),
    "spade_normalized": Variant(
        "SPADE, scale and shift normalized as in MONAI", overrides={"spade_normalize_modulation": True}
    ),
    "one_hot": _concatenated("one-hot with known flags"),
    "one_hot_no_flags": _concatenated("one-hot without known flags", known_flags=False),
    "ordinal": _concatenated("ids / 255 in one channel (as published)", encoding="ordinal"),
    "bits": _concatenated("bits with known flags", encoding="bits"),
    "controlnet": Variant(
        "ControlNet on a frozen unconditional network, half of the time each",
        ["controlnet.yaml"],
        conditioning="controlnet",
        base_overlays=["unconditional.yaml"],
    ),
}
CRITERIA = (Criterion("failed", False), Criterion("dice", True), Criterion("kid", False))

_MEASURED = ("failed", "dice", "share", "kid")
_TEXT = (
    "The same trainer, data, time, sampler, held-out masks and judge; only how the mask enters the network differs. "
    "SPADE and ControlNet get the one-hot mask with known flags. All learn on masks of which classes were "
    "removed, and are judged on whole ones. The learning rate is constant after its warm-up; time is counted from the "
    "first iteration, and that of ControlNet's frozen network is part of its own."
)
_NOTES = (
    "Figures are means over the trainings, with 95% t intervals over their seeds.",
    "Ranked by failed samples, then Dice, then KID: one rival beats another by the first of these whose difference "
    "(Welch's 95% interval over seeds) leaves out 0. The rank is one more than the number of rivals that beat it.",
)


def columns(classes: Sequence[str]) -> dict[str, Column]:
    """Columns of the table.

    Args:
        classes: names of the classes.
    """
    return {
        "rank": Column("rank", "{:d}"),
        "beaten_by": Column("beaten by"),
        "failed": Column("failed samples", "{:.1%}"),
        "dice": Column("Dice to mask", "{:.3f}"),
        **{f"dice_{name}": Column(f"Dice, {name}", "{:.3f}") for name in classes},
        "share": Column("share of ceiling", "{:.3f}"),
        "kid": Column("KID to held-out real images", "{:.5f}"),
        "trained": Column("images seen", "{:,.0f}"),
        "parameters": Column("weights", "{:,d}"),
        "seconds": Column("seconds per image", "{:.4g}"),
        "seeds": Column("trainings", "{:d}"),
    }


def judged(
    trained: Trained, masks: Sequence[Case], judge: Judge, batch_size: int
) -> tuple[dict[str, Cell], list[Case]]:
    """Generate with a training, and measure.

    Args:
        trained: the training.
        masks: the label maps.
        judge: measures the images.
        batch_size: images sampled at once.

    Returns:
        The figures of its row, and the images.
    """
    sampled = sample(trained.generator, masks, trained.folder / "eval" / "images", batch_size=batch_size)
    measured = judge.measure(sampled.cases, trained.row)
    cells = judge.cells(sampled, measured)
    assert isinstance(cells["dice"], Estimate)
    dice, ceiling = cells["dice"].value, judge.ceiling.value
    cells["share"] = dice / ceiling if dice is not None and ceiling else None
    for index, name in enumerate(judge.reader.classes):
        cells[f"dice_{name}"] = bootstrap_mean(measured.dice[:, index], measured.patients, seed=judge.seed)
    cells |= {
        "trained": trained.facts.images,
        "parameters": trained.parameters,
        "weights": trained.generator.weights_sha256,
    }
    return cells, sampled.cases


def summary(rows: Mapping[str, Sequence[Mapping[str, Cell]]], classes: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """The table's rows from those of single trainings.

    Args:
        rows: the rows of a rival's trainings, by rival.
        classes: names of the classes.
    """
    keys = [*_MEASURED, *(f"dice_{name}" for name in classes), "trained", "seconds"]
    values = {name: {key: [value_of(row[key]) for row in own] for key in keys} for name, own in rows.items()}
    beaten = ranking(values, CRITERIA)
    found: dict[str, dict[str, Cell]] = {}
    for name, own in rows.items():
        found[name] = {
            # One training each decides nothing.
            "rank": 1 + len(beaten[name]) if len(own) > 1 else None,
            "beaten_by": (", ".join(beaten[name]) or "none") if len(own) > 1 else None,
            **{key: over_seeds(values[name][key]) for key in keys},
            "parameters": own[0]["parameters"],
            "seeds": len(own),
        }
        # Their spread over seeds says something of the machine only.
        for key in ("trained", "seconds"):
            cell = found[name][key]
            assert isinstance(cell, Estimate)
            found[name][key] = cell.value
    return dict(sorted(found.items(), key=lambda item: len(beaten[item[0]])))


def _tables(
    names: Sequence[str], classes: Sequence[str], rows: Sequence[str], judge: Judge, seconds: int
) -> list[Table]:
    shown = columns(classes)
    of_one = {key: column for key, column in shown.items() if key not in ("rank", "beaten_by", "seeds")}
    labels = {name: f"{RIVALS[name].label} [{name}]" for name in names}
    return [
        Table(f"{seconds} seconds each", shown, labels, [*_NOTES, *judge.notes]),
        Table("Single trainings, with intervals from resampling patients", of_one, {row: row for row in rows}),
    ]


def _known(results: Results, trained: Trained) -> bool:
    return trained.row in results and results.rows[trained.row].get("weights") == trained.generator.weights_sha256


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    command_line = parser("Ways to tell the network the mask, on equal terms.", "rivals", RIVALS, "rivals")
    command_line.add_argument("--masks", type=int, help="number of held-out masks (default: all)")
    args = command_line.parse_args(argv)
    opened = run_stages(args, RIVALS)
    if opened is None:
        return
    dataset, judge, finished = opened
    masks, classes = held_out_masks(dataset, args.masks), list(dataset.classes)
    settings = data_settings(dataset, masks, args)
    results = Results(
        args.output, "Rival conditionings", _TEXT, settings, [], chosen_device(args.device), args.overwrite
    )
    rows: dict[str, list[Mapping[str, Cell]]] = {}
    shown = masks[: min(8, len(masks))]
    made: dict[str, list[Case]] = {}
    for trained in finished:
        if not _known(results, trained) or trained.name not in made:
            cells, cases = judged(trained, masks, judge, args.batch_size)
            results.add(trained.row, cells)
            made.setdefault(trained.name, cases[: len(shown)])
        rows.setdefault(trained.name, []).append(results.rows[trained.row])
    found = summary(rows, classes)
    results.tables = _tables(list(found), classes, [trained.row for trained in finished], judge, args.seconds)
    for name, cells in found.items():
        results.add(name, cells)
    picture = args.output.with_name(f"{args.output.name}.png")
    judge.picture(shown, {RIVALS[name].label: cases for name, cases in made.items()}, picture)
    results.show(picture, f"From the top: mask, real, {'; '.join(RIVALS[name].label for name in made)}")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

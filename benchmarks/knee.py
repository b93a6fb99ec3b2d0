"""Knee radiographs (arXiv 2404.03541): five networks, Table I, fewer evaluations, and an anatomy that none has seen.

Stages: `data` makes the radiographs, `train` trains (several processes may train different `--networks` at once),
`table` generates for held-out phantoms and for the atlas and compares, which includes how consistent the views of a
volume are, `samplers` samples one network in several ways. Every stage goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bundles import TrainingFacts, train_bundle
from benchmarks.common import Cell, Column, Results, Table, arguments, chosen_device, say
from benchmarks.knee_atlas import make_atlas
from benchmarks.quality import COLUMNS, PAIRED_COLUMNS, Judge, spread_over_patients
from benchmarks.samplers import DIFFERENCE_COLUMNS, PAIRED_DIFFERENCE_COLUMNS, Way, run_model
from monai_segdiff import copy_bundle
from monai_segdiff.data import Case, SegmentationDataset, make_knee_phantoms
from monai_segdiff.evaluation import PairReader, Report, TrainedSegmenter, save_segmenter, train_segmenter
from monai_segdiff.files import atomic_file
from monai_segdiff.generation import TrainedGenerator, collect_masks, load_generator
from monai_segdiff.workflows import compare_variants, load_variants

STAGES = ("data", "train", "table", "samplers")
NETWORKS = {
    "unet_contour": ("unet.yaml", "contour.yaml"),
    "unet_contour_bone": ("unet.yaml", "contour_bone.yaml"),
    "csm": ("csm.yaml",),
    "ctm_contour": ("ctm.yaml", "contour.yaml"),
    "ctm_contour_bone": ("ctm.yaml", "contour_bone.yaml"),
}
"""The networks and the overlays that they are trained with; csm learns no condition and serves both."""

_TABLE = {
    "mae": Column("MAE", "{:.4f}"),
    "mae_sd": Column("SD", "{:.4f}"),
    "mae_published": Column("published MAE", "{:.4f}"),
    "psnr": Column("PSNR in dB", "{:.2f}"),
    "psnr_sd": Column("SD", "{:.2f}"),
    "psnr_published": Column("published PSNR", "{:.2f}"),
    "ssim": Column("SSIM", "{:.3f}"),
    "failed": Column("failed samples", "{:.1%}"),
    "images": Column("images", "{:,d}"),
    "evaluations": Column("evaluations", "{:,d}"),
    "seconds": Column("seconds per image", "{:.3g}"),
}
_DIFFERENCES = {
    "mae": Column("MAE", "{:+.4f}"),
    "psnr": Column("PSNR in dB", "{:+.2f}"),
    "ssim": Column("SSIM", "{:+.4f}"),
}
_FAILED = {
    "not_finite": Column("not finite", "{:.1%}"),
    "noise": Column("noise", "{:.1%}"),
    "blurred": Column("blurred", "{:.1%}"),
    "off_mask": Column("off mask", "{:.1%}"),
    "any": Column("any", "{:.1%}"),
}
_VIEWS = {"deviation": Column("deviation", "{:.2%}"), "sets": Column("sets of views", "{:,d}")}
_TRAINED = {
    "images": Column("images seen", "{:,d}"),
    "hours": Column("hours", "{:.2f}"),
    "rate": Column("images per second", "{:.1f}"),
}
_TEXT = (
    "Table I of arXiv 2404.03541 on phantoms and on an anatomy that no network has seen: radiographs of a CT-like "
    "volume made from the label map of the SPL knee atlas. Every generated image is held to the radiograph that its "
    "mask belongs to; figures in brackets are 95% intervals from resampling patients. Networks and trainings are "
    "smaller than published, and phantoms are not CT: the published figures show the order of size."
)
_SAMPLERS_TEXT = (
    "The network of CTM on contour + bone, sampled in several ways for the same held-out masks from the same starting "
    "noise. The reference is the published way: 500 steps of reverse diffusion with a Langevin corrector, 999 "
    "evaluations. Differences are between images of one mask and one start."
)
_PUBLISHED_WAY, _PUBLISHED_SAMPLING = Way("ve_pc", 500), "published_sampling.yaml"
_STEPS = {"ddpm": (20, 25, 30), "dpmpp_2m": (20, 25, 30), "unipc": (20, 25), "heun": (10, 13, 15)}
"""Ways of 19 to 30 evaluations."""


def open_phantoms(args: argparse.Namespace) -> SegmentationDataset:
    """The phantoms' radiographs, made where they have to be."""
    training = args.patients - args.validation_patients - args.test_patients
    fractions = [count / args.patients for count in (training, args.validation_patients, args.test_patients)]
    folder = args.work / f"phantoms_{args.size}"
    return make_knee_phantoms(folder, args.patients, args.views, args.size, args.seed, fractions)


def train_network(name: str, bundle: Path, dataset: SegmentationDataset, args: argparse.Namespace) -> TrainingFacts:
    """Train one of `NETWORKS` by the bundle's own configuration, or go on with it, unless it is finished."""
    marker = _marker(name, args)
    overrides: dict[str, Any] = {
        "dataset_dir": str(dataset.root),
        "image_size": [args.size, args.size],
        "max_images": args.images,
        "seed": args.seed,
        **json.loads(args.overrides),
    }
    wanted = {"config": args.config, **overrides}
    if marker.is_file():
        found = json.loads(marker.read_text())
        if found["settings"] == wanted:
            return TrainingFacts(**found["facts"])
        raise SystemExit(f"{marker}: trained with other settings; give the same arguments, or another --work")
    say(f"{name}: training")
    facts = train_bundle(bundle, [*filter(None, [args.config]), *NETWORKS[name]], overrides)
    with atomic_file(marker) as temporary:
        temporary.write_text(json.dumps({"settings": wanted, "facts": asdict(facts)}, indent=1))
    return facts


def make_tables(bundle: Path, phantoms: SegmentationDataset, args: argparse.Namespace) -> None:
    """Generate for held-out phantoms and for the atlas with all that is trained, and compare."""
    held_to = yaml.safe_load((bundle / "configs" / "evaluate.yaml").read_text())
    device = chosen_device(args.device)
    generators = load_variants(
        bundle,
        held_to["rows"],
        overlays=held_to["samplings"][args.sampling],
        overrides={"seed": args.seed, "device": str(device)},
    )
    atlas = make_atlas(args.work / f"atlas_{args.size}", args.views, args.size)
    sets = {"phantoms": phantoms} if atlas is None else {"phantoms": phantoms, "atlas": atlas}
    masks = {name: every_nth_view(collect_masks(dataset.root), args.every) for name, dataset in sets.items()}
    results = _results(generators, sets, masks, args)
    for name, dataset in sets.items():
        report = compare_variants(
            generators,
            masks[name],
            dataset.root,
            args.work / f"{name}_{args.size}_{args.sampling}",
            conditions=held_to["conditions"],
            published=held_to["published"] if name == "phantoms" else None,
            batch_size=args.batch_size,
            segmenter=_segmenter(phantoms, args),
            limits=None if name == "phantoms" else phantoms.root,  # how noisy the networks' images should be
            seed=args.seed,
        )
        _add(results, name, report)
        say(report.summary())
    for name in NETWORKS:
        if _marker(name, args).is_file():
            facts = TrainingFacts(**json.loads(_marker(name, args).read_text())["facts"])
            rate = facts.images / (3600 * facts.hours) if facts.hours else None
            results.add(f"trained/{name}", {"images": facts.images, "hours": facts.hours, "rate": rate})
    # The atlas is not ours to show.
    picture = args.output.with_name(f"{args.output.name}.png")
    shutil.copy(args.work / f"phantoms_{args.size}_{args.sampling}" / "methods.png", picture)
    shown = ", then ".join(
        ", ".join([condition, *(name.rpartition(" / ")[2] for name in names)])
        for condition, names in groupby(generators, key=lambda name: name.rpartition(" / ")[0])
    )
    results.show(picture, f"Held-out phantoms, from the top: {shown}; at the bottom the real radiograph")
    say(f"results: {results.page}")


def compare_samplers(bundle: Path, phantoms: SegmentationDataset, args: argparse.Namespace) -> None:
    """Sample the network of CTM on contour + bone in several ways."""
    device = chosen_device(args.device)
    common = {"seed": args.seed, "device": str(device)}

    def load(overrides: Mapping[str, Any]) -> TrainedGenerator:
        if overrides.get("sampler") == _PUBLISHED_WAY.sampler:  # with its own noise levels, too
            return load_generator(bundle, overlays=[_PUBLISHED_SAMPLING], overrides=common)
        return load_generator(bundle, overrides={**common, **overrides})

    ways = [_PUBLISHED_WAY, *(Way(sampler, n) for sampler, numbers in _STEPS.items() for n in numbers)]
    masks = spread_over_patients(every_nth_view(collect_masks(phantoms.root), args.every))[: args.sampler_masks]
    judge = Judge(phantoms, args.segmenter_images, args.work / "segmenters", args.seed, paired=True)
    columns = {
        **COLUMNS,
        **PAIRED_COLUMNS,
        **PAIRED_DIFFERENCE_COLUMNS,
        "kid_difference": DIFFERENCE_COLUMNS["kid_difference"],
    }
    results = Results(
        args.output.with_name(f"{args.output.name}_samplers"),
        "Knee radiographs: fewer evaluations",
        _SAMPLERS_TEXT,
        {
            **_data_settings({"phantoms": phantoms}, {"phantoms": masks}, args),
            "weights": load({}).weights_sha256,
            "autocast": load({}).settings["amp_dtype"],
            "device": str(device),
        },
        [Table("CTM, contour + bone", columns, {way.row("ctm"): way.label for way in ways}, judge.notes)],
        device,
        args.overwrite,
    )
    made = run_model(
        "ctm", ways, load, masks, judge, results, args.work / f"samplers_{args.size}", batch_size=args.batch_size
    )
    shown = masks[:8]
    picture = args.output.with_name(f"{args.output.name}_samplers.png")
    judge.picture(shown, {name: cases[: len(shown)] for name, cases in made.items()}, picture)
    results.show(picture, f"From the top: mask, real, {'; '.join(way.label for way in ways)}")
    say(f"results: {results.page}")


def every_nth_view(masks: Sequence[Case], step: int) -> list[Case]:
    """Of each patient every nth view, so that those that are left go around the patient, too."""
    ordered = sorted(masks, key=lambda case: (case.patient, case.id))
    return [case for _, views in groupby(ordered, key=lambda case: case.patient) for case in list(views)[::step]]


def _segmenter(phantoms: SegmentationDataset, args: argparse.Namespace) -> Path:
    """The segmenter of the phantoms, which reads the atlas, too: that has no training cases."""
    assert phantoms.intensity_range is not None
    reader = PairReader(phantoms.classes, phantoms.intensity_range, phantoms.spatial_dims)
    cases, cache = phantoms.splits["training"], args.work / "segmenters"
    segmenter = train_segmenter(cases, reader, args.segmenter_images, args.seed, cache_dir=cache)
    assert isinstance(segmenter, TrainedSegmenter)
    file = args.work / "segmenter_of_the_phantoms.pt"
    save_segmenter(segmenter, file)
    return file


def _marker(name: str, args: argparse.Namespace) -> Path:
    return args.work / "trained" / f"{name}.json"


def _add(results: Results, data: str, report: Report) -> None:
    for section in report.sections:
        for row in section.rows:
            cells: dict[str, Cell] = dict(row.cells)
            results.add(f"{data}/{section.key}/{row.key}", cells)


def _data_settings(
    sets: Mapping[str, SegmentationDataset], masks: Mapping[str, Sequence[Case]], args: argparse.Namespace
) -> dict[str, Any]:
    counts = {
        split: f"{len(cases)} images of {len({case.patient for case in cases})} patients"
        for split, cases in sets["phantoms"].splits.items()
    }
    used = {name: f"{len(m)} images of {len({case.patient for case in m})} patients" for name, m in masks.items()}
    return {
        "data": {name: dataset.name for name, dataset in sets.items()},
        "phantoms, split by patient": counts,
        "images generated for": used,
        "size": f"{args.size}x{args.size}",
        "sizes of network and training": args.config,
        "seed": args.seed,
    }


def _results(
    generators: Mapping[str, TrainedGenerator],
    sets: Mapping[str, SegmentationDataset],
    masks: Mapping[str, Sequence[Case]],
    args: argparse.Namespace,
) -> Results:
    pairs = [(a, b) for i, a in enumerate(generators) for b in list(generators)[i + 1 :]]
    same = [(a, b) for a, b in pairs if a.rpartition(" / ")[0] == b.rpartition(" / ")[0]]
    differences = [f"{b} minus {a.rpartition(' / ')[2]}" for a, b in same]
    conditions = list(dict.fromkeys(name.rpartition(" / ")[0] for name in generators))
    judged = [*generators, *(f"{condition} / held-out real images" for condition in conditions)]
    tables = []
    for data, title in {"phantoms": "held-out phantoms", "atlas": "the atlas, which no network has seen"}.items():
        for section, heading, columns, rows in (
            ("table", "Table I", _TABLE, list(generators)),
            ("differences", "Paired differences", _DIFFERENCES, differences),
            ("failed", "Failed samples", _FAILED, judged),
            ("views", "Consistency of the views of a volume", _VIEWS, [*generators, "real images"]),
        ):
            if data == "atlas" and section == "table":
                columns = {key: column for key, column in columns.items() if not key.endswith("_published")}
            if data in sets and rows:
                tables.append(Table(f"{heading}: {title}", columns, {f"{data}/{section}/{row}": row for row in rows}))
    tables.append(Table("Trainings", _TRAINED, {f"trained/{name}": name for name in NETWORKS}))
    settings = {
        **_data_settings(sets, masks, args),
        "sampling": args.sampling,
        "weights": {name: generator.weights_sha256[:12] for name, generator in generators.items()},
        "device": str(chosen_device(args.device)),
    }
    return Results(args.output, "Knee radiographs", _TEXT, settings, tables, chosen_device(args.device), args.overwrite)


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Knee radiographs: three methods, two conditions, and fewer evaluations.", "knee")
    parser.add_argument("--stage", nargs="+", choices=(*STAGES, "all"), default=["all"], help="what to do")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="which to train")
    parser.add_argument("--work", type=Path, default=Path("runs/knee"), help="folder for data, bundle and images")
    parser.add_argument("--patients", type=int, default=70, help="number of phantom patients")
    parser.add_argument("--validation-patients", type=int, default=5, help="of these, for validation")
    parser.add_argument("--test-patients", type=int, default=20, help="of these, for test")
    parser.add_argument("--views", type=int, default=60, help="views of each patient")
    parser.add_argument("--size", type=int, default=64, help="pixels per axis")
    parser.add_argument("--images", type=int, default=54000, help="images that each network is trained with")
    parser.add_argument("--config", default="cpu_demo.yaml", help="overlay with the sizes; '' for the published ones")
    parser.add_argument("--overrides", default="{}", help="values of further ids of train.yaml, as JSON")
    parser.add_argument("--every", type=int, default=3, help="generate for every nth view of each held-out patient")
    parser.add_argument("--sampling", choices=("fast", "published"), default="fast", help="how tables are sampled")
    parser.add_argument("--sampler-masks", type=int, default=200, help="masks that samplers are compared on")
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    parser.add_argument("--segmenter-images", type=int, help="segmenter's training (default: as evaluate)")
    parser.add_argument("--device", help="where to sample (default: a GPU if there is one)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    args.work = args.work.resolve()
    stages = STAGES if "all" in args.stage else args.stage
    phantoms = open_phantoms(args)
    bundle = copy_bundle("knee_drr", args.work / "knee_drr")
    if "train" in stages:
        for name in args.networks:
            facts = train_network(name, bundle, phantoms, args)
            say(f"{name}: {facts.images:,d} images in {facts.hours:.2f} hours")
    if "table" in stages:
        make_tables(bundle, phantoms, args)
    if "samplers" in stages:
        compare_samplers(bundle, phantoms, args)


if __name__ == "__main__":
    main()

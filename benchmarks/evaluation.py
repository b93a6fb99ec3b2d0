"""The evaluation itself, measured: its speed and memory, whether the memorized share is calibrated, and utility."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from benchmarks.common import RESULTS, Cell, Column, Results, Table, say
from benchmarks.publish import publish
from monai_segdiff.data import Case, SegmentationDataset, make_ct_phantoms, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import PairReader, TrainedSegmenter, evaluate, save_segmenter, train_segmenter
from monai_segdiff.evaluation.measure.extras import pixels
from monai_segdiff.evaluation.measure.measure import Batch
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.metrics import Estimate, memorized_share, nearest_distances

__all__ = ["calibration_row", "main", "measure_speed"]

_SLICES = 4  # of each phantom
_COPIES, _NOISE = 0.1, 0.02  # share of planted copies, and noise on them in shares of the range
_SPACES = ("features", "pixels")
_BATCH = 64


def measure_speed(
    number: int, size: int, work: Path, segmenter_images: int, threads: int, seed: int
) -> dict[str, Cell]:
    """Run the command on as many real as synthetic images, with a segmenter from a file.

    Args:
        number: images on either side; half of the real ones are for training.
        size: pixels per axis.
        work: folder for the data, which are made once.
        segmenter_images: length of the segmenter's training, which is not part of the time.
        threads: for PyTorch.
        seed: of the phantoms and the noise.

    Returns:
        Seconds, processor seconds, and the largest memory that the process held.
    """
    real, synthetic, segmenter = _speed_data(number, size, work, segmenter_images, seed)
    output = work / f"report_{number}"
    command = [sys.executable, "-m", "monai_segdiff", "evaluate", "--real", str(real), "--synthetic", str(synthetic)]
    command += ["--output", str(output), "--segmenter", str(segmenter)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    return {
        "images": number,
        "seconds": seconds,
        "processor": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 2**20,
    }


def calibration_row(
    seed: int, number: int, size: int, segmenter_images: int, work: Path, keep: bool = False
) -> dict[str, Cell]:
    """The memorized share of new phantoms, and of new phantoms among which copies of training images are planted.

    Args:
        seed: of everything.
        number: training, held-out and synthetic images, each.
        size: pixels per axis.
        segmenter_images: length of the training of the segmenter whose features are compared.
        work: folder for the phantoms.
        keep: leave them there.

    Returns:
        The estimates for "new" and "copies" in each space.
    """
    root = work / f"memorization_{seed}"
    dataset = make_ct_phantoms(
        root, 3 * number // _SLICES, size, 2, _SLICES, seed=seed, fractions=(1 / 3, 1 / 3, 1 / 3), progress=False
    )
    assert dataset.intensity_range is not None
    reader = PairReader(dataset.classes, dataset.intensity_range, 2)
    segmenter = train_segmenter(
        dataset.splits["training"], reader, segmenter_images, seed, cache_dir=root / "segmenter", progress=False
    )
    assert isinstance(segmenter, TrainedSegmenter)
    images = {split: torch.stack([reader.image(case) for case in cases]) for split, cases in dataset.splits.items()}
    planted = round(_COPIES * len(images["test"]))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images["training"]), generator=generator)[:planted]
    copies = images["training"][chosen]
    noise = 2 * _NOISE * torch.randn(copies.shape, generator=generator)  # images span 2
    mixed = torch.cat([(copies + noise).clamp(-1, 1), images["test"][planted:]])
    groups = {split: [case.patient for case in cases] for split, cases in dataset.splits.items()}
    row: dict[str, Cell] = {"images": len(images["test"])}
    for space in _SPACES:
        located = {name: _located(x, segmenter, space) for name, x in {**images, "copies": mixed}.items()}
        near = {name: nearest_distances(x, located["training"])[0] for name, x in located.items()}
        for name, made in (("new", "test"), ("copies", "copies")):
            row[f"{name}_{space}"] = memorized_share(
                near[made], near["validation"], groups["test"], groups["validation"], seed=seed
            )
    if not keep:
        shutil.rmtree(root)
    return row


def _located(images: torch.Tensor, segmenter: TrainedSegmenter, space: str) -> torch.Tensor:
    if space == "features":
        return torch.cat([segmenter.features(part) for part in images.split(_BATCH)])
    finite = torch.ones(len(images), dtype=torch.bool)
    return pixels(Batch((), images, torch.zeros_like(images), finite))


def _speed_data(number: int, size: int, work: Path, segmenter_images: int, seed: int) -> tuple[Path, Path, Path]:
    """Phantoms, two noised copies of each held-out one as synthetic images, and a segmenter."""
    real, synthetic = (work / f"{name}_{number}_{size}" for name in ("real", "synthetic"))
    file = work / f"segmenter_{number}_{size}.pt"
    dataset = make_ct_phantoms(real, number // _SLICES, size, 2, _SLICES, seed=seed, fractions=(0.5, 0.25, 0.25))
    if not (synthetic / "dataset.json").is_file():
        _write_copies(synthetic, dataset, number, seed)
    if not file.is_file():
        assert dataset.intensity_range is not None
        reader = PairReader(dataset.classes, dataset.intensity_range, 2)
        segmenter = train_segmenter(dataset.splits["training"], reader, segmenter_images, cache_dir=work / "cache")
        assert isinstance(segmenter, TrainedSegmenter)
        save_segmenter(segmenter, file)
    return real, synthetic, file


def _write_copies(root: Path, real: SegmentationDataset, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    held_out = real.splits["validation"] + real.splits["test"]
    cases = []
    for index in range(number):
        case, k = held_out[index % len(held_out)], index // len(held_out)
        assert case.image is not None
        assert case.label is not None
        image = nib.load(case.image)
        files = [root / folder / f"{case.id}_{k:03d}.nii.gz" for folder in ("imagesTr", "labelsTr")]
        noised = image.get_fdata() + rng.normal(0, 3, image.shape)
        save_nifti(files[0], noised.astype(np.float32), image.affine)
        shutil.copy(case.label, _made(files[1]))
        cases.append(Case(f"{case.id}_{k:03d}", files[0], files[1], case.patient))
    write_dataset(root, replace(real, root=root, name="noised copies", splits={"training": cases}))


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _speed(args: argparse.Namespace) -> None:
    rows = {str(number): f"{number} + {number} images" for number in args.numbers}
    columns = {
        "seconds": Column("seconds", "{:.0f}"),
        "processor": Column("processor seconds", "{:.0f}"),
        "memory": Column("most memory in GiB", "{:.2f}"),
    }
    notes = ["Half of the real images are for training, the others held out. The segmenter is read from a file."]
    results = Results(
        args.output / "evaluation_speed",
        "Speed and memory of the evaluation",
        "`evaluate` on CT phantoms from the command line, everything but `--utility` and `--radiomics`, the start of "
        "the process included.",
        {"size": args.size, "threads": args.threads, "seed": args.seed},
        [Table("Speed", columns, rows, notes)],
        overwrite=args.overwrite,
    )
    for number in args.numbers:
        if str(number) not in results:
            say(f"evaluating {number} + {number} images")
            cells = measure_speed(number, args.size, args.work, args.segmenter_images, args.threads, args.seed)
            results.add(str(number), cells)


def _memorization(args: argparse.Namespace) -> None:
    seeds = range(args.seed, args.seed + args.seeds)
    columns = {
        f"{name}_{space}": Column(f"{label}, {'features' if space == 'features' else 'pixels'}", "{:.1%}")
        for name, label in (("new", "new phantoms"), ("copies", "with 10% copies"))
        for space in _SPACES
    }
    summary = {
        "held": Column("intervals that hold 0", "{:d}"),
        "above": Column("intervals above 0", "{:d}"),
        "mean": Column("mean share", "{:.2%}"),
        "seeds": Column("seeds", "{:d}"),
    }
    labels = {f"summary_{key}": column.title.replace(", ", " in the space of ") for key, column in columns.items()}
    results = Results(
        args.output / "memorization",
        "Is the memorized share calibrated?",
        f"CT phantoms, as many training, held-out and synthetic images, {_SLICES} of each patient. Synthetic ones are "
        f"of new patients, for which the share is 0; then {_COPIES:.0%} of them are replaced by training images with "
        f"noise of a standard deviation of {_NOISE} of the range, for which it is about {0.95 * _COPIES:.1%}. Features "
        "are those of a segmenter trained on the training images.",
        {
            "number": args.number,
            "size": args.memorization_size,
            "segmenter_images": args.segmenter_images,
            "seed": args.seed,
        },
        [
            Table("Over all seeds", summary, labels),
            Table("Memorized share by seed", columns, {str(seed): str(seed) for seed in seeds}),
        ],
        overwrite=args.overwrite,
    )
    for seed in seeds:
        if str(seed) not in results:
            say(f"seed {seed}")
            size = args.memorization_size
            results.add(str(seed), calibration_row(seed, args.number, size, args.segmenter_images, args.work))
        _summarize(results, columns, [str(done) for done in seeds if str(done) in results])


def _summarize(results: Results, columns: dict[str, Column], done: Sequence[str]) -> None:
    for key in columns:
        found = [cell for seed in done if isinstance(cell := results.rows[seed][key], Estimate)]
        known = [(e.low, e.value, e.high) for e in found if e.low is not None and e.high is not None]
        cells: dict[str, Cell] = {
            "held": sum(low <= 0 <= high for low, _, high in known),
            "above": sum(low > 0 for low, _, _ in known),
            "mean": float(np.mean([value for _, value, _ in known])) if known else None,
            "seeds": len(known),
        }
        results.add(f"summary_{key}", cells)


def _utility(args: argparse.Namespace) -> None:
    if args.bundle is None or args.dataset is None:
        raise SystemExit("utility needs a trained bundle and its data set: give --bundle and --dataset")
    generator = load_generator(args.bundle, overrides={"seed": args.seed})
    masks = collect_masks(args.dataset, "training")
    synthetic = args.work / "utility_images"
    say(f"generating {args.per_mask} images for each of {len(masks)} training masks")
    generate_dataset(generator, masks, synthetic, per_mask=args.per_mask)
    report = evaluate(
        args.dataset, synthetic, args.work / "utility_report", seed=args.seed, utility=True, utility_seeds=args.seeds
    )
    print(report.summary())
    publish(
        args.work / "utility_report",
        "utility",
        "Utility of synthetic images on phantoms",
        f"Images for the training masks by the bundle {generator.name}; segmenters trained on real, on synthetic and "
        "on both kinds of images.",
        args.output,
    )


_STAGES = {"speed": _speed, "memorization": _memorization, "utility": _utility}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.evaluation", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--stage", choices=tuple(_STAGES), required=True, help="what to measure")
    parser.add_argument("--numbers", type=int, nargs="+", default=[250, 1000], help="speed: images on either side")
    parser.add_argument("--size", type=int, default=128, help="speed: pixels per axis")
    parser.add_argument("--threads", type=int, default=2, help="speed: threads for PyTorch")
    parser.add_argument("--number", type=int, default=500, help="memorization: images of each kind")
    parser.add_argument("--memorization-size", type=int, default=48, help="memorization: pixels per axis")
    parser.add_argument("--segmenter-images", type=int, default=2000, help="length of the segmenter's training")
    parser.add_argument("--seeds", type=int, default=20, help="memorization and utility: number of seeds")
    parser.add_argument("--bundle", type=Path, help="utility: a trained bundle")
    parser.add_argument("--dataset", type=Path, help="utility: the data set that it was trained on")
    parser.add_argument("--per-mask", type=int, default=1, help="utility: images for each training mask")
    parser.add_argument("--work", type=Path, default=Path("runs/evaluation"), help="where data go")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result files")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything")
    parser.add_argument("--overwrite", action="store_true", help="discard results that were made with other arguments")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    args = _parser().parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    _STAGES[args.stage](args)


if __name__ == "__main__":
    main()

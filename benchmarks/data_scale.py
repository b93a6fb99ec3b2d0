"""What large data sets take: memory and time of preparing, of starting a training, and of an evaluation."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from benchmarks.common import Cell, Column, Results, Table, arguments, say
from monai_segdiff.bundle import copy_bundle
from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.data.layout import write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.digests import digest_of, write_digests
from monai_segdiff.files import atomic_file

_MIB = 2**20
_COST = {
    "seconds": Column("seconds", "{:,.0f}"),
    "cpu": Column("CPU seconds", "{:,.0f}"),
    "rss": Column("largest process, MiB", "{:,.0f}"),
    "load": Column("load of the machine", "{:.1f}"),
}
_START = {
    "first": Column("first step done, seconds", "{:,.0f}"),
    "cpu": Column("CPU seconds until then", "{:,.0f}"),
    "rss": Column("peak RSS, MiB", "{:,.0f}"),
    "pss": Column("PSS at the end, MiB", "{:,.0f}"),
    "later": Column("seconds a step afterwards", "{:.2f}"),
    "load": Column("load of the machine", "{:.1f}"),
}
_TEXT = (
    "Data sets are made of few different images, which hard links repeat: each is a file of its own to every program, "
    "with a name, a line in `dataset.json` and one in `SHA256SUMS`, but the system keeps its bytes in memory once. "
    "Memory of a process is its peak resident set; of its proportional set (PSS) pages that processes share count in "
    "parts. The load, the number of processes that wanted one of the machine's cores, stands beside the times."
)


class FirstSteps:
    """Handler that writes down when steps were done and what memory they took, and ends the training after some.

    Args:
        file: where to, with the number of the process before its ending.
        steps: how many.
    """

    def __init__(self, file: str, steps: int) -> None:
        rank = os.environ.get("RANK", "0")
        self.file, self.steps = Path(file).with_suffix(f".{rank}.json"), steps
        self.times: list[float] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Note one step."""
        self.times.append(time.time())
        if len(self.times) == 1:
            self.cpu = time.process_time()
        if len(self.times) == self.steps:
            found = {"times": self.times, "cpu": self.cpu, "rss": _peak(resource.RUSAGE_SELF), "pss": _pss()}
            with atomic_file(self.file) as temporary:
                temporary.write_text(json.dumps(found))
            engine.terminate()


def _peak(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def _pss() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def make_set(root: Path, counts: dict[str, int], size: int, different: int, seed: int) -> Path:
    """Write a data set whose images repeat, by hard links.

    Args:
        root: its folder.
        counts: images by split.
        size: pixels per axis.
        different: number of different images.
        seed: of their content.
    """
    shutil.rmtree(root, ignore_errors=True)
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij"))
    digests: dict[str, str] = {}
    originals: list[tuple[Path, Path, str, str]] = []
    for number in range(different):
        label = np.zeros((size, size), np.uint8)
        for index in (1, 2):
            center, radius = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.15, 0.35)
            label[np.square(grid - center[:, None, None]).sum(0) < radius**2] = index
        image = (label * 100 + rng.normal(0, 15, label.shape)).astype(np.float32)
        files = [root / ".different" / f"{kind}{number}.nii.gz" for kind in ("image", "label")]
        for file, array in zip(files, (image, label), strict=True):
            save_nifti(file, array, np.eye(4))
        originals.append((*files, digest_of(files[0]), digest_of(files[1])))
    splits: dict[str, list[Case]] = {}
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for split, count in counts.items():
        for number in range(count):
            image, label, *hashes = originals[number % different]
            name = f"{split}{number // 40:05d}_slice{number % 40:03d}"
            files = [root / kind / f"{name}.nii.gz" for kind in ("images", "labels")]
            for file, source, digest in zip(files, (image, label), hashes, strict=True):
                os.link(source, file)
                digests[file.relative_to(root).as_posix()] = digest
            splits.setdefault(split, []).append(Case(name, *files, f"{split}{number // 40}"))
    shutil.rmtree(root / ".different")
    classes: dict[str, int | list[int]] = {"one": 1, "two": 2}
    settings = {"made": "benchmark", "counts": counts, "seed": seed}
    dataset = SegmentationDataset(root, "made", classes, splits, (-50.0, 250.0), 2, "by patient", settings=settings)
    write_dataset(root, dataset)
    write_digests(root, digests)
    return root


def run(command: Sequence[str], folder: Path) -> dict[str, Cell]:
    """Run a command, and say what it took."""
    say(" ".join(command))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    with open(folder / "log.txt", "w") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: see {folder / 'log.txt'}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.time() - start, "cpu": cpu, "rss": used.ru_maxrss / 1024, "load": os.getloadavg()[0]}


def measure_training(args: argparse.Namespace, work: Path) -> dict[str, Cell]:
    """Start a training of two processes, of the CT bundle with a small network, and end it after some steps."""
    held_out = max(1, args.slices // 10)
    counts = {"training": args.slices - held_out, "validation": held_out}
    data = make_set(work / "train_set", counts, args.size, args.different, args.seed)
    bundle = work / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    copy_bundle("ct_organ", bundle)
    overlay = {
        "dataset_dir": str(data),
        "image_size": [args.size, args.size],
        "channels": [8, 8, 16, 16, 16],  # attention in the middle is then on 16x16 pixels
        "attention_levels": [False] * 5,
        "num_head_channels": 8,
        "norm_num_groups": 8,
        "num_res_blocks": 1,
        "batch_size": args.batch_size,
        "max_epochs": 1,
        "val_interval": 100,
        "preview_interval": 100,
        "+train#handlers": [
            {"_target_": "benchmarks.data_scale.FirstSteps", "file": str(work / "steps.json"), "steps": args.steps}
        ],
    }
    (bundle / "configs" / "scale.json").write_text(json.dumps(overlay))
    configs = [f"configs/{name}" for name in ("train.yaml", "multi_gpu_train.yaml", "scale.json")]
    start = time.time()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run"]
    cost = run([sys.executable, *command, "training", "--config_file", str(configs)], bundle)
    found = [json.loads((work / f"steps.{rank}.json").read_text()) for rank in range(2)]
    later = [(one["times"][-1] - one["times"][0]) / max(1, len(one["times"]) - 1) for one in found]
    return {
        "first": max(one["times"][0] for one in found) - start,
        "later": max(later),
        **{key: max(one[key] for one in found) for key in ("cpu", "rss", "pss")},
        "load": cost["load"],
    }


def measure_evaluation(args: argparse.Namespace, work: Path, number: int) -> dict[str, Cell]:
    """Evaluate as many synthetic as held-out real images of 64x64."""
    real = make_set(work / "real", {"training": 200, "test": number}, 64, args.different, args.seed)
    synthetic = make_set(work / "synthetic", {"training": number}, 64, args.different, args.seed + 1)
    shutil.rmtree(work / "report", ignore_errors=True)
    code = "import sys; from monai_segdiff.evaluation import evaluate; evaluate(*sys.argv[1:], segmenter_images=400)"
    return run([sys.executable, "-c", code, str(real), str(synthetic), str(work / "report")], work)


def measure_preparing(source: Path, options: Sequence[str], work: Path, workers: int) -> dict[str, Cell]:
    """Prepare a folder with some workers."""
    shutil.rmtree(work / "prepared", ignore_errors=True)
    command = [sys.executable, "-m", "monai_segdiff", "prepare", str(source), str(work / "prepared"), *options]
    return run([*command, "--workers", str(workers)], work)


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Memory and time that large data sets take.", "data_scale")
    parser.add_argument("--work", type=Path, required=True, help="folder for data sets and trainings, on a local disk")
    parser.add_argument("--slices", type=int, default=100_000, help="slices of the training's data set")
    parser.add_argument("--size", type=int, default=256, help="their pixels per axis")
    parser.add_argument("--different", type=int, default=100, help="different images in a data set")
    parser.add_argument("--batch-size", type=int, default=2, help="images in a batch of each process")
    parser.add_argument("--steps", type=int, default=10, help="training steps")
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 3000, 10_000], help="images of an evaluation")
    parser.add_argument("--volumes", type=Path, help="data set to prepare with one and with two workers")
    parser.add_argument("--options", default="--axis 1 --size 64 --percentiles 0.5 99.5", help="of prepare")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    training = f"{args.slices:,d} slices of {args.size}x{args.size}, 2 processes"
    measures: dict[str, tuple[str, Callable[[], dict[str, Cell]]]] = {
        "training": (training, lambda: measure_training(args, work))
    }
    for number in args.images:
        measures[f"evaluate {number}"] = (
            f"{number:,d} real and {number:,d} synthetic images",
            lambda number=number: measure_evaluation(args, work, number),
        )
    if args.volumes is not None:
        for workers in (1, 2):
            measures[f"prepare {workers}"] = (
                f"`prepare {args.options} --workers {workers}`",
                lambda workers=workers: measure_preparing(args.volumes.resolve(), args.options.split(), work, workers),
            )
    labels = {key: label for key, (label, _) in measures.items()}
    tables = [
        Table("A training starts", _START, {"training": labels["training"]}),
        Table("Evaluation", _COST, {key: label for key, label in labels.items() if key.startswith("evaluate")}),
        Table("Preparing", _COST, {key: label for key, label in labels.items() if key.startswith("prepare")}),
    ]
    settings: dict[str, Any] = {
        key: getattr(args, key) for key in ("slices", "size", "different", "batch_size", "steps", "seed")
    }
    results = Results(
        args.output, "Data at scale", _TEXT, settings, [table for table in tables if table.rows], None, args.overwrite
    )
    for key, (label, measure) in measures.items():
        if key in results:
            say(f"{label}: measured before")
            continue
        say(label)
        results.add(key, measure())
        say(", ".join(f"{name} {value}" for name, value in results.rows[key].items()))
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

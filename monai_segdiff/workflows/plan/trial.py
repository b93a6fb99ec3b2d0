"""A few real steps of a plan, timed, in a process of its own: `python -m monai_segdiff.workflows.plan.trial`."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.errors import unwrapped_errors

__all__ = ["Trial", "run_trial"]

_WARM_UP = 3  # steps that are not counted
_FEWEST, _MOST = 8, 40  # steps that are
_SECONDS = 12.0  # for the counted steps, once there are enough of them
_NUM_STEPS = 2  # of the sampler in a trial
_SEGMENTER_STEPS = 30
_MEMORY_SIGNS = ("out of memory", "MemoryError", "DefaultCPUAllocator", "not enough memory")


@dataclass(frozen=True)
class Trial:
    """What was measured; times are medians, warm-up excluded.

    Args:
        step_seconds: a step of the training, loading and encoding included.
        batch_size: images of a step.
        network_seconds: one evaluation of the network on as many images as are sampled at once.
        sampled_at_once: how many these are.
        read_seconds: reading one prepared image and its label map.
        validate_seconds: a step of validation, of `batch_size` images.
        start_seconds: from the start of the process to its first step.
        peak_bytes: the most memory that the process took.
        gpu_bytes: the most memory that it took of the GPU; 0 without one.
        segmenter_seconds: a step of the segmenter's training.
        segmenter_batch: images of it.
    """

    step_seconds: float
    batch_size: int
    network_seconds: float
    sampled_at_once: int
    read_seconds: float
    validate_seconds: float
    start_seconds: float
    peak_bytes: int
    gpu_bytes: int
    segmenter_seconds: float
    segmenter_batch: int


def run_trial(bundle: Path, dataset: Path, values: Mapping[str, Any], sampled_at_once: int) -> Trial:
    """Time a few steps of a training, of sampling and of the segmenter, in a process of its own.

    Args:
        bundle: the bundle's folder.
        dataset: a small data set, prepared as the plan has it.
        values: the training's part of the plan.
        sampled_at_once: images of a batch in generation.

    Raises:
        MemoryError: if there is not enough memory for a step.
        RuntimeError: if it fails otherwise.
    """
    job = {"bundle": str(bundle), "dataset": str(dataset), "values": dict(values), "sampled_at_once": sampled_at_once}
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        if any(sign in done.stderr for sign in _MEMORY_SIGNS) or done.returncode in (-9, 137):
            raise MemoryError("a step of the planned training takes more memory than there is")
        last = (done.stderr.strip().splitlines() or ["it was stopped"])[-1]
        raise RuntimeError(f"a trial of the planned training failed: {last}")
    return Trial(**json.loads(done.stdout.splitlines()[-1]))


def _measure(job: Mapping[str, Any], started: float) -> Trial:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(Path(job["bundle"]) / "configs" / "train.yaml"))
    own = {"bundle_root": job["bundle"], "dataset_dir": job["dataset"], "verify_data": False}
    parser.update({**job["values"], **own})
    device = parser.get_parsed_content("device")
    step_seconds, start_seconds = _train(parser, started)
    batch = next(iter(parser.get_parsed_content("validate#dataloader")))
    return Trial(
        step_seconds=step_seconds,
        batch_size=int(parser["batch_size"]),
        network_seconds=_sample(parser, job["sampled_at_once"], batch["label"][:1]),
        sampled_at_once=job["sampled_at_once"],
        read_seconds=_read(parser),
        validate_seconds=_validate(parser),
        start_seconds=start_seconds,
        peak_bytes=_peak(),
        gpu_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
        **_segment(Path(job["dataset"])),
    )


def _train(parser: Any, started: float) -> tuple[float, float]:
    """Seconds of a step, and until the first one."""
    from ignite.engine import Events
    from monai.engines import SupervisedTrainer

    parts = ("device", "network", "optimizer", "loss_function", "prepare_batch")
    engine = SupervisedTrainer(
        max_epochs=10**6,
        train_data_loader=parser.get_parsed_content("train#dataloader"),
        inferer=parser.get_parsed_content("train#inferer"),
        optim_set_to_none=True,
        **{part: parser.get_parsed_content(part) for part in parts},
    )
    parser.get_parsed_content("ema").attach(engine)
    times: list[float] = []

    @engine.on(Events.ITERATION_COMPLETED)
    def _count() -> None:
        times.append(_now(engine.state.device))
        counted = len(times) - _WARM_UP
        if counted >= _MOST or (counted >= _FEWEST and times[-1] - times[_WARM_UP - 1] > _SECONDS):
            engine.terminate()

    before = time.monotonic()
    engine.run()
    seconds = [later - earlier for earlier, later in zip(times[_WARM_UP - 1 :], times[_WARM_UP:], strict=False)]
    return statistics.median(seconds), before - started


def _sample(parser: Any, number: int, condition: torch.Tensor) -> float:
    """Seconds of one evaluation of the network within sampling."""
    inferer, device = parser.get_parsed_content("inferer"), parser.get_parsed_content("device")
    network = parser.get_parsed_content("ema").network
    inferer.num_steps = _NUM_STEPS
    conditions = condition.expand(number, *condition.shape[1:]).to(device)
    seconds = []
    for _ in range(3):
        before = _now(device)
        inferer(inputs=conditions, network=network, indices=list(range(number)))
        seconds.append((_now(device) - before) / _NUM_STEPS)
    return statistics.median(seconds[1:])


def _read(parser: Any) -> float:
    items, read = parser.get_parsed_content("dataset_info").items("training")[:20], parser.get_parsed_content("load")
    seconds = []
    for item in items:
        before = time.monotonic()
        read(item)
        seconds.append(time.monotonic() - before)
    return statistics.median(seconds)


def _validate(parser: Any) -> float:
    device, network = parser.get_parsed_content("device"), parser.get_parsed_content("ema").network.eval()
    prepare, inferer = parser.get_parsed_content("prepare_batch"), parser.get_parsed_content("validate#inferer")
    seconds = []
    loader = parser.get_parsed_content("validate#dataloader")
    for batch in [next(iter(loader))] * 4:
        before = _now(device)
        with torch.no_grad():
            inputs, _, args, kwargs = prepare(batch, device, False)
            inferer(inputs, network, *args, **kwargs)
        seconds.append((_now(device) - before) / len(batch["image"]))
    return statistics.median(seconds[1:]) * int(parser["batch_size"])


def _segment(dataset: Path) -> dict[str, Any]:
    from monai_segdiff.evaluation.measure.inputs import read_inputs
    from monai_segdiff.evaluation.readers.fitting import batch_of
    from monai_segdiff.evaluation.readers.train_segmenter import train_segmenter

    inputs = read_inputs(dataset, dataset)
    size = batch_of(inputs.real.spatial_dims or 2, len(inputs.training))
    seconds = []
    for steps in (_WARM_UP, _SEGMENTER_STEPS):
        before = time.monotonic()
        train_segmenter(
            inputs.training, inputs.real_reader, steps * size, cache_dir=dataset.parent / "segmenter", progress=False
        )
        seconds.append(time.monotonic() - before)
    return {
        "segmenter_seconds": max(0.0, seconds[1] - seconds[0]) / (_SEGMENTER_STEPS - _WARM_UP),
        "segmenter_batch": size,
    }


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _peak() -> int:
    if platform.system() == "Windows":
        return 0  # not told by the standard library
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if platform.system() == "Darwin" else used * 1024


def main() -> int:
    """Measure what standard input asks for, and write what was found as the last line of standard output."""
    started = time.monotonic()
    logging.disable(logging.WARNING)
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr), unwrapped_errors():
        found = _measure(job, started)
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

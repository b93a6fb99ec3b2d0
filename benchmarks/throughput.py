"""Images per second, share of the chip's peak and memory of the published setting, ours beside MONAI's."""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Cell, Column, Results, Table, arguments, chosen_device, say
from benchmarks.loops import BareLoop, Batch, InMemoryLoader, random_batches, seconds, stock_trainer
from benchmarks.monai_sampling import MonaiSampling
from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import CT_PHANTOM_CLASSES
from monai_segdiff.inferers import SamplingInferer
from monai_segdiff.networks import MaskConcatUNet

_COLUMNS = {
    "rate": Column("images per second", "{:.4g}"),
    "seconds": Column("seconds per step or run", "{:.4g}"),
    "tflops": Column("TFLOP/s", "{:.4g}"),
    "share": Column("share of the chip's peak", "{:.1%}"),
    "memory": Column("peak memory, GiB", "{:.4g}"),
    "warm_up": Column("first call, seconds", "{:.4g}"),
}
_MODES = ("eager", "compiled", "channels_last", "compiled_channels_last")
_TEXT = (
    "Training steps (loss, backward pass, clipping, AdamW, moving average) and whole sampling runs on random images "
    "that lie on the device. Ours: the stock SupervisedTrainer with all that the bundle attaches to an iteration, "
    "and SamplingInferer with dpmpp_2m. MONAI's: DiffusionInferer with DDPMScheduler in a bare loop (no "
    "configuration trains it with a concatenated mask), and with DDIMScheduler at as many steps. Operations are "
    "those that PyTorch counts in the network, the same for both; medians."
)


class Setting:
    """What a bundle's training configuration describes: network, parameterization, sizes.

    Args:
        overlay: name in the bundle's ``configs`` folder, or path, laid over ``train.yaml``.
        overrides: values of its ids.
        device: where the network lies.
        seed: of the network's weights.
    """

    def __init__(self, overlay: str, overrides: dict[str, Any], device: torch.device, seed: int) -> None:
        configs = bundle_path("ct_organ") / "configs"
        self.parser = ConfigParser()
        self.parser.read_config([configs / "train.yaml", configs / overlay])
        # what a data set would say
        self.parser.update({"classes": CT_PHANTOM_CLASSES, "sigma_data": 0.5, **overrides})
        self.device = device
        self.seed = seed
        get = self.parser.get_parsed_content
        self.parameterization = get("parameterization")
        self.shape, self.batch_size = tuple(get("image_size")), get("batch_size")
        self.channels = get("encoder").out_channels

    def network(self, channels_last: bool) -> MaskConcatUNet:
        """A fresh network."""
        torch.manual_seed(self.seed)
        network = self.parser.get_parsed_content("network_def", instantiate=True, lazy=False).to(self.device)
        return network.to(memory_format=torch.channels_last) if channels_last and len(self.shape) == 2 else network

    def batches(self, number: int = 2) -> list[Batch]:
        """Random batches on the device."""
        return random_batches(number, self.batch_size, self.channels, self.shape, self.device)


def count_operations(setting: Setting, amp_dtype: str | None) -> dict[str, float]:
    """Floating point operations of a training step's network and of one evaluation, of a whole batch."""
    network, batch = setting.network(False), setting.batches(1)[0]
    timesteps = torch.zeros(setting.batch_size, device=setting.device)
    counts = {}
    for task in ("training", "sampling"):
        with FlopCounterMode(display=False) as counter, _autocast(setting.device, amp_dtype):
            with torch.set_grad_enabled(task == "training"):
                output = network(batch["image"], timesteps, condition=batch["label"])
            if task == "training":
                output.float().square().mean().backward()
        counts[task] = float(counter.get_total_flops())
    return counts


def ours_training(setting: Setting, mode: str, args: argparse.Namespace) -> Callable[[], Any]:
    """An epoch of ``args.iterations`` steps by the stock trainer."""
    network = setting.network("channels_last" in mode)
    called = torch.compile(network) if "compiled" in mode else network
    loader = InMemoryLoader(setting.batches() * (args.iterations // 2))
    amp = args.amp_dtype
    return stock_trainer(network, called, setting.parameterization, loader, setting.device, amp, args.seed).run


def monai_training(setting: Setting, mode: str, args: argparse.Namespace) -> Callable[[], Any]:
    """As many steps through MONAI's DiffusionInferer."""
    network = setting.network("channels_last" in mode)
    unet = torch.compile(network.unet) if "compiled" in mode else network.unet
    scheduler = DDPMScheduler()
    inferer = DiffusionInferer(scheduler)

    def loss(batch: Batch) -> torch.Tensor:
        image, noise = batch["image"], torch.randn_like(batch["image"])
        timesteps = torch.randint(scheduler.num_train_timesteps, (len(image),), device=image.device)
        with _autocast(setting.device, args.amp_dtype):
            predicted = inferer(image, unet, noise, timesteps, condition=batch["label"], mode="concat")
        return torch.nn.functional.mse_loss(predicted.float(), noise)

    return BareLoop(network, loss, InMemoryLoader(setting.batches() * (args.iterations // 2))).run


def ours_sampling(setting: Setting, mode: str, args: argparse.Namespace) -> Callable[[], Any]:
    """A run of ``args.steps`` steps by SamplingInferer."""
    network, condition = setting.network(False).eval(), setting.batches(1)[0]["label"]
    inferer = SamplingInferer(
        setting.parameterization,
        "dpmpp_2m",
        args.steps,
        args.seed,
        amp_dtype=args.amp_dtype,
        channels_last="channels_last" in mode,
        compile="compiled" in mode,
    )
    return lambda: inferer(condition, network)


def monai_sampling(setting: Setting, mode: str, args: argparse.Namespace) -> Callable[[], Any]:
    """A run of as many steps by MONAI's DiffusionInferer."""
    network, condition = setting.network("channels_last" in mode).eval(), setting.batches(1)[0]["label"]
    dtype = None if args.amp_dtype is None else getattr(torch, args.amp_dtype)
    wrap = {"wrap": torch.compile} if "compiled" in mode else {}
    inferer = MonaiSampling(DDIMScheduler(), args.steps, args.seed, dtype, **wrap)
    return lambda: inferer(condition, network, range(setting.batch_size))


_SIDES = {
    "training": {"ours": ours_training, "monai": monai_training},
    "sampling": {"ours": ours_sampling, "monai": monai_sampling},
}
_NAMES = {"ours": "monai_segdiff", "monai": "MONAI DiffusionInferer"}


def measure(
    run: Callable[[], Any], task: str, operations: float, setting: Setting, args: argparse.Namespace
) -> dict[str, Cell]:
    """Time a function and describe what it reached.

    Args:
        run: an epoch of ``args.iterations`` training steps, or one sampling run of ``args.steps`` steps.
        task: ``training`` or ``sampling``.
        operations: of one training step or of one evaluation, for a batch.
        setting: what is run.
        args: the command line.
    """
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
    warm_up = seconds(run, setting.device)
    once = statistics.median(seconds(run, setting.device) for _ in range(args.runs))
    # operations are those of a step, so of training count one step, of sampling the whole run
    duration = once / args.iterations if task == "training" else once
    reached = operations * (1 if task == "training" else args.steps) / duration / 1e12
    return {
        "rate": setting.batch_size / duration,
        "seconds": duration,
        "tflops": reached,
        "share": None if args.peak_tflops is None else reached / args.peak_tflops,
        "memory": torch.cuda.max_memory_allocated(setting.device) / 2**30 if cuda else None,
        "warm_up": warm_up,
    }


def _autocast(device: torch.device, amp_dtype: str | None) -> torch.autocast:
    dtype = None if amp_dtype is None else getattr(torch, amp_dtype)
    return torch.autocast(device.type, dtype=dtype, enabled=amp_dtype is not None)


def _precision(name: str) -> str | None:
    return None if name == "float32" else name


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Throughput of training and sampling, eager and compiled, beside MONAI's inferer.", "throughput")
    parser.add_argument("--config", default="published.yaml", help="overlay of train.yaml: name in ct_organ, or path")
    parser.add_argument("--size", type=int, nargs="+", help="pixels per axis (default: the overlay's)")
    parser.add_argument("--batch-size", type=int, help="images in a batch (default: the overlay's)")
    parser.add_argument("--amp-dtype", type=_precision, default="bfloat16", help="bfloat16, float16 or float32")
    parser.add_argument("--steps", type=int, default=20, help="steps of a sampling run")
    parser.add_argument("--iterations", type=int, default=20, help="training steps of a timed run, even")
    parser.add_argument("--runs", type=int, default=3, help="timed runs")
    parser.add_argument("--tasks", nargs="+", choices=_SIDES, default=list(_SIDES), help="what to measure")
    parser.add_argument("--modes", nargs="+", choices=_MODES, default=list(_MODES), help="how the network is run")
    parser.add_argument("--peak-tflops", type=float, help="the chip's peak in that precision, e.g. 989 for an H200")
    parser.add_argument("--device", help="where to measure (default: a GPU if there is one)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    if args.iterations % 2:
        raise SystemExit("--iterations must be even: two batches take turns")
    device = chosen_device(args.device)
    overrides = {"image_size": args.size, "batch_size": args.batch_size}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    setting = Setting(args.config, overrides, device, args.seed)
    operations = count_operations(setting, args.amp_dtype)
    parameters = sum(parameter.numel() for parameter in setting.network(False).parameters())
    settings = {
        "configuration": Path(args.config).name,
        "image size": list(setting.shape),
        "batch size": setting.batch_size,
        "parameters": parameters,
        "precision": args.amp_dtype or "float32",
        "TFLOP of a training step": operations["training"] / 1e12,
        "TFLOP of an evaluation": operations["sampling"] / 1e12,
        "steps": args.steps,
        "iterations": args.iterations,
        "runs": args.runs,
        "peak TFLOP/s": args.peak_tflops,
        "device": device.type,
        "seed": args.seed,
    }
    titles = {"training": "Training", "sampling": f"Sampling in {args.steps} steps"}
    tables = [
        Table(
            titles[task],
            _COLUMNS,
            {f"{task}-{mode}-{side}": f"{_NAMES[side]}, {mode}" for mode in _MODES for side in sides},
        )
        for task, sides in _SIDES.items()
    ]
    results = Results(args.output, "Throughput", _TEXT, settings, tables, device, args.overwrite)
    for task in args.tasks:
        for mode in args.modes:
            for side, make in _SIDES[task].items():
                key = f"{task}-{mode}-{side}"
                if key in results:
                    say(f"{key}: measured before")
                    continue
                say(key)
                torch.compiler.reset()
                gc.collect()  # engines hold one another, and with them the memory of the row before
                results.add(key, measure(make(setting, mode, args), task, operations[task], setting, args))
                say(f"{results.rows[key]['rate']:.3g} images per second")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

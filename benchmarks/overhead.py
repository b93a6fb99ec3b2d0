"""What our inferer and MONAI's trainer cost over the bare network and over a bare loop."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from benchmarks.common import Cell, Column, Results, Table, arguments, chosen_device, say
from benchmarks.loops import (
    BareLoop,
    Batch,
    InMemoryLoader,
    interleaved,
    median_ratio,
    random_batches,
    stock_trainer,
)
from monai_segdiff.diffusion import EDM
from monai_segdiff.inferers import SamplingInferer
from monai_segdiff.networks import MaskConcatUNet

_CONDITION_CHANNELS = 12  # six classes, one-hot, with their known channels
_COLUMNS = {
    "ours": Column("ours, seconds", "{:.4g}"),
    "bare": Column("bare, seconds", "{:.4g}"),
    "overhead": Column("overhead", "{:+.1%}"),
    "bar": Column("bar", "{:.1%}"),
    "runs": Column("runs", "{:,d}"),
    "pairs": Column("overhead of each pair of runs"),
}
_TEXT = (
    "Medians of runs that alternate with one another. The bare side of sampling is the network's forward passes and "
    "nothing else; that of training computes the same loss, clips, steps and averages the weights by hand."
)


def network_for(args: argparse.Namespace, device: torch.device) -> MaskConcatUNet:
    """The U-Net that is measured, seeded."""
    torch.manual_seed(args.seed)
    channels = args.channels
    return MaskConcatUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        condition_channels=_CONDITION_CHANNELS,
        channels=channels,
        attention_levels=[False] * (len(channels) - 1) + [True],
        num_res_blocks=1,
        num_head_channels=channels[0],
        norm_num_groups=min(16, channels[0]),
    ).to(device)


def measure_sampling(args: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Times of a sampling run, and of as many bare forward passes."""
    network = network_for(args, device).eval()
    batch = random_batches(1, args.batch_size, _CONDITION_CHANNELS, (args.size, args.size), device)[0]
    timesteps = torch.zeros(args.batch_size, device=device)
    inferer = SamplingInferer(EDM(), "dpmpp_2m", args.steps, args.seed)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(args.steps):
            network(batch["image"], timesteps, condition=batch["label"])

    return interleaved({"bare": bare, "ours": lambda: inferer(batch["label"], network)}, args.runs, device)


def measure_training(args: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Times of the stock trainer with all that our bundles attach, and of a bare loop."""
    loader = InMemoryLoader(
        random_batches(args.iterations, args.batch_size, _CONDITION_CHANNELS, (args.size, args.size), device)
    )
    parameterization = EDM()
    network, bare_network = network_for(args, device), network_for(args, device)

    def loss(batch: Batch) -> torch.Tensor:
        image = batch["image"]
        level = parameterization.draw_levels(len(image), device=device)
        x, timesteps, target = parameterization.training_pair(image, torch.randn_like(image), level)
        return torch.nn.functional.mse_loss(bare_network(x, timesteps, condition=batch["label"]), target)

    trainer = stock_trainer(network, network, parameterization, loader, device, seed=args.seed)
    bare = BareLoop(bare_network, loss, loader)
    return interleaved({"bare": bare.run, "ours": trainer.run}, args.runs, device)


def cells(times: dict[str, list[float]], bar: float) -> dict[str, Cell]:
    """Figures of a row from the times of both sides."""
    ours, bare, ratio = median_ratio(times, "ours", "bare")
    pairs = [f"{first / second - 1:+.1%}" for first, second in zip(times["ours"], times["bare"], strict=True)]
    return {"ours": ours, "bare": bare, "overhead": ratio - 1, "bar": bar, "runs": len(pairs), "pairs": " ".join(pairs)}


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Overhead of SamplingInferer and of the stock training loop.", "overhead")
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 96, 128], help="channels of the U-Net")
    parser.add_argument("--size", type=int, default=64, help="pixels per axis")
    parser.add_argument("--batch-size", type=int, default=8, help="images in a batch")
    parser.add_argument("--steps", type=int, default=20, help="steps of a sampling run")
    parser.add_argument("--iterations", type=int, default=10, help="training steps of a run")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    parser.add_argument("--device", help="where to measure (default: a GPU if there is one)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    device = chosen_device(args.device)
    size = f"batch {args.batch_size} of {args.size}x{args.size}"
    rows = {
        "sampling": (f"SamplingInferer, dpmpp_2m, {args.steps} steps, {size}", measure_sampling, 0.03),
        "training": (f"stock trainer, {args.iterations} iterations, {size}", measure_training, 0.05),
    }
    settings = {
        "channels": args.channels,
        "size": args.size,
        "batch size": args.batch_size,
        "steps": args.steps,
        "iterations": args.iterations,
        "runs": args.runs,
        "precision": "float32",
        "device": str(device),
        "seed": args.seed,
    }
    tables = [Table("Overhead", _COLUMNS, {key: label for key, (label, _, _) in rows.items()})]
    results = Results(args.output, "Overhead", _TEXT, settings, tables, device, args.overwrite)
    for key, (label, measure, bar) in rows.items():
        if key in results:
            say(f"{label}: measured before")
            continue
        say(label)
        results.add(key, cells(measure(args, device), bar))
        say(f"overhead {results.rows[key]['overhead']:.1%}, bar {bar:.0%}")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

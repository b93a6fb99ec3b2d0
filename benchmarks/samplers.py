"""Quality against number of evaluations: one trained model, the same starts and masks, every sampler."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

from benchmarks.common import Column, Results, Table, arguments, chosen_device, say
from benchmarks.monai_sampling import MonaiSampling, check_chain
from benchmarks.quality import COLUMNS, Judge, sample, spread_over_patients
from monai_segdiff.data import Case, read_dataset
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.generation import TrainedGenerator, collect_masks, load_generator

DIFFERENCE_COLUMNS = {
    "pairs": Column("pairs with the reference", "{:,d}"),
    "dice_difference": Column("Dice minus reference, paired", "{:+.4f}"),
    "kid_difference": Column("KID minus reference, paired", "{:+.5f}"),
}
PAIRED_DIFFERENCE_COLUMNS = {
    "psnr_difference": Column("PSNR minus reference, paired", "{:+.3f}"),
    "mae_difference": Column("MAE minus reference, paired", "{:+.5f}"),
}
_TEXT = (
    "One trained model, sampled in several ways for the same held-out masks from the same starting noise. The "
    "reference is ancestral sampling (ddpm) with the most evaluations, for fewer masks; differences are between "
    "images of one mask and one start. A Dice difference below 0 is a loss, a KID difference below 0 a gain."
)
_MONAI = {"DDIMScheduler": DDIMScheduler, "DDPMScheduler": DDPMScheduler}


@dataclass(frozen=True)
class Way:
    """One way to sample a model: ours by a sampler's name, or MONAI's by a scheduler's name."""

    sampler: str
    num_steps: int

    @property
    def label(self) -> str:
        """How tables name it."""
        who = "DiffusionInferer, " if self.sampler in _MONAI else ""
        return f"{who}{self.sampler}, {self.num_steps} steps"

    def row(self, model: str) -> str:
        """Key of its row, and name of the folder of its images."""
        return f"{model}-{self.sampler}-{self.num_steps}"


def ways_for_denoiser(reference_steps: int, steps: Sequence[int]) -> list[Way]:
    """The rows of a bundle's own model, reference first."""
    solvers = [Way(sampler, n) for sampler in ("dpmpp_2m", "unipc") for n in steps]
    return [Way("ddpm", reference_steps), Way("ddim", 50), Way("heun", 18), *solvers]


def ways_for_noise_prediction(reference_steps: int) -> list[Way]:
    """The rows of a noise-predicting model, ours beside MONAI's, reference first."""
    few = min(250, reference_steps)
    ours = [Way("ddpm", reference_steps), Way("ddpm", few), Way("ddim", 50), Way("ddim", 10), Way("dpmpp_2m", 20)]
    monai = [Way("DDPMScheduler", reference_steps), Way("DDPMScheduler", few)]
    return list(dict.fromkeys([*ours, *monai, Way("DDIMScheduler", 50), Way("DDIMScheduler", 10)]))


def generator_for(way: Way, load: Callable[[dict[str, Any]], TrainedGenerator]) -> TrainedGenerator:
    """Load a model, set to be sampled in one way.

    Args:
        way: how.
        load: loads the generator with overrides of ids of ``inference.yaml``.
    """
    if way.sampler not in _MONAI:
        return load({"sampler": way.sampler, "num_steps": way.num_steps})
    generator = load({})
    scheduler = _MONAI[way.sampler]()
    check_chain(generator.inferer.parameterization, scheduler)
    inferer = MonaiSampling(scheduler, way.num_steps, generator.inferer.seed, generator.inferer.amp_dtype)
    settings = {**generator.settings, "sampler": way.sampler, "num_steps": way.num_steps}
    return replace(generator, inferer=inferer, settings=settings)  # type: ignore[arg-type]


def run_model(
    model: str,
    ways: Sequence[Way],
    load: Callable[[dict[str, Any]], TrainedGenerator],
    masks: Sequence[Case],
    judge: Judge,
    results: Results,
    work: Path,
    *,
    per_mask: int = 1,
    batch_size: int = 16,
    reference_masks: int | None = None,
    few_masks_from: int = 250,
) -> dict[str, list[Case]]:
    """Sample one model in every way, and add a row for each.

    Args:
        model: name of the model in rows and folders.
        ways: how to sample, the reference first.
        load: loads the generator with overrides of ids of ``inference.yaml``.
        masks: the label maps.
        judge: measures the images.
        results: where the rows go.
        work: folder for the images.
        per_mask: images for each mask.
        batch_size: images sampled at once.
        reference_masks: masks of ways with many steps; all by default.
        few_masks_from: steps from which these masks are used.

    Returns:
        The generated cases by row.
    """
    reference: Measurements | None = None
    made = {}
    for way in ways:
        row = way.row(model)
        say(f"{row}: {way.label}")
        chosen = masks[:reference_masks] if way.num_steps >= few_masks_from else masks
        sampled = sample(generator_for(way, load), chosen, work / row, per_mask=per_mask, batch_size=batch_size)
        measured = judge.measure(sampled.cases, row)
        cells = judge.cells(sampled, measured)
        if reference is None:
            reference = measured
        else:
            cells |= judge.differences(measured, reference)
        results.add(row, cells)
        made[row] = sampled.cases
    return made


def _phantoms(bundle: Path) -> Path:
    found = sorted(bundle.glob("phantoms_*"))
    if not found:
        raise SystemExit(f"{bundle} holds no phantoms: name the data set with --dataset")
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Quality against the number of network evaluations, ours and MONAI's.", "samplers")
    parser.add_argument("--bundle", type=Path, default=Path("demo/ct_organ"), help="trained bundle")
    parser.add_argument("--vp-bundle", type=Path, help="bundle trained with EpsilonVP, which MONAI's inferer can run")
    parser.add_argument("--dataset", type=Path, help="data set with held-out masks (default: phantoms of the bundle)")
    parser.add_argument("--masks", type=int, help="number of held-out masks (default: all)")
    parser.add_argument("--per-mask", type=int, default=1, help="images for each mask")
    parser.add_argument("--reference-steps", type=int, default=1000, help="steps of the reference")
    parser.add_argument("--reference-masks", type=int, default=64, help="masks of rows with many steps")
    parser.add_argument("--few-masks-from", type=int, default=250, help="steps from which fewer masks are used")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 30], help="steps of dpmpp_2m and unipc")
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    parser.add_argument("--segmenter-images", type=int, help="segmenter's training (default: as evaluate)")
    parser.add_argument("--device", help="where to sample (default: a GPU if there is one)")
    parser.add_argument("--work", type=Path, help="folder for the images (default: eval/samplers of the bundle)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    args.work = args.work or args.bundle / "eval" / "samplers"
    device = chosen_device(args.device)
    dataset = read_dataset(args.dataset or _phantoms(args.bundle))
    masks = spread_over_patients(collect_masks(dataset.root, "test"))[: args.masks]

    def loader(bundle: Path, **fixed: Any) -> Callable[[dict[str, Any]], TrainedGenerator]:
        common = {"seed": args.seed, "device": str(device), **fixed}
        return lambda overrides: load_generator(bundle, overrides={**common, **overrides})

    models = {"denoiser": (loader(args.bundle), ways_for_denoiser(args.reference_steps, args.steps))}
    if args.vp_bundle is not None:
        # MONAI's schedulers clip the denoised image to [-1, 1]; both sides shall do the same
        load = loader(args.vp_bundle, clip=[-1.0, 1.0])
        models["epsilon"] = (load, ways_for_noise_prediction(args.reference_steps))
    judge = Judge(dataset, args.segmenter_images, args.work / "segmenters", args.seed)
    samples = {model: load({}) for model, (load, _) in models.items()}
    titles = {
        model: f"{type(generator.inferer.parameterization).__name__} model, weights {generator.weights_sha256[:12]}"
        for model, generator in samples.items()
    }
    tables = [
        Table(
            titles[model], {**COLUMNS, **DIFFERENCE_COLUMNS}, {way.row(model): way.label for way in ways}, judge.notes
        )
        for model, (_, ways) in models.items()
    ]
    settings = {
        "data set": f"{dataset.name}, {len(dataset.splits['training'])} training and {len(judge.real)} held-out images",
        "weights": {model: generator.weights_sha256 for model, generator in samples.items()},
        "encoding": {model: generator.settings["encoding"] for model, generator in samples.items()},
        "autocast": {model: generator.settings["amp_dtype"] for model, generator in samples.items()},
        "masks": len(masks),
        "images per mask": args.per_mask,
        "masks of rows with many steps": min(args.reference_masks, len(masks)),
        "batch size": args.batch_size,
        "segmenter images": args.segmenter_images,
        "device": str(device),
        "seed": args.seed,
    }
    results = Results(args.output, "Samplers", _TEXT, settings, tables, device, args.overwrite)
    shown = masks[: min(8, len(masks))]
    for model, (load, ways) in models.items():
        made = run_model(
            model,
            ways,
            load,
            masks,
            judge,
            results,
            args.work,
            per_mask=args.per_mask,
            batch_size=args.batch_size,
            reference_masks=args.reference_masks,
            few_masks_from=args.few_masks_from,
        )
        rows = {row: cases[:: args.per_mask][: len(shown)] for row, cases in made.items()}
        rows = {row: cases for row, cases in rows.items() if len(cases) == len(shown)}
        picture = args.output.with_name(f"{args.output.name}_{model}.png")
        judge.picture(shown, {way.label: rows[way.row(model)] for way in ways if way.row(model) in rows}, picture)
        labels = [way.label for way in ways if way.row(model) in rows]
        results.show(picture, f"{titles[model]}; from the top: mask, real, {'; '.join(labels)}")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

"""Shaped sampling on breast phantoms: images drawn to a real one, and real ones edited under a changed mask.

One trained model, given as a bundle's folder, and held-out phantoms with their images. Images of a run that was stopped
are taken over.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_gradient_magnitude

from benchmarks.common import Cell, Column, Results, Table, arguments, chosen_device, say
from benchmarks.edited_masks import EDITS, write_edits
from benchmarks.quality import Judge, sample, spread_over_patients
from monai_segdiff.data import Case, SegmentationDataset, read_dataset
from monai_segdiff.generation import (
    EditSettings,
    Similarity,
    TrainedGenerator,
    collect_edits,
    collect_pairs,
    edit_dataset,
    load_generator,
)
from monai_segdiff.generation.region import edit_region
from monai_segdiff.metrics import bootstrap_mean, bootstrap_ratio, paired_errors

_SIMILARITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_RING = 3  # pixels, the width of the seam
_DICE = {
    "dice": Column("Dice to mask", "{:.3f}"),
    "ceiling": Column("ceiling on real images", "{:.3f}"),
    "share": Column("share of ceiling", "{:.3f}"),
}
_LIKE = {
    "ssim": Column("SSIM to the real image", "{:.4f}"),
    "psnr": Column("PSNR in dB", "{:.2f}"),
    "dice": _DICE["dice"],
    "drop": Column("Dice minus that at 0, paired", "{:+.4f}"),
    "failed": Column("failed samples", "{:.1%}"),
    "kid": Column("KID to held-out real images", "{:.5f}"),
    "images": Column("images", "{:,d}"),
}
_EDITED = {
    "outside": Column("mean change outside the region", "{:.4%}"),
    "inside": Column("inside", "{:.2%}"),
    "seam": Column("gradient across the seam over that of the real images", "{:.3f}"),
    **{key: Column(f"{column.title}, edited class", column.style) for key, column in _DICE.items()},
    "left": Column("of the class that was there, still read", "{:.1%}"),
    "failed": Column("failed samples", "{:.1%}"),
    "images": Column("images", "{:,d}"),
}
_TEXT = (
    "Held-out breast phantoms that the model has not seen, with images. First, images generated under a phantom's "
    "own mask and drawn to its image: half way down, where the noise has a quarter of the range as its standard "
    "deviation, generated and real are mixed. Second, the image of a phantom as it would be under an edited mask, "
    "everything else kept."
)
_NOTES = [
    "Changes are absolute differences as a share of the intensity range, averaged over pixels: outside, where the edit "
    "was not free to change anything (further than the dilation from the edited pixels), and inside.",
    f"The seam is a ring {_RING} pixels wide around the border of that region; the gradient there, of the edited image "
    "over that of the image before, as means over the ring.",
    "Still read: share of the pixels that lost their class in which the segmenter still finds it.",
]


def draw_like(
    generator: TrainedGenerator, cases: Sequence[Case], judge: Judge, folder: Path, results: Results, batch_size: int
) -> dict[str, list[Case]]:
    """Generate at every similarity and measure.

    Args:
        generator: the model.
        cases: images and masks.
        judge: measures.
        folder: for the images.
        results: takes the rows.
        batch_size: images sampled at once.

    Returns:
        The images by row.
    """
    made: dict[str, list[Case]] = {}
    real = torch.stack([judge.reader(case).image for case in cases])
    plain: torch.Tensor | None = None
    for value in _SIMILARITIES:
        row = f"like/{value:g}"
        sampled = sample(
            generator, cases, folder / f"like_{value:g}", batch_size=batch_size, similarity=Similarity(value)
        )
        measured = judge.measure(sampled.cases, row)
        images = torch.stack([judge.reader(case).image for case in sampled.cases])
        errors = paired_errors((images + 1) / 2, (real + 1) / 2)
        plain = measured.foreground if plain is None else plain
        patients = measured.patients
        cells = judge.cells(sampled, measured)
        cells |= {
            "ssim": bootstrap_mean(errors.ssim, patients, seed=judge.seed),
            "psnr": bootstrap_mean(errors.psnr, patients, seed=judge.seed),
            "drop": bootstrap_mean(measured.foreground - plain, patients, seed=judge.seed),
        }
        results.add(row, cells)
        made[row] = sampled.cases
    return made


def edit_all(
    generator: TrainedGenerator,
    dataset: SegmentationDataset,
    cases: Sequence[Case],
    judge: Judge,
    args: argparse.Namespace,
    results: Results,
) -> None:
    """Make every edit by every method and measure.

    Args:
        generator: the model.
        dataset: holds the images.
        cases: which of them.
        judge: measures.
        args: of the command line.
        results: takes the rows.
    """
    for name in EDITS:
        masks = args.work / f"masks_{name}"
        say(f"{name}: {write_edits(cases, name, masks, args.seed)} masks")
        edits = collect_edits(dataset.root, masks)
        for method in args.methods:
            settings = EditSettings(method=method)
            made = edit_dataset(generator, edits, args.work / f"{name}_{method}", settings, batch_size=args.batch_size)
            originals = {case.id: case for case in cases}
            before = [originals[case.id] for case in made.splits["training"]]
            results.add(f"{name}/{method}", _edited(name, before, made.splits["training"], settings, judge))


def _edited(
    name: str, before: Sequence[Case], after: Sequence[Case], settings: EditSettings, judge: Judge
) -> dict[str, Cell]:
    outside: list[float] = []
    inside: list[float] = []
    seam: list[float] = []
    seam_before: list[float] = []
    left: list[float] = []
    for old, new in zip(map(judge.reader, before), map(judge.reader, after), strict=True):
        changed = (old.mask != new.mask)[0]
        region = edit_region(changed, settings.dilation, settings.softness).numpy() > 0
        difference = ((new.image - old.image).abs() / 2)[0].numpy()  # images span 2
        outside.append(difference[~region].mean())
        inside.append(difference[region].mean())
        ring = binary_dilation(region, iterations=_RING // 2 + 1) & ~binary_erosion(region, iterations=_RING // 2)
        for gradients, image in ((seam, new.image), (seam_before, old.image)):
            gradients.append(gaussian_gradient_magnitude(image[0].numpy(), 0.5)[ring].mean())
        lost = (changed & (old.mask[0] > 1)).numpy()  # where a class inside the breast was
        reading = judge.segmenter.predict(new.image[None])[0, 0].numpy()
        left.append(float((reading == old.mask[0].numpy())[lost].mean()) if lost.any() else float("nan"))
    measured = judge.measure(after, name)
    index = list(judge.reader.classes).index(EDITS[name][2])
    dice, ceiling = measured.dice[:, index], judge.real.dice[:, index]
    patients = measured.patients

    def mean(values: Sequence[float]) -> Cell:
        return bootstrap_mean(torch.tensor(values, dtype=torch.float64), patients, seed=judge.seed)

    return {
        "outside": mean(outside),
        "inside": mean(inside),
        "seam": bootstrap_ratio(
            torch.tensor(seam, dtype=torch.float64),
            torch.tensor(seam_before, dtype=torch.float64),
            patients,
            patients,
            seed=judge.seed,
        ),
        "dice": bootstrap_mean(dice, patients, seed=judge.seed),
        "ceiling": bootstrap_mean(ceiling, judge.real.patients, seed=judge.seed),
        "share": bootstrap_ratio(dice, ceiling, patients, judge.real.patients, seed=judge.seed),
        "left": mean(left) if name != "grown" else None,
        "failed": judge.failed(measured, measured.foreground),
        "images": len(after),
    }


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Images drawn to a real one, and edited ones.", "shaped")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of a trained breast_mri bundle")
    parser.add_argument("--real", type=Path, required=True, help="data set of the phantoms that it was trained on")
    parser.add_argument("--work", type=Path, default=Path("runs") / "shaped", help="folder for images")
    parser.add_argument("--images", type=int, default=128, help="number of held-out images")
    parser.add_argument(
        "--methods", nargs="+", choices=("invert", "noise"), default=["invert", "noise"], help="of edits"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="images sampled at once")
    parser.add_argument("--segmenter-images", type=int, help="segmenter's training (default: as evaluate)")
    parser.add_argument("--segmenters", type=Path, help="folder of trained segmenters (default: in --work)")
    parser.add_argument("--device", help="where to sample (default: a GPU if there is one)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    dataset = read_dataset(args.real)
    device = chosen_device(args.device)
    generator = load_generator(args.bundle, overrides={"seed": args.seed, "device": str(device)})
    judge = Judge(dataset, args.segmenter_images, args.segmenters or args.work / "segmenters", args.seed)
    cases = spread_over_patients(collect_pairs(args.real, split="test"))[: args.images]
    patients = len({case.patient for case in cases})
    settings = {
        "data": f"{dataset.name}, {len(cases)} images of {patients} patients held out",
        "weights": generator.weights_sha256,
        "sampling": f"{generator.settings['sampler']}, {generator.settings['num_steps']} steps",
        "device": str(device),
    }
    edits = {f"{name}/{method}": f"{EDITS[name][0]}, {method}" for name in EDITS for method in args.methods}
    results = Results(
        args.output,
        "Shaped sampling",
        _TEXT,
        settings,
        [
            Table(
                "Drawn to a real image", _LIKE, {f"like/{v:g}": f"similarity {v:g}" for v in _SIMILARITIES}, judge.notes
            ),
            Table("Edited", _EDITED, edits, _NOTES),
        ],
        device,
        args.overwrite,
    )
    made = draw_like(generator, cases, judge, args.work, results, args.batch_size)
    edit_all(generator, dataset, cases, judge, args, results)
    picture = args.output.with_name(f"{args.output.name}.png")
    shown = min(8, len(cases))
    judge.picture(cases[:shown], {name: images[:shown] for name, images in made.items()}, picture)
    results.show(picture, "From the top: mask, real image, then images at similarity 0, 0.25, 0.5, 0.75 and 1")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()

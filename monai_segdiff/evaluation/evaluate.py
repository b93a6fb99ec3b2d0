"""The report on a synthetic data set: is it faithful to its masks, realistic, and free of failures."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_segdiff.evaluation.inputs import Inputs, evenly, read_inputs
from monai_segdiff.evaluation.measure import Features, Measurements, measure
from monai_segdiff.evaluation.others import OtherMasks, draw_other_masks
from monai_segdiff.evaluation.page import write_page, write_picture
from monai_segdiff.evaluation.pictures import failed_picture, samples_picture
from monai_segdiff.evaluation.programs import load_program
from monai_segdiff.evaluation.report import Headline, Report
from monai_segdiff.evaluation.sections import failed_section, faithfulness_section, realism_section
from monai_segdiff.evaluation.segmenter import Segmenter, TrainedSegmenter
from monai_segdiff.evaluation.training import open_segmenter

__all__ = ["evaluate"]

_HEADLINES = (
    Headline(
        "Dice to mask", ("faithfulness", "mean", "dice"), "number", ("faithfulness", "mean", "ceiling"), "ceiling"
    ),
    Headline("Failed samples", ("failed", "any", "rate"), "percent", ("failed", "any", "real"), "real images"),
    Headline(
        "KID", ("realism", "kid", "synthetic"), "distance", ("realism", "kid", "training"), "real training images"
    ),
)
_FEWEST_TRAINING = 100  # real training images whose distance stands beside the synthetic images', at least


def evaluate(
    real: str | Path,
    synthetic: str | Path,
    output: str | Path,
    *,
    segmenter: str | Path | None = None,
    extractor: str | Path | None = None,
    seed: int = 0,
    no_real_images: bool = False,
    cache_dir: str | Path | None = None,
    segmenter_images: int | None = None,
    max_images: int | None = None,
    progress: bool = True,
) -> Report:
    """Hold synthetic images to their masks and to real images.

    Writes `report.html`, `report.json`, `report.csv`, `report.txt` and `samples.png`. Real training cases serve the
    segmenter only; everything else is held to the real cases of `validation` and `test`. Both data sets are mapped to
    [-1, 1] by their own `intensity_range`.

    Args:
        real: data set folder with training and held-out cases.
        synthetic: data set folder, as `generate` writes it.
        output: folder for the report.
        segmenter: file of a segmenter: ours, TorchScript, or an exported program (.pt2), images (B, 1, *spatial) in
            [-1, 1] to scores with background first; default: trained on the real training cases.
        extractor: TorchScript or exported program for FID and KID, images to (B, D) or (B, D, *spatial), which is
            averaged; default: the bottleneck of the segmenter.
        seed: of the segmenter's training, of the resampling and of the draw of other patients' masks.
        no_real_images: leave real images out of all pictures.
        cache_dir: where trained segmenters are kept; default: `segmenter` in the output folder.
        segmenter_images: length of the segmenter's training in images seen; default: by image size.
        max_images: use at most so many synthetic images, evenly spaced.
        progress: whether to show progress bars.

    Returns:
        The report.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if the data sets do not fit each other, or a file is not as it should be; names it and the remedy.
        OSError: if the report cannot be written.
    """
    inputs = read_inputs(real, synthetic, max_images)
    output = Path(output)
    cache = output / "segmenter" if cache_dir is None else Path(cache_dir)
    reads = open_segmenter(
        segmenter, inputs.training, inputs.real_reader, segmenter_images, seed, cache_dir=cache, progress=progress
    )
    features, features_name = _features(extractor, reads)

    others: tuple[OtherMasks | None, OtherMasks | None] = (None, None)
    if not inputs.within_one_patient:
        others = (
            draw_other_masks(inputs.held_out, inputs.real_reader, seed),
            draw_other_masks(inputs.generated, inputs.synthetic_reader, seed),
        )
    held = measure(inputs.held_out, inputs.real_reader, reads, features, "held-out real images", progress, others[0])
    made = measure(inputs.generated, inputs.synthetic_reader, reads, features, "synthetic images", progress, others[1])
    seen = None
    if inputs.training and features is not None:
        some = evenly(inputs.training, max(len(held), _FEWEST_TRAINING))
        seen = measure(some, inputs.real_reader, reads, features, "training images", progress)
    for measured in (held, seen):
        _require_finite(measured)

    report = _report(inputs, held, made, seen, reads.name, features_name, seed, with_real=not no_real_images)
    report.write_data(output)
    write_picture(report.samples, output / "samples.png")
    write_page(report, output)
    return report


def _report(
    inputs: Inputs,
    held: Measurements,
    made: Measurements,
    seen: Measurements | None,
    segmenter: str,
    features: str,
    seed: int,
    with_real: bool,
) -> Report:
    failed, found = failed_section(held, made)
    failures = failed_picture(inputs.synthetic_reader, made, found)
    failed.pictures = [] if failures is None else [failures]
    split, weak = inputs.split()
    return Report(
        title=f"Evaluation of {inputs.synthetic.name}",
        compared=inputs.describe(),
        split=split,
        split_is_weak=weak,
        sections=[
            faithfulness_section(inputs.classes, held, made, segmenter, seed),
            failed,
            realism_section(held, seen, made, features, seed),
        ],
        samples=samples_picture(inputs, held, made, with_real),
        headlines=_HEADLINES,
    )


def _features(extractor: str | Path | None, segmenter: Segmenter) -> tuple[Features | None, str]:
    """The feature space and its name, or None and why there is none."""
    if extractor is not None:
        program = load_program(extractor)

        def extract(images: torch.Tensor) -> torch.Tensor:
            found = program(images)
            return found.flatten(2).mean(2) if found.ndim > 2 else found

        return Features(program.name, extract), program.name
    if isinstance(segmenter, TrainedSegmenter):
        return Features("segmenter bottleneck", segmenter.features), "segmenter bottleneck"
    return None, f"{segmenter.name} yields none; give a feature extractor"


def _require_finite(measured: Measurements | None) -> None:
    for case, finite in zip(measured.cases, measured.finite.tolist(), strict=True) if measured else ():
        if not finite:
            raise ValueError(
                f"real image {case.image} holds NaN or infinite values: repair the file, or remove the case"
            )

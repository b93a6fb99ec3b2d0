"""The report on a synthetic data set: is it faithful to its masks, realistic, diverse, free of failures and copies."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from monai_segdiff.evaluation.measure.extras import hausdorff_extra, length_unit, pixels, pooled_shape, radiomic_extra
from monai_segdiff.evaluation.measure.inputs import Inputs, evenly, read_inputs
from monai_segdiff.evaluation.measure.measure import Embedded, Features, Measurements, PerImageMeasure, embed, measure
from monai_segdiff.evaluation.measure.other_masks import OtherMasks, draw_other_masks
from monai_segdiff.evaluation.readers.programs import load_program
from monai_segdiff.evaluation.readers.segmenter import Segmenter, TrainedSegmenter
from monai_segdiff.evaluation.readers.train_segmenter import open_segmenter
from monai_segdiff.evaluation.report.page import write_page, write_picture
from monai_segdiff.evaluation.report.pictures import failed_picture, samples_picture
from monai_segdiff.evaluation.report.report import Headline, Report
from monai_segdiff.evaluation.sections.diversity import diversity_section
from monai_segdiff.evaluation.sections.faithfulness import failed_section, faithfulness_section
from monai_segdiff.evaluation.sections.findings import FINDINGS_HEADLINE, FindingReader, open_finding_reader
from monai_segdiff.evaluation.sections.memorization import memorization_section
from monai_segdiff.evaluation.sections.origins import HELD_OUT, mask_origins
from monai_segdiff.evaluation.sections.realism import realism_section
from monai_segdiff.evaluation.sections.utility import utility_section
from monai_segdiff.files import claim_folder, remove_leftovers

__all__ = ["evaluate"]

_HEADLINES = (
    Headline(
        "Dice to mask", ("faithfulness", "mean", "dice"), "number", ("faithfulness", "mean", "ceiling"), "ceiling"
    ),
    Headline("Failed samples", ("failed", "any", "rate"), "percent", ("failed", "any", "real"), "real images"),
    Headline(
        "KID", ("realism", "kid", "synthetic"), "distance", ("realism", "kid", "training"), "real training images"
    ),
    Headline(
        "Memorized share",
        ("memorization", HELD_OUT, "features"),
        "percent",
        ("memorization", HELD_OUT, "pixels"),
        "in feature space; in pixel space",
    ),
)
_FEWEST_TRAINING = 100  # real training images whose distance stands beside the synthetic images', at least


def evaluate(
    real: str | Path,
    synthetic: str | Path,
    output: str | Path,
    *,
    segmenter: str | Path | None = None,
    extractor: str | Path | nn.Module | None = None,
    seed: int = 0,
    no_real_images: bool = False,
    cache_dir: str | Path | None = None,
    segmenter_images: int | None = None,
    classifier_images: int | None = None,
    max_images: int | None = None,
    utility: bool = False,
    utility_seeds: int = 3,
    radiomics: bool = False,
    progress: bool = True,
) -> Report:
    """Hold synthetic images to their masks and to real images.

    Writes `report.html`, `report.json`, `report.csv`, `report.txt` and `samples.png`. Real training cases serve the
    segmenter and as what may have been memorized; everything else is held to the real cases of `validation` and
    `test`. Both data sets are mapped to [-1, 1] by their own `intensity_range`.

    Where both data sets name the findings of their images, a classifier of these is trained on the real training cases,
    too, and the report says how often it sees what was asked for, and what of the images before their findings changed.

    Args:
        real: data set folder with training and held-out cases.
        synthetic: data set folder, as `generate` writes it.
        output: folder for the report.
        segmenter: file of a segmenter: ours, TorchScript, or an exported program (.pt2), images (B, 1, *spatial) in
            [-1, 1] to scores with background first; default: trained on the real training cases.
        extractor: TorchScript, exported program or module for FID, KID and the memorized share, images to (B, D) or
            (B, D, *spatial), which is averaged; default: the bottleneck of the segmenter.
        seed: of every training, of the resampling and of every draw.
        no_real_images: leave real images out of all pictures.
        cache_dir: where trained networks are kept; default: `segmenter` in the output folder.
        segmenter_images: length of each segmenter's training in images seen; default: by image size.
        classifier_images: the same for the classifier of findings.
        max_images: use at most so many synthetic images, evenly spaced.
        utility: train segmenters on real, on synthetic and on both kinds of images, and test them on real ones.
        utility_seeds: number of such trainings of each kind.
        radiomics: add the Fréchet distance of radiomic features.
        progress: whether to show progress bars.

    Returns:
        The report.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if the data sets do not fit each other, or a file is not as it should be; names it and the remedy.
        FileExistsError: if another run is writing to the folder.
        OSError: if the report cannot be written.
    """
    inputs = read_inputs(real, synthetic, max_images)
    with claim_folder(output) as output:
        cache = output / "segmenter" if cache_dir is None else Path(cache_dir)
        remove_leftovers(cache, depth=0)
        reads = open_segmenter(
            segmenter, inputs.training, inputs.real_reader, segmenter_images, seed, cache_dir=cache, progress=progress
        )
        findings = open_finding_reader(inputs, classifier_images, seed, cache, progress)
        features, features_name = _features(extractor, reads)
        found = _measure(inputs, reads, features, findings, seed, radiomics, progress)
        report = found.report(inputs, reads.name, features_name, seed, with_real=not no_real_images)
        if findings is not None:
            report.sections.append(findings.section(found.held, found.made, seed))
            report.headlines = (*report.headlines, FINDINGS_HEADLINE)
        if utility:
            finite = found.made.finite
            report.sections.append(
                utility_section(
                    inputs, finite, found.origins, utility_seeds, segmenter_images, seed, cache, progress=progress
                )
            )
        report.write_data(output)
        write_picture(report.samples, output / "samples.png")
        write_page(report, output)
        return report


class _Found:
    """Everything that was measured."""

    def __init__(
        self, inputs: Inputs, held: Measurements, made: Measurements, seen: Embedded | None, unit: str
    ) -> None:
        self.held, self.made, self.seen, self.unit = held, made, seen, unit
        self.origins = mask_origins(inputs, made.mask_ids, held.mask_ids, seen.mask_ids if seen else ())

    def report(self, inputs: Inputs, segmenter: str, features: str, seed: int, with_real: bool) -> Report:
        """All sections but those that need a training of their own."""
        held, made, seen = self.held, self.made, self.seen
        failed, found = failed_section(held, made)
        failures = failed_picture(inputs.synthetic_reader, made, found)
        failed.pictures = [] if failures is None else [failures]
        split, weak = inputs.split()
        some = None if seen is None else seen.take(evenly(range(len(seen)), max(len(held), _FEWEST_TRAINING)))
        size = pooled_shape(inputs.real_reader(inputs.held_out[0]).image.shape[1:])
        return Report(
            title=f"Evaluation of {inputs.synthetic.name}",
            compared=inputs.describe(),
            split=split,
            split_is_weak=weak,
            sections=[
                faithfulness_section(inputs.classes, held, made, segmenter, seed, self.unit),
                failed,
                realism_section(held.embedded, some, made.embedded, features, seed),
                diversity_section(inputs, held, made, torch.stack(list(found.values())).any(0), seed),
                memorization_section(
                    inputs, seen, held.embedded, made.embedded, self.origins, features, size, seed, with_real
                ),
            ],
            samples=samples_picture(inputs, held, made, with_real),
            headlines=_HEADLINES,
        )


def _measure(
    inputs: Inputs,
    reads: Segmenter,
    features: Features | None,
    findings: FindingReader | None,
    seed: int,
    radiomics: bool,
    progress: bool,
) -> _Found:
    unit = length_unit(inputs)
    spaces: dict[str, PerImageMeasure] = {"pixels": pixels, **({"radiomics": radiomic_extra} if radiomics else {})}
    extras = {"hausdorff": hausdorff_extra(len(inputs.classes), unit), **spaces}
    real_extras, synthetic_extras = extras, extras
    if findings is not None:
        real_extras, synthetic_extras = extras | findings.real_extras, extras | findings.synthetic_extras
    others: tuple[OtherMasks | None, OtherMasks | None] = (None, None)
    if not inputs.within_one_patient:
        others = (
            draw_other_masks(inputs.held_out, inputs.real_reader, seed),
            draw_other_masks(inputs.generated, inputs.synthetic_reader, seed),
        )
    held = measure(
        inputs.held_out, inputs.real_reader, reads, features, "held-out real images", progress, others[0], real_extras
    )
    _require_finite(held)
    made = measure(
        inputs.generated,
        inputs.synthetic_reader,
        reads,
        features,
        "synthetic images",
        progress,
        others[1],
        synthetic_extras,
    )
    seen = None
    if inputs.training:
        seen = embed(inputs.training, inputs.real_reader, features, "training images", progress, spaces)
        _require_finite(seen)
    return _Found(inputs, held, made, seen, unit)


def _features(extractor: str | Path | nn.Module | None, segmenter: Segmenter) -> tuple[Features | None, str]:
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


def _require_finite(measured: Measurements | Embedded) -> None:
    for case, finite in zip(measured.cases, measured.finite.tolist(), strict=True):
        if not finite:
            raise ValueError(
                f"real image {case.image} holds NaN or infinite values: repair the file, or remove the case"
            )

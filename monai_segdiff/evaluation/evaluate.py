"""The report on a synthetic data set: is it faithful to its masks, realistic, diverse, free of failures and copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from monai_segdiff.evaluation.evidence import Evidence, ReportSection, gather
from monai_segdiff.evaluation.measure.inputs import read_inputs
from monai_segdiff.evaluation.measure.measure import Features
from monai_segdiff.evaluation.readers.programs import load_program
from monai_segdiff.evaluation.readers.segmenter import Segmenter, TrainedSegmenter
from monai_segdiff.evaluation.readers.train_segmenter import open_segmenter
from monai_segdiff.evaluation.report.page import write_page, write_picture
from monai_segdiff.evaluation.report.pictures import samples_picture
from monai_segdiff.evaluation.report.report import Report
from monai_segdiff.evaluation.sections.diversity import Diversity
from monai_segdiff.evaluation.sections.failed import FailedSamples
from monai_segdiff.evaluation.sections.faithfulness import Faithfulness
from monai_segdiff.evaluation.sections.findings import open_findings
from monai_segdiff.evaluation.sections.memorization import Memorization
from monai_segdiff.evaluation.sections.realism import Realism
from monai_segdiff.evaluation.sections.utility import Utility
from monai_segdiff.files import claim_folder, remove_leftovers

__all__ = ["evaluate", "features_of"]


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
    held_out: Sequence[str] = ("validation", "test"),
    utility: bool = False,
    utility_seeds: int = 3,
    radiomics: bool = False,
    progress: bool = True,
) -> Report:
    """Compare synthetic images with their masks and with real images.

    Writes `report.html`, `report.json`, `report.csv`, `report.txt` and `samples.png`. Real training cases train the
    segmenter, and memorization is measured against them; all other figures compare with the real cases of `held_out`.
    Both data sets are mapped to [-1, 1] by their own `intensity_range`.

    If both data sets name the findings of their images, a classifier of findings is trained on the real training cases,
    too. The report then says how often it sees the findings asked for, and how the findings changed the images.

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
        held_out: splits of the real data set that synthetic images are compared with.
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
    inputs = read_inputs(real, synthetic, max_images, held_out)
    with claim_folder(output) as output:
        cache = output / "segmenter" if cache_dir is None else Path(cache_dir)
        remove_leftovers(cache, depth=0)
        reads = open_segmenter(
            segmenter, inputs.training, inputs.real_reader, segmenter_images, seed, cache_dir=cache, progress=progress
        )
        subjects: list[ReportSection | None] = [
            Faithfulness(),
            FailedSamples(),
            Realism(radiomics),
            Diversity(),
            Memorization(),
            open_findings(inputs, classifier_images, seed, cache, progress),
            Utility(cache, utility_seeds, segmenter_images, progress) if utility else None,
        ]
        sections = [subject for subject in subjects if subject is not None]
        features = features_of(extractor, reads)
        evidence = gather(inputs, reads, features, sections, seed=seed, with_real=not no_real_images, progress=progress)
        report = _report(evidence, sections)
        report.write_data(output)
        write_picture(report.samples, output / "samples.png")
        write_page(report, output)
        return report


def _report(evidence: Evidence, sections: Sequence[ReportSection]) -> Report:
    inputs = evidence.inputs
    split, weak = inputs.split()
    return Report(
        title=f"Evaluation of {inputs.synthetic.name}",
        compared=inputs.describe(),
        split=split,
        split_is_weak=weak,
        sections=[section(evidence) for section in sections],
        samples=samples_picture(inputs, evidence.held_out, evidence.synthetic, evidence.with_real),
        headlines=tuple(section.headline for section in sections if section.headline is not None),
    )


def features_of(extractor: str | Path | nn.Module | None, segmenter: Segmenter) -> Features | str:
    """The feature space, or why there is none."""
    if extractor is not None:
        program = load_program(extractor)

        def extract(images: torch.Tensor) -> torch.Tensor:
            found = program(images)
            return found.flatten(2).mean(2) if found.ndim > 2 else found

        return Features(program.name, extract)
    if isinstance(segmenter, TrainedSegmenter):
        return Features("segmenter bottleneck", segmenter.features)
    return f"{segmenter.name} yields none; give a feature extractor"

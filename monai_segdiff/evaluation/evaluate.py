"""The report on a synthetic data set: is it faithful to its masks, realistic, and free of failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from monai_segdiff.data import Case, SegmentationDataset, load_image, read_dataset

from .measure import Features, Measurements, measure
from .page import write_page, write_picture
from .pairs import PairReader
from .pictures import failed_picture, samples_picture
from .programs import load_program
from .report import Report
from .sections import failed_section, faithfulness_section, realism_section
from .segmenter import Segmenter, TrainedSegmenter, load_segmenter
from .training import train_segmenter

__all__ = ["evaluate"]

_RANGE_IMAGES = 64  # training images that an unknown intensity range is measured on


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
    """Compare synthetic images with their masks and with real images; write `report.html`, `.json`, `.csv`, `samples.png`.

    Real training cases serve the segmenter only; everything else is held to the real cases of `validation` and `test`.
    Both data sets are mapped to [-1, 1] by their `intensity_range`.

    Args:
        real: data set folder with training and held-out cases.
        synthetic: data set folder, as `generate` writes it.
        output: folder for the report.
        segmenter: file of a segmenter: ours, TorchScript, or an exported program (.pt2), images (B, 1, *spatial) in
            [-1, 1] to scores with background first; default: trained on the real training cases.
        extractor: TorchScript or exported program for FID and KID, images to (B, D) or (B, D, *spatial), which is
            averaged; default: the bottleneck of the segmenter.
        seed: of the segmenter's training and of the resampling.
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
    real_set, synthetic_set = _read_sets(Path(real), Path(synthetic))
    training, held_out = _real_cases(real_set)
    generated = _thinned([case for cases in synthetic_set.splits.values() for case in cases], max_images)
    real_reader = _reader(real_set, training, real_set)
    synthetic_reader = _reader(synthetic_set, training, real_set)
    _same_size(real_reader, held_out[0], synthetic_reader, generated[0])

    reads: Segmenter
    if segmenter is None:
        cache = Path(cache_dir) if cache_dir is not None else Path(output) / "segmenter"
        reads = train_segmenter(training, real_reader, segmenter_images, seed, cache, progress=progress)
    else:
        reads = load_segmenter(segmenter, list(real_set.classes))
    features, features_name = _features(extractor, reads)

    held = measure(held_out, real_reader, reads, features, "held-out real images", progress)
    _all_finite(held)
    made = measure(generated, synthetic_reader, reads, features, "synthetic images", progress)
    seen = None
    if training and features is not None:
        seen = measure(
            _thinned(training, max(len(held_out), 100)), real_reader, reads, features, "training images", progress
        )
        _all_finite(seen)

    faithfulness = faithfulness_section(list(real_set.classes), held, made, reads.name, seed)
    failed, found = failed_section(held, made)
    failures = failed_picture(synthetic_reader, made, found)
    failed.pictures = [] if failures is None else [failures]
    realism = realism_section(held, seen, made, features_name, seed)
    split, weak = _split(real_set, training, held_out)
    report = Report(
        title=f"Evaluation of {synthetic_set.name}",
        compared=_compared(real_set, synthetic_set, real_reader, training, held, made),
        split=split,
        split_is_weak=weak,
        sections=[faithfulness, failed, realism],
        samples=samples_picture(
            list(real_set.classes), (real_reader, synthetic_reader), held, made, with_real=not no_real_images
        ),
    )
    report.write_data(output)
    write_picture(report.samples, Path(output) / "samples.png")
    write_page(report, output)
    return report


def _read_sets(real: Path, synthetic: Path) -> tuple[SegmentationDataset, SegmentationDataset]:
    real_set, synthetic_set = read_dataset(real), read_dataset(synthetic)
    if not real_set.classes:
        real_set.classes = synthetic_set.classes
    if not real_set.classes:
        raise ValueError(
            f'neither {real} nor {synthetic} says what its labels mean: add dataset.json with "labels": {{"1": "liver", ...}}'
        )
    synthetic_set.classes = synthetic_set.classes or real_set.classes
    if synthetic_set.classes != real_set.classes:
        raise ValueError(
            f"{synthetic} has classes {synthetic_set.classes}, {real} has {real_set.classes}: evaluate against the data "
            "set that the generator was trained on, or give both the same labels in dataset.json"
        )
    return real_set, synthetic_set


def _real_cases(dataset: SegmentationDataset) -> tuple[list[Case], list[Case]]:
    training = dataset.splits.get("training", [])
    # A test case may come without annotation; it can be neither read nor compared.
    held_out = [c for split in ("validation", "test") for c in dataset.splits.get(split, []) if c.label is not None]
    if not held_out:
        raise ValueError(
            f"real data set {dataset.root} has no held-out cases with label maps: split it with the prepare command, or "
            "put held-out patients into imagesVal/labelsVal or imagesTs/labelsTs"
        )
    return training, held_out


def _reader(dataset: SegmentationDataset, training: Sequence[Case], real: SegmentationDataset) -> PairReader:
    """Reader with the data set's own intensity range, else the real one's, else the one that training images have."""
    if dataset.intensity_range is None:
        dataset.intensity_range = real.intensity_range or _measured_range(training or real.splits["test"])
    return PairReader(dataset.classes, dataset.intensity_range, dataset.spatial_dims or real.spatial_dims)


def _measured_range(cases: Sequence[Case]) -> tuple[float, float]:
    """0.5th and 99.5th percentile of the intensities of some images."""
    limits = []
    for case in _thinned(cases, _RANGE_IMAGES):
        if case.image is not None:
            limits.append(np.nanpercentile(load_image(case.image).numpy(), (0.5, 99.5)))
    low, high = np.median(limits, axis=0).tolist() if limits else (0.0, 0.0)
    if not low < high:
        raise ValueError(
            'the real images are constant, or there are none: check the files, or add "intensity_range" to dataset.json'
        )
    return low, high


def _same_size(real_reader: PairReader, real: Case, synthetic_reader: PairReader, synthetic: Case) -> None:
    one, other = real_reader(real).image.shape[1:], synthetic_reader(synthetic).image.shape[1:]
    if one != other:
        sizes = ["x".join(map(str, shape)) for shape in (one, other)]
        raise ValueError(
            f"real image {real.image} has size {sizes[0]}, synthetic image {synthetic.image} {sizes[1]}: evaluate against "
            "the data set that the generator was trained on, or bring both to one size with the prepare command"
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
        return Features(segmenter.features_name, segmenter.features), segmenter.features_name
    return None, f"{segmenter.name} yields none; give a feature extractor"


def _all_finite(measured: Measurements) -> None:
    for case, finite in zip(measured.cases, measured.finite.tolist(), strict=True):
        if not finite:
            raise ValueError(
                f"real image {case.image} holds NaN or infinite values: repair the file, or remove the case"
            )


def _thinned(cases: Sequence[Case], number: int | None) -> list[Case]:
    """At most `number` cases, evenly spaced."""
    if number is None or len(cases) <= number:
        return list(cases)
    if number < 1:
        raise ValueError(f"the number of images must be at least 1, got {number}")
    return [cases[i * len(cases) // number] for i in range(number)]


def _split(dataset: SegmentationDataset, training: Sequence[Case], held_out: Sequence[Case]) -> tuple[str, bool]:
    """How training and held-out cases are separated, and whether that limits what figures say."""
    patients, held = {case.patient for case in training}, {case.patient for case in held_out}
    if dataset.split_kind == "within one patient" or (len(patients) == 1 and patients == held):
        return (
            "Split within one patient: held-out images come from the patient that generator and segmenter were trained "
            "on. The figures say nothing about other patients.",
            True,
        )
    shared = sorted(patients & held)
    if shared:
        return (
            f"Split through patients: {len(shared)} of them, such as {shared[0]!r}, are both in training and held out. "
            "Figures are better than they would be on new patients.",
            True,
        )
    if not training:
        return f"No training cases: all {len(held)} patients count as held out.", False
    return f"Split by patient: {len(patients)} for training, {len(held)} held out.", False


def _compared(
    real: SegmentationDataset,
    synthetic: SegmentationDataset,
    reader: PairReader,
    training: Sequence[Case],
    held: Measurements,
    made: Measurements,
) -> dict[str, str]:
    low, high = reader.intensity_range
    size = "×".join(map(str, reader(held.cases[0]).image.shape[1:]))
    total = sum(map(len, synthetic.splits.values()))
    used = f"{len(made)} images" if len(made) == total else f"{len(made)} of {total} images"
    return {
        "Synthetic": f"{synthetic.name} ({used} for {len(set(made.mask_ids))} masks)",
        "Real": f"{real.name} ({len(training)} training images, {len(held)} held out)",
        "Classes": ", ".join(real.classes),
        "Images": f"{size}, intensities {low:g} to {high:g} mapped to −1 to 1",
        **({"Source of the real images": real.attribution} if real.attribution else {}),
    }

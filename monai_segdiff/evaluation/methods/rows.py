"""What is measured on the images of one method; all figures of the comparison follow from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_segdiff.data import Case, read_geometry
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.matching import Match
from monai_segdiff.evaluation.measure.measure import Measurements, measure, require_finite
from monai_segdiff.evaluation.measure.other_masks import draw_other_masks
from monai_segdiff.evaluation.methods.view_consistency import view_consistency
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.segmenter import MergedSegmenter, Segmenter
from monai_segdiff.metrics import PairedErrors, paired_errors
from monai_segdiff.transforms import channel_ranges

__all__ = ["MethodGroup", "MethodRow", "Views", "group_of", "measure_group", "measure_row", "measure_views"]

_BATCH = 64
_VIEW = re.compile(r"(.+)_view(\d+)")


@dataclass(frozen=True, eq=False)
class MethodGroup:
    """What the rows of one condition share.

    Args:
        name: of the condition; empty where rows are named by their method alone.
        reader: reads images and label maps with the classes that the methods were told of.
        segmenter: reads images with these classes.
        real: measured on the held-out real images.
        limits: measured on the real images that the limits of failed samples come from.
        limits_from: name of their data set, or None where they are `real`.
    """

    name: str
    reader: PairReader
    segmenter: Segmenter
    real: Measurements
    limits: Measurements
    limits_from: str | None = None


@dataclass(frozen=True)
class Views:
    """How consistent the views of each volume are.

    Args:
        deviations: mean deviation of each volume's views, (volumes,).
        patients: whose volumes they are.
        views: number of views of each volume.
    """

    deviations: torch.Tensor
    patients: tuple[str, ...]
    views: tuple[int, ...]


@dataclass(frozen=True)
class MethodRow:
    """Everything measured on the images of one method, in the order of the matches.

    Args:
        name: "condition / method", or the method's name alone.
        condition: what it shares with other rows.
        reader: reads its images with the data set's classes.
        matches: generated and real cases.
        errors: distances of generated from real images.
        measured: what failed samples are found by.
        views: consistency of the views; None where no volume has several.
    """

    name: str
    condition: MethodGroup
    reader: PairReader
    matches: tuple[Match, ...]
    errors: PairedErrors
    measured: Measurements
    views: Views | None

    @property
    def method(self) -> str:
        """The row's name without its condition."""
        return self.name.removeprefix(f"{self.condition.name} / ")

    @property
    def patients(self) -> list[str]:
        """Patient of each image: what the bootstrap resamples as a whole."""
        return [match.real.patient for match in self.matches]


def group_of(name: str) -> str:
    """The condition in a row's name, empty if it names a method alone."""
    return name.rpartition(" / ")[0]


def measure_group(
    name: str,
    classes: Mapping[str, int | Sequence[int]],
    inputs: Inputs,
    segmenter: Segmenter,
    seed: int,
    progress: bool,
    population: Inputs | None = None,
) -> MethodGroup:
    """Measure the held-out real images with the classes of a condition.

    Args:
        name: of the condition.
        classes: what the methods were told of; each class of the data set belongs to one of them.
        inputs: with the real data set.
        segmenter: trained for the data set's classes.
        seed: of the draw of other patients' masks.
        progress: whether to show a progress bar.
        population: with the real data set that the limits of failed samples come from, if it is another.

    Raises:
        ValueError: if a class of the data set belongs to none of the classes.
    """
    reader = _with_classes(classes, inputs.real_reader, inputs.real.spatial_dims)
    own = {child: set(ids) for child, ids in inputs.real_reader.classes.items()}
    members = {parent: [child for child, c in own.items() if c <= set(ids)] for parent, ids in reader.classes.items()}
    lost = [child for child in own if not any(child in names for names in members.values())]
    if lost or not all(members.values()):
        raise ValueError(
            f"condition {name!r} has classes {reader.classes}, but the data set {inputs.real.root} has {own}: each "
            "class of the condition must merge classes of the data set, and none may be left out"
        )
    merged = segmenter if list(members) == list(own) else MergedSegmenter(segmenter, members)
    real = _measure_real(name, inputs, reader, merged, seed, progress)
    if population is None:
        return MethodGroup(name, reader, merged, real, real)
    of_population = _with_classes(classes, population.real_reader, population.real.spatial_dims)
    limits = _measure_real(name, population, of_population, merged, seed, progress)
    return MethodGroup(name, reader, merged, real, limits, population.real.name)


def _with_classes(classes: Mapping[str, int | Sequence[int]], own: PairReader, dims: int | None) -> PairReader:
    """A reader of the same images with the classes of a condition."""
    return PairReader(classes, own.intensity_range, dims, outside=own.outside, channels=own.channels)


def _measure_real(
    name: str, inputs: Inputs, reader: PairReader, segmenter: Segmenter, seed: int, progress: bool
) -> Measurements:
    others = None if inputs.within_one_patient else draw_other_masks(inputs.held_out, reader, seed)
    bar = f"held-out real images{f', {name}' if name else ''}" if progress else None
    real = measure(inputs.held_out, reader, segmenter, None, bar, others)
    require_finite(real)
    return real


def measure_row(
    name: str, inputs: Inputs, matches: Sequence[Match], condition: MethodGroup, seed: int, progress: bool
) -> MethodRow:
    """Measure the images of one method.

    Args:
        name: of the row.
        inputs: both data sets.
        matches: what to measure, at least one.
        condition: of the row.
        seed: of the draw of other patients' masks.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if a file is not as it should be, or a generated image has another label map than its partner.
    """
    cases = [match.generated for match in matches]
    # As the methods' classes have it, but the synthetic data set's own intensities.
    reader = _with_classes(condition.reader.classes, inputs.synthetic_reader, inputs.real.spatial_dims)
    others = None if inputs.within_one_patient else draw_other_masks(cases, reader, seed)
    return MethodRow(
        name,
        condition,
        inputs.synthetic_reader,
        tuple(matches),
        _errors(inputs, matches),
        measure(cases, reader, condition.segmenter, None, name if progress else None, others),
        measure_views(matches, cases, inputs.synthetic_reader, inputs.real.root),
    )


def measure_views(matches: Sequence[Match], cases: Sequence[Case], reader: PairReader, root: Path) -> Views | None:
    """Measure how consistent the views of each volume are.

    Args:
        matches: say which volume and view each case shows: `<volume>_view<number>` is the name of the real case.
        cases: what to measure, one for each match.
        reader: reads them.
        root: the real data set's folder, with its geometry.

    Returns:
        One figure for each set of views that belong together, or None if there is none.
    """
    deviations, patients, numbers = [], [], []
    for volume, members in _volumes(matches, cases, root):
        geometry = read_geometry(root, volume)
        [(low, high)] = channel_ranges(reader.intensity_range)  # projections have one channel
        images = torch.stack([(reader(case).image[0] + 1) / 2 * (high - low) + low for _, case, _ in members])
        deviations.append(view_consistency(images, geometry, [view for view, _, _ in members]).mean)
        patients.append(members[0][2])
        numbers.append(len(members))
    return Views(torch.tensor(deviations), tuple(patients), tuple(numbers)) if deviations else None


def _volumes(
    matches: Sequence[Match], cases: Sequence[Case], root: Path
) -> Iterator[tuple[str, list[tuple[int, Case, str]]]]:
    """Each volume with several views: index, case and patient of each view. Images of one number form a set."""
    sets: dict[tuple[str, int], list[tuple[int, Case, str]]] = {}
    for match, case in zip(matches, cases, strict=True):
        named = _VIEW.fullmatch(match.real.id)
        if named and (root / "geometry" / f"{named[1]}.json").is_file():
            sets.setdefault((named[1], match.number), []).append((int(named[2]), case, match.real.patient))
    return ((volume, members) for (volume, _), members in sets.items() if len(members) > 1)


def _errors(inputs: Inputs, matches: Sequence[Match]) -> PairedErrors:
    parts = []
    for start in range(0, len(matches), _BATCH):
        pairs = []
        for match in matches[start : start + _BATCH]:
            generated, real = inputs.synthetic_reader(match.generated), inputs.real_reader(match.real)
            if generated.mask_id != real.mask_id:
                raise ValueError(
                    f"{match.generated.label} differs from {match.real.label}, the mask of the same name: generate "
                    "the images from the masks of this data set"
                )
            pairs.append((generated.image, real.image))
        synthetic, true = (torch.stack(images) for images in zip(*pairs, strict=True))
        parts.append(paired_errors((synthetic + 1) / 2, (true + 1) / 2))
    return PairedErrors(*(torch.cat([getattr(p, name) for p in parts]) for name in ("mae", "psnr", "ssim")))

"""The guidance weight that fits a trained generator, chosen on validation masks and kept in its card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from monai_segdiff.bundle import bundle_path
from monai_segdiff.configuration import open_inference
from monai_segdiff.evaluation.evaluate import features_of
from monai_segdiff.evaluation.evidence import gather
from monai_segdiff.evaluation.measure.inputs import read_inputs
from monai_segdiff.evaluation.readers.train_segmenter import open_segmenter
from monai_segdiff.evaluation.sections.failed import FailedSamples
from monai_segdiff.evaluation.sections.faithfulness import Faithfulness
from monai_segdiff.evaluation.sections.realism import Realism
from monai_segdiff.evenly import evenly
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.metrics import Estimate
from monai_segdiff.networks.cards import change_card

__all__ = ["GuidanceFigures", "choose_guidance", "fitting_weight"]

_SPLIT = "validation"
_AS_GOOD = 0.002  # of Dice, which nobody sees


@dataclass(frozen=True)
class GuidanceFigures:
    """What one guidance weight gives on validation masks.

    Args:
        weight: the weight; 1 is none.
        dice: mean Dice of generated images to their masks, by a segmenter trained on real images.
        ceiling: the segmenter's Dice on the real images of these masks.
        failed: share of failed samples.
        kid: kernel Inception distance to the real images, in features of the segmenter.
        kid_high: upper end of its 95% interval.
    """

    weight: float
    dice: float
    ceiling: float
    failed: float
    kid: float
    kid_high: float


def choose_guidance(
    bundle: str | os.PathLike[str],
    dataset: str | Path,
    output: str | os.PathLike[str],
    *,
    weights: Sequence[float] = (1.0, 1.5, 2.0, 3.0),
    most_masks: int = 128,
    per_mask: int = 1,
    seed: int = 0,
    segmenter_images: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> list[GuidanceFigures]:
    """Choose the weight of guidance, and write it with all figures into the card of the bundle's weights.

    Images are generated for validation masks with each weight, with the same noise. A segmenter trained on real images
    reads them. Test masks are not looked at.

    Args:
        bundle: folder of a trained bundle, whose card is changed; its tuned weights stay as they are.
        dataset: the prepared data set that it was trained on.
        output: folder for the images of each weight.
        weights: weights to try, each at least 0; 1 is no guidance.
        most_masks: validation masks at most, evenly spaced.
        per_mask: images for each mask.
        seed: of samples and trainings.
        segmenter_images: length of the segmenter's training in images seen; by default by image size.
        cache_dir: where the segmenter is kept; by default in `output`.
        progress: whether to show progress bars.

    Returns:
        The figures of each weight, those of the one that was chosen first.

    Raises:
        FileNotFoundError: if the bundle has no weights, or there is no such data set.
        ValueError: if there are no validation masks, the bundle takes no guidance, or a figure
            cannot be measured.
        OSError: if a file cannot be written.
    """
    if "guidance_weight" not in open_inference(bundle_path(bundle), [], {}).get("untrained", {}):
        raise ValueError(
            f"{Path(bundle).name} takes its guidance from elsewhere than the card of its weights: leave this out"
        )
    folder = Path(output)
    masks = evenly(collect_masks(dataset, _SPLIT), most_masks)
    cache = folder / "segmenter" if cache_dir is None else Path(cache_dir)
    figures = []
    for weight in sorted(set(map(float, weights))):
        values = {"guidance_weight": weight, "seed": seed}
        generator = load_generator(bundle, overrides=values, tuned=False)
        pairs = folder / f"guidance_{weight:g}"
        generate_dataset(generator, masks, pairs, per_mask=per_mask, progress=progress)
        figures.append(_figures(weight, dataset, pairs, seed, segmenter_images, cache, progress))
    chosen = fitting_weight(figures)
    curve = [asdict(one) for one in figures]
    change_card(generator.weights, guidance_weight=chosen, guidance_curve=curve)
    return sorted(figures, key=lambda one: one.weight != chosen)


def fitting_weight(figures: Sequence[GuidanceFigures]) -> float:
    """The weight with the best Dice, up to its ceiling, among those with which realism does not suffer.

    Realism suffers where the distance to real images is above the interval of the most realistic weight's, or more
    samples fail than with the weight with which fewest do and than without guidance.

    Args:
        figures: those of each weight, at least one.

    Returns:
        The weight; of several as good, up to 0.002 of Dice, the smallest.
    """
    most_real = min(figures, key=lambda one: one.kid)
    without = [one.failed for one in figures if one.weight == 1]
    most_failed = max([min(one.failed for one in figures), *without])
    fit = [one for one in figures if one.kid <= most_real.kid_high and one.failed <= most_failed]
    best = max(map(_faithful, fit or [most_real]))
    return min(one.weight for one in fit or [most_real] if _faithful(one) >= best - _AS_GOOD)


def _faithful(one: GuidanceFigures) -> float:
    """Dice as far as real images reach it: more only says that anatomy is drawn more clearly than it is."""
    return min(one.dice, one.ceiling)


def _figures(
    weight: float,
    dataset: str | Path,
    pairs: Path,
    seed: int,
    segmenter_images: int | None,
    cache: Path,
    progress: bool,
) -> GuidanceFigures:
    inputs = read_inputs(dataset, pairs, held_out=(_SPLIT,))
    segmenter = open_segmenter(
        None, inputs.training, inputs.real_reader, segmenter_images, seed, cache_dir=cache, progress=progress
    )
    subjects = (Faithfulness(), FailedSamples(), Realism())
    without_training = replace(inputs, training=[])  # nothing is held to what the generator was trained on
    evidence = gather(without_training, segmenter, features_of(None, segmenter), subjects, seed=seed, progress=progress)
    rows = {
        (section.key, row.key): row.cells for section in (one(evidence) for one in subjects) for row in section.rows
    }
    cells = {
        "dice": rows["faithfulness", "mean"]["dice"],
        "ceiling": rows["faithfulness", "mean"]["ceiling"],
        "failed": rows["failed", "any"]["rate"],
        "kid": rows["realism", "kid"]["synthetic"],
    }
    values: dict[str, float] = {}
    for name, cell in cells.items():
        value = cell.value if isinstance(cell, Estimate) else cell
        if not isinstance(value, int | float):
            reason = cell.reason if isinstance(cell, Estimate) else "it was not measured"
            raise ValueError(f"guidance cannot be chosen without {name}: {reason}; prepare more validation cases")
        values[name] = float(value)
    kid = cells["kid"]
    high = kid.high if isinstance(kid, Estimate) and kid.high is not None else values["kid"]
    return GuidanceFigures(weight, kid_high=high, **values)

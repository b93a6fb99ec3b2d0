"""A segmenter as the judge of generated images: is the anatomy of the mask there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from monai_segdiff.data import load_label_map
from monai_segdiff.data.description.classes import OUTSIDE_VIEW, named_ids
from monai_segdiff.evaluation import load_segmenter
from monai_segdiff.generation import Acceptance, TrainedGenerator
from monai_segdiff.metrics import dice_per_class, foreground_dice
from monai_segdiff.transforms import scale_channels
from monai_segdiff.transforms.vocabulary import ClassVocabulary

__all__ = ["accept_by_dice"]


def accept_by_dice(
    generator: TrainedGenerator,
    segmenter: str | Path,
    threshold: float,
    max_tries: int = 10,
    *,
    drop_classes: Sequence[str] = (),
    drop_fill: str = "parent",
) -> Acceptance:
    """Keep images that a segmenter reads as their label map.

    The score is the mean Dice over the classes that the label map holds, as ``evaluate`` has it. Classes that are
    dropped from the masks are dropped from what the segmenter reads too. An image with values that are not finite has
    score 0.

    Args:
        generator: what generates; its classes, in their order, are the segmenter's, but for what lies outside the
            field of view, which no segmenter reads.
        segmenter: file of a segmenter: what ``evaluate`` has trained, TorchScript, or an exported program (.pt2).
        threshold: the lowest Dice that is kept, 0 to 1.
        max_tries: how often an image is drawn at most.
        drop_classes: as for :func:`~monai_segdiff.generation.generate_dataset`.
        drop_fill: as there.

    Returns:
        What ``generate_dataset`` takes as ``accept``.

    Raises:
        FileNotFoundError: if there is no such segmenter.
        ValueError: if it is one for other classes, or a number is out of range.
    """
    file = Path(segmenter)
    anatomy = {name: ids for name, ids in generator.classes.items() if name != OUTSIDE_VIEW}
    names = list(anatomy)
    reads = load_segmenter(file, names)
    parents = {name: around for name, around in generator.parents.items() if OUTSIDE_VIEW not in (name, around)}
    vocabulary = ClassVocabulary(anatomy, parents if drop_fill == "parent" else None)
    beyond = [i for name, i in named_ids(generator.classes) if name == OUTSIDE_VIEW]
    destinations = vocabulary.destinations(vocabulary.kept([name for name in names if name not in drop_classes]))

    def judge(images: torch.Tensor, labels: Sequence[Path]) -> list[float]:
        grid = (1, *images.shape[2:])
        maps = [load_label_map(label).as_tensor().reshape(grid) for label in labels]
        outside = torch.stack([torch.isin(one, torch.tensor(beyond, dtype=one.dtype)) for one in maps])
        seen = [one.masked_fill(out, 0) for one, out in zip(maps, outside, strict=True)]
        masks = torch.stack([vocabulary.indices(one, str(label)) for one, label in zip(seen, labels, strict=True)])
        # As `evaluate` reads them: what lies outside the field of view is no anatomy, whatever is drawn there.
        scaled = scale_channels(images.float(), generator.intensity_range).clamp(-1.0, 1.0).masked_fill(outside, -1.0)
        finite = torch.isfinite(scaled).flatten(1).all(1)
        found = destinations[reads.predict(scaled.nan_to_num(0.0))]
        dice = foreground_dice(dice_per_class(found, masks, len(names)))
        return torch.where(finite, dice, 0.0).tolist()

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    about = {"score": "mean Dice over the classes of the label map", "segmenter": file.name, "segmenter_sha256": digest}
    return Acceptance(judge, threshold, max_tries, about)

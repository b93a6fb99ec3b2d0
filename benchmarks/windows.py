"""Images larger than a network's: seams and failed samples of blended windows, of finished tiles and of real images.

    python -m benchmarks.windows --bundle PATCH_BUNDLE --dataset LARGE_IMAGES --segmenter-images 800

The bundle was trained on patches (``configs/patches.yaml``) of the data set, which holds images larger than these.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import say
from monai_segdiff.data import Case, load_image, load_label_map, read_dataset
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.train_segmenter import train_segmenter
from monai_segdiff.generation import TrainedGenerator, load_generator
from monai_segdiff.generation.own_grid import OwnGrid, draw
from monai_segdiff.inferers import Windows, seam_gradient
from monai_segdiff.metrics import dice_per_class, foreground_dice
from monai_segdiff.transforms.vocabulary import ClassVocabulary


def finished_tiles(generator: TrainedGenerator, condition: torch.Tensor, index: int) -> torch.Tensor:
    """Tiles of the network's size side by side, each drawn to its end: what blending is compared with."""
    windows = Windows(generator.image_size, overlap=0.0)
    places = windows.places(condition.shape[1:])
    parts = torch.stack([condition[(slice(None), *place)] for place in places])
    images = generator.sample(parts, [index + 10_000 * (number + 1) for number in range(len(places))])
    whole = torch.zeros(1, *condition.shape[1:])
    for place, image in zip(places, images, strict=True):
        whole[(slice(None), *place)] = image
    return whole


def measure(bundle: Path, dataset: Path, masks: int, steps: int, segmenter_images: int, cache: Path) -> dict[str, Any]:
    """Seam gradients and failed samples of the first masks of a data set's test split."""
    generator = load_generator(bundle, overrides={"num_steps": steps, "amp_dtype": "float32"})
    data = read_dataset(dataset)
    cases: Sequence[Case] = data.splits["test"][:: max(1, len(data.splits["test"]) // masks)][:masks]
    reader = PairReader(dict(generator.classes), generator.intensity_range)
    segmenter = train_segmenter(data.splits["training"], reader, segmenter_images, cache_dir=cache, progress=False)
    vocabulary = ClassVocabulary(generator.classes)
    low, high = generator.intensity_range
    windows = {0.5: Windows(generator.image_size), 0.0: Windows(generator.image_size, 0.0)}
    images: dict[str, list[torch.Tensor]] = {"real": [], "windows": [], "tiles": []}
    labels = []
    for index, case in enumerate(cases):
        own = OwnGrid.of_file(case.label, generator)
        (drawn,) = draw([own], [index], 16)
        images["windows"].append(drawn.image)
        images["tiles"].append(finished_tiles(generator, own.condition(0), index))
        images["real"].append(load_image(case.image).as_tensor().float().clamp(low, high))
        labels.append(vocabulary.indices(load_label_map(case.label).as_tensor(), str(case.label)))
        say(f"{case.id}: {index + 1} of {len(cases)}")
    masks_read = torch.stack(labels)
    result: dict[str, Any] = {"masks": len(cases), "size": list(masks_read.shape[2:]), "steps": steps}
    real_dice = None
    for kind, found in images.items():
        overlap = 0.0 if kind == "tiles" else 0.5
        ratios = [seam_gradient(image, windows[overlap]) for image in found]
        real = [seam_gradient(image, windows[overlap]) for image in images["real"]]
        scaled = (torch.stack(found) - low) * (2.0 / (high - low)) - 1.0
        places = windows[0.0].places(masks_read.shape[2:])
        dice = [_dice(segmenter, scaled, masks_read)]
        dice.append(np.concatenate([_dice(segmenter, scaled[(..., *p)], masks_read[(..., *p)]) for p in places]))
        real_dice = dice if real_dice is None else real_dice
        result[kind] = {
            "seam_gradient": round(float(np.mean(ratios)), 3),
            "of_the_real_images": round(float(np.mean(ratios) / np.mean(real)), 3),
            "dice": round(float(np.nanmean(dice[0])), 3),
            "failed": round(float((dice[0] < np.nanmean(real_dice[0]) / 2).mean()), 3),
            "dice_of_patches": round(float(np.nanmean(dice[1])), 3),
            "failed_patches": round(float((dice[1] < np.nanmean(real_dice[1]) / 2).mean()), 3),
        }
    return result


def _dice(segmenter: Any, images: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """Mean Dice of each image over the classes of its mask; NaN where that is empty."""
    return foreground_dice(dice_per_class(segmenter.predict(images), masks, len(segmenter.classes))).numpy()


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="trained on patches of the data set")
    parser.add_argument("--dataset", type=Path, required=True, help="of images larger than the patches")
    parser.add_argument("--masks", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--segmenter-images", type=int, default=800, help="length of the segmenter's training")
    parser.add_argument("--output", type=Path, default=Path("windows.json"))
    args = parser.parse_args()
    cache = args.output.parent / "segmenters"
    result = measure(args.bundle, args.dataset, args.masks, args.steps, args.segmenter_images, cache)
    args.output.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

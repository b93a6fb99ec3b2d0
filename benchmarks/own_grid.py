"""What masks of another grid lose on the way to the network's and back, with a network that draws classes exactly.

    python -m benchmarks.own_grid ../shared/data/mr/hippocampus --size 32 48 32 --spacing 1.25

For every class the network draws its indicator (an analytic stand-in: nothing is trained), and the image on the mask's
own grid is read at one half. What is lost is what resampling loses; a trained network adds its own errors on any grid.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from monai_segdiff.data import load_label_map, read_dataset
from monai_segdiff.data.preparation.resample import resample_pair
from monai_segdiff.generation.trained_grid import TrainedGrid, place_labels


def dice(found: np.ndarray, label: np.ndarray) -> float:
    """Of two masks."""
    return float(2 * (found & label).sum() / (found.sum() + label.sum()))


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set of volumes with label maps")
    parser.add_argument("--size", type=int, nargs=3, required=True)
    parser.add_argument("--spacing", type=float, required=True, help="mm")
    parser.add_argument("--masks", type=int, default=50)
    args = parser.parse_args()
    dataset = read_dataset(args.source)
    cases = [case for cases in dataset.splits.values() for case in cases if case.label is not None][: args.masks]
    spacing = (args.spacing,) * 3
    own: dict[str, list[float]] = {name: [] for name in dataset.classes}
    grid: dict[str, list[float]] = {name: [] for name in dataset.classes}
    shapes, remarks = set(), 0
    for case in cases:
        labels = load_label_map(case.label)
        shapes.add(tuple(labels.shape[1:]))
        placed, remark = place_labels(labels, args.size, TrainedGrid(spacing))
        assert placed is not None
        remarks += bool(remark)
        for name, ids in dataset.classes.items():
            drawn = placed.onto_source(np.isin(placed.labels, ids).astype(np.float32), fill=0.0)
            own[name].append(dice(drawn > 0.5, np.isin(labels.numpy()[0], ids)))
            # As a segmenter on the network's grid reads it: the image brought there, as prepare brings it.
            image = MetaTensor(torch.from_numpy(drawn)[None], affine=labels.affine)
            there, label = resample_pair(image, labels, placed.spacing, args.size)
            grid[name].append(dice(np.asarray(there)[0] > 0.5, np.isin(np.asarray(label)[0], ids)))
    figures = {
        "masks": len(cases),
        "grids": len(shapes),
        "remarks": remarks,
        "dice_on_the_masks_grid": {name: round(float(np.mean(found)), 4) for name, found in own.items()},
        "dice_on_the_network_grid": {name: round(float(np.mean(found)), 4) for name, found in grid.items()},
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

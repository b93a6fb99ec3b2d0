"""The whole way on phantoms: data, training, generation, report."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.bundle import copy_bundle
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.files import claim_folder

__all__ = ["run_demo"]

# Lengths of the training and of the tuning that follows it, in images seen, and epochs from one preview to the next.
_LENGTHS = {"max_images": 12_800, "tuning_images": 4_800, "preview_interval": 2}


def run_demo(
    output: Path,
    *,
    number: int = 256,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    segmenter_images: int | None = None,
) -> None:
    """Train and tune the ``ct_organ`` bundle on phantoms, generate images for held-out masks and evaluate them.

    Everything goes through what a user has: the bundle's configuration files, ``generate`` and ``evaluate``. Every
    part goes on where it was when the demo is stopped and run again.

    Args:
        output: folder for the bundle with its weights, the phantoms, the pairs and the report.
        number: images to generate, rounded up to as many for each mask.
        seed: seed of everything.
        overrides: values for ids of ``configs/train.yaml``, beside those of ``configs/cpu_demo.yaml``; how to sample
            (``num_steps``) is for the previews of the training, not of the tuning.
        segmenter_images: length of the segmenter's training in images; by default as ``evaluate`` has it.

    Raises:
        ValueError: if a setting is not possible, or the folder holds a demo with other ones.
        FileExistsError: if another run is writing to the folder.
        OSError: if a file cannot be written.
    """
    # Imported here because they take seconds, which help texts should not cost.
    from monai.bundle import run

    from monai_segdiff.evaluation import evaluate
    from monai_segdiff.generation import collect_masks, generate_dataset, load_generator

    logging.getLogger("ignite").setLevel(logging.WARNING)
    started = time.monotonic()
    with claim_folder(output):
        bundle = copy_bundle("ct_organ", output / "ct_organ")
        pairs, report_dir = output / "synthetic", output / "report"

        values = {"bundle_root": str(bundle), "seed": seed, **_LENGTHS, **(overrides or {})}
        files = [str(bundle / "configs" / name) for name in ("train.yaml", "cpu_demo.yaml", "tune.yaml")]
        with unwrapped_errors():
            _say(started, "training the generator on phantoms; pictures on the way in", bundle / "eval")
            run("training", config_file=files[:-1], **values)
            tuning = {name: value for name, value in values.items() if name not in ("max_images", "num_steps")}
            _say(started, "tuning it for three evaluations an image; pictures in", bundle / "eval" / "tuned")
            run("training", config_file=files, **tuning)

        generator = load_generator(bundle, overrides={"seed": seed})
        phantoms = bundle / f"phantoms_{'x'.join(map(str, generator.image_size))}"
        masks = collect_masks(phantoms, "test")
        per_mask = math.ceil(number / len(masks))
        _say(started, f"generating {per_mask} images for each of {len(masks)} held-out masks in", pairs)
        generate_dataset(generator, masks, pairs, per_mask=per_mask)

        _say(started, "training a segmenter on the real images and writing the report in", report_dir)
        report = evaluate(phantoms, pairs, report_dir, seed=seed, segmenter_images=segmenter_images)
        print(report.summary())
        _say(started, "done; look at", report_dir / "samples.png")
        print(f"report:  {report_dir / 'report.html'}\npairs:   {pairs}\nweights: {generator.weights}")


def _say(started: float, text: str, path: Path) -> None:
    print(f"[{time.monotonic() - started:4.0f} s] {text} {path}", flush=True)

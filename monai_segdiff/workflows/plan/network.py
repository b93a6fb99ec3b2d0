"""Bundle, network, batch and length of the training."""

from __future__ import annotations

import math

from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.fingerprint import Fingerprint
from monai_segdiff.workflows.plan.machine import Machine

__all__ = ["BUNDLES", "DEFAULT_IMAGES", "TUNED", "choose_bundle", "choose_length", "choose_network", "longest_side"]

BUNDLES = ("ct_organ", "breast_mri")
"""Bundles whose one training reads a plan."""

DEFAULT_IMAGES = {2: 22_400, 3: 4_800}
"""Images that a training sees where nobody says how long: what gave the published results of slices and volumes."""

_SMALL = {
    2: ({"channels": [16, 32, 64, 96], "num_res_blocks": 1, "batch_size": 16}, "22,400 images of 64x64"),
    3: ({"channels": [16, 32, 64], "num_res_blocks": 1, "batch_size": 2}, "4,800 volumes of 32x32x32"),
}
_LARGE = {"channels": [64, 128, 256, 384], "num_res_blocks": 2, "batch_size": 16}
_LARGE_SIDE, _LARGE_MEMORY = 128, 20 * 2**30
TUNED = 0.25
"""Share of the images that tune the network after its training."""

_EPOCHS = 14  # of a training: a checkpoint after each
_EPOCHS_WITH_TUNING = 16  # four of them the tuning's
_LONGEST = {"cpu": {2: 64, 3: 32}, "gpu": {2: 128, 3: 64}}


def longest_side(machine: Machine, spatial_dims: int) -> int:
    """Voxels of the longest side of an image that a network is planned for.

    Args:
        machine: where it is trained.
        spatial_dims: 2 or 3.
    """
    return _LONGEST["gpu" if machine.gpu else "cpu"][spatial_dims]


def choose_bundle(fingerprint: Fingerprint, choices: Choices) -> None:
    """Choose the bundle.

    Args:
        fingerprint: the data.
        choices: get ``bundle``.
    """
    reason = "images of any kind with label maps, in image space, the mask as further channels of the input"
    if fingerprint.findings:
        reason += (
            f"; findings ({', '.join(fingerprint.findings)}) are left out: chest_xray trains with them, in three parts"
        )
    choices.choose("bundle", BUNDLES[0], f"{reason}; {BUNDLES[1]} modulates the network by the mask instead (SPADE)")
    if choices["bundle"] not in BUNDLES:
        raise ValueError(f"bundle must be {' or '.join(BUNDLES)} in a plan, not {choices['bundle']!r}")


def choose_network(machine: Machine, choices: Choices, batch_size: int | None = None) -> None:
    """Choose network, batch and learning rate.

    Args:
        machine: where it is trained.
        choices: with the grid; get the network.
        batch_size: where memory allows no larger one.
    """
    dims, side = choices["spatial_dims"], max(choices["image_size"])
    large = dims == 2 and side >= _LARGE_SIDE and machine.gpu_memory >= _LARGE_MEMORY
    sizes, known = (_LARGE, "") if large else _SMALL[dims]
    levels = len(sizes["channels"])  # type: ignore[arg-type]
    where = machine.gpu or f"a CPU of {machine.cores} cores"
    why = f"the published network, for {where}" if large else f"a small network for {where}; good results after {known}"
    channels = choices.choose("channels", sizes["channels"], why)
    levels = len(channels)
    choices.choose("num_res_blocks", sizes["num_res_blocks"], "residual blocks a level")
    attention = [large and level == levels - 1 for level in range(levels)]
    choices.choose("attention_levels", attention, "in the coarsest level" if large else "none in a small network")
    choices.choose("num_head_channels", 64 if large else 16, "divides channels where there is attention")
    choices.choose("norm_num_groups", 32 if large else 8, "divides all channels")
    fits = batch_size or sizes["batch_size"]
    why = "as the learning rate was found for" if batch_size is None else "as large as memory allows"
    choices.choose("batch_size", fits, why)
    rate = 0.0002 if large else 0.002 if dims == 2 else 0.001
    choices.choose("learning_rate", rate, "found for this network and batch")
    choices.choose("ema_momentum", 0.0005 if large else 0.005, "the average of the weights spans some hundred steps")


def choose_length(choices: Choices, images: int, reason: str) -> None:
    """Choose the length of the training and what happens on the way.

    Args:
        choices: with the network; get the length.
        images: that the training sees.
        reason: why so many.
    """
    batch = choices["batch_size"]
    epoch = max(batch, math.ceil(images / _EPOCHS_WITH_TUNING / batch) * batch)
    why = (
        f"{TUNED:.0%} of {images:,d} images tune the trained network, so that an image takes three evaluations; 0: none"
    )
    tuning = choices.choose("tuning_images", round(images * TUNED / epoch) * epoch, why)
    planned = max(1, images - tuning)
    images = choices.choose("max_images", planned, f"the rest: {reason}" if tuning else reason)
    if not tuning or images != planned:
        epoch = max(batch, math.ceil(images / _EPOCHS / batch) * batch)
    epoch = choices.choose(
        "images_per_epoch", epoch, f"{math.ceil(images / epoch)} epochs: a checkpoint is kept after each"
    )
    epochs = max(1, math.ceil(images / epoch))
    steps = epochs * math.ceil(epoch / batch)
    choices.choose("warmup_steps", max(1, min(50, steps // 10)), f"of {steps} steps in all")
    half = max(1, epochs // 2)
    choices.choose("val_interval", half, f"epochs between validations, of {epochs}")
    choices.choose("preview_interval", half, "epochs between previews")

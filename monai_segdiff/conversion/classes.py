"""Where the classes of monai-generative are in MONAI, and what became of their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CLASSES", "NewClass", "convert_options"]

_NETS = "monai.networks.nets"
_STEPS = (
    "with fewer steps than in training MONAI's scheduler visits other timesteps, so that weights and seed give other "
    "samples than before; monai_segdiff.diffusion.EpsilonVP.from_monai_scheduler adopts the model for any sampler"
)


@dataclass(frozen=True)
class NewClass:
    """What a class of monai-generative 0.2.3 is in MONAI.

    Attributes:
        target: its full name there.
        renamed: options that have another name there.
        missing: options that MONAI's class does not have, with the remedy.
        refused: options that MONAI's class has in another meaning when they are true, with the remedy.
        note: what differs and cannot be converted.
    """

    target: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def _same(module: str, *names: str, **options: Any) -> dict[str, NewClass]:
    return {name: NewClass(f"{module}.{name}", **options) for name in names}


_CHANNELS = {"num_channels": "channels"}
_CHECKPOINT = {"use_checkpointing": "use_checkpoint"}
_TRANSPOSED = (
    "monai-generative's transposed convolution is 3 wide and MONAI's 2, so that weights of one do not fit the other: "
    "keep monai-generative for this network"
)

#: The public classes of monai-generative 0.2.3 that MONAI has, by their names there.
CLASSES: dict[str, NewClass] = {
    **_same(_NETS, "DiffusionModelUNet", "SPADEDiffusionModelUNet", "ControlNet", renamed=_CHANNELS),
    **_same(_NETS, "AutoencoderKL", renamed=_CHANNELS | _CHECKPOINT, refused={"use_convtranspose": _TRANSPOSED}),
    **_same(_NETS, "SPADEAutoencoderKL", "SPADENet", "VQVAE", renamed=_CHANNELS),
    **_same(_NETS, "PatchDiscriminator", "MultiScalePatchDiscriminator", renamed=_CHANNELS),
    **_same(_NETS, "DecoderOnlyTransformer"),
    **_same("monai.networks.layers", "EMAQuantizer", "VectorQuantizer"),
    **_same("monai.networks.schedulers", "DDPMScheduler", "DDIMScheduler", note=_STEPS),
    **_same("monai.networks.schedulers", "PNDMScheduler", "NoiseSchedules", "Scheduler"),
    **_same(
        "monai.inferers",
        "DiffusionInferer",
        "LatentDiffusionInferer",
        "ControlNetDiffusionInferer",
        "ControlNetLatentDiffusionInferer",
        "VQVAETransformerInferer",
    ),
    **_same("monai.losses", "PatchAdversarialLoss", "PerceptualLoss", "JukeboxLoss"),
    **_same("monai.metrics", "FIDMetric", "MultiScaleSSIMMetric"),
    **_same("monai.metrics", "SSIMMetric", renamed={"kernel_size": "win_size"}),
    **_same(
        "monai.metrics",
        "MMDMetric",
        missing=dict.fromkeys(("y_transform", "y_pred_transform"), "give MONAI's one y_mapping, or transform before"),
    ),
    **_same("monai.engines", "DiffusionPrepareBatch", "VPredictionPrepareBatch", "AdversarialTrainer"),
    **_same("monai.utils", "AdversarialKeys", "AdversarialIterationEvents", "OrderingType", "OrderingTransformations"),
    **_same("monai.utils", "Ordering", "ComponentStore", "unsqueeze_left", "unsqueeze_right"),
}


def convert_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a class the names that they have in MONAI.

    Args:
        name: the class, one of :data:`CLASSES`.
        options: as monai-generative 0.2.3 takes them.

    Returns:
        The options for MONAI's class, in the same order.

    Raises:
        ValueError: where the class is not known, or an option has no counterpart; the message has the remedy.
    """
    if name not in CLASSES:
        raise ValueError(f"MONAI has no counterpart of monai-generative's {name}, or it is not known here.")
    new = CLASSES[name]
    for option, value in options.items():
        remedy = new.missing.get(option) or (new.refused.get(option) if value else None)
        if remedy:
            raise ValueError(f"{name}'s option {option} cannot be converted: {remedy}.")
    return {new.renamed.get(option, option): value for option, value in options.items()}

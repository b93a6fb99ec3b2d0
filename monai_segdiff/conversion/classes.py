"""Where the classes of monai-generative are in MONAI, and what became of their options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CLASSES", "PACKAGE", "RENAMED", "NewClass", "convert_options", "notes_on"]

PACKAGE = "generative"
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
        positional: how many arguments have the same order in both; None if all.
    """

    target: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    positional: int | None = None

    @property
    def options(self) -> set[str]:
        """The options that do not mean the same in MONAI by the same name."""
        return {*self.renamed, *self.missing, *self.refused}

    @property
    def is_same(self) -> bool:
        """Whether MONAI's class takes everything that the old one took, and does the same with it."""
        return not (self.options or self.note) and self.positional is None


def _same(module: str, *names: str, **options: Any) -> dict[str, NewClass]:
    return {name: NewClass(f"{module}.{name}", **options) for name in names}


_CHANNELS = {"num_channels": "channels"}
_CHECKPOINT = {"use_checkpointing": "use_checkpoint"}
_TRANSPOSED = (
    "monai-generative's transposed convolution is 3 wide and MONAI's 2, so that weights of one do not fit the other: "
    "keep monai-generative for this network"
)

_SCHEDULE = {
    "beta_schedule": "neither monai-generative 0.2.3 nor MONAI takes it: give schedule, such as scaled_linear_beta"
}
_CONTROLNET = (
    "MONAI's inferer gives the ControlNet the condition, too, as context or, in the mode concat, joined to its input, "
    "which monai-generative's did not: with a condition, a ControlNet trained there gets an input that it never saw"
)
_ENCODER = (
    "MONAI sizes the first of its linear layers by the new option input_shape, monai-generative's took 4096 values: "
    "give the shape of the images; convert does not convert its weights"
)
_SPADENET = (
    "MONAI's forward with is_vae returns (image, z_mu, z_logvar) in place of (image, kld_loss), so that a training "
    "computes that loss itself; without is_vae its first layer is a convolution, conv_init, in place of the linear fc, "
    "whose weights do not fit"
)
_MMD = (
    "MONAI's estimate is unbiased and not divided by the number of values of an image, monai-generative's was biased: "
    "values do not compare; a batch of one image is refused"
)
_MAPPING = "give MONAI's one y_mapping, or transform before"

#: The classes of monai-generative 0.2.3 that MONAI has, by their names there.
CLASSES: dict[str, NewClass] = {
    **_same(_NETS, "DiffusionModelUNet", renamed=_CHANNELS, positional=15),
    **_same(_NETS, "SPADEDiffusionModelUNet", renamed=_CHANNELS, positional=16),
    **_same(_NETS, "ControlNet", renamed=_CHANNELS, positional=14),
    **_same(f"{_NETS}.diffusion_model_unet", "DiffusionModelEncoder", renamed=_CHANNELS, note=_ENCODER, positional=3),
    **_same(
        _NETS,
        "AutoencoderKL",
        renamed=_CHANNELS | _CHECKPOINT,
        refused={"use_convtranspose": _TRANSPOSED},
        positional=11,
    ),
    **_same(_NETS, "SPADEAutoencoderKL", renamed=_CHANNELS, positional=12),
    **_same(_NETS, "SPADENet", renamed=_CHANNELS, note=_SPADENET),
    **_same(_NETS, "VQVAE", "PatchDiscriminator", "MultiScalePatchDiscriminator", renamed=_CHANNELS),
    **_same(_NETS, "DecoderOnlyTransformer", positional=7),
    **_same("monai.networks.layers", "EMAQuantizer", "VectorQuantizer"),
    **_same("monai.networks.schedulers", "DDPMScheduler", "DDIMScheduler", note=_STEPS, refused=_SCHEDULE),
    **_same("monai.networks.schedulers", "PNDMScheduler", refused=_SCHEDULE),
    **_same("monai.networks.schedulers", "NoiseSchedules", "Scheduler"),
    **_same("monai.networks.schedulers.ddpm", "DDPMPredictionType", "DDPMVarianceType"),
    **_same("monai.networks.schedulers.pndm", "PNDMPredictionType"),
    **_same("monai.inferers", "DiffusionInferer", "LatentDiffusionInferer", "VQVAETransformerInferer"),
    **_same("monai.inferers", "ControlNetDiffusionInferer", "ControlNetLatentDiffusionInferer", note=_CONTROLNET),
    **_same("monai.losses.adversarial_loss", "AdversarialCriterions"),
    **_same("monai.losses", "PatchAdversarialLoss", "PerceptualLoss", "JukeboxLoss"),
    **_same("monai.metrics", "FIDMetric", "MultiScaleSSIMMetric"),
    **_same("monai.metrics", "SSIMMetric", renamed={"kernel_size": "win_size"}),
    **_same(
        "monai.metrics",
        "MMDMetric",
        missing={"y_transform": _MAPPING, "y_pred_transform": _MAPPING},
        note=_MMD,
        positional=0,
    ),
    **_same("monai.engines", "DiffusionPrepareBatch", "VPredictionPrepareBatch", "AdversarialTrainer"),
    **_same("monai.utils", "AdversarialKeys", "AdversarialIterationEvents", "OrderingType", "OrderingTransformations"),
    **_same("monai.utils", "Ordering", "ComponentStore", "unsqueeze_left", "unsqueeze_right"),
}
#: Every option that has another name in MONAI, with that name.
RENAMED = {old: new for one in CLASSES.values() for old, new in one.renamed.items()}


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


def notes_on(name: str, on: Collection[str], schedule: str = "") -> list[str]:
    """Say what differs in MONAI for a class with these options.

    Args:
        name: the class, one of :data:`CLASSES`.
        on: the options that are neither false, null nor zero.
        schedule: its option of that name.

    Returns:
        A sentence each, none for most.
    """
    notes = [CLASSES[name].note] if CLASSES[name].note else []
    if {"use_flash_attention", "dropout_cattn"} <= set(on):
        notes.append(
            f"with use_flash_attention and dropout_cattn, MONAI's {name} drops attention at inference, too: set "
            "use_flash_attention to false"
        )
    if {"upcast_attention", "with_conditioning"} <= set(on):
        notes.append(
            f"with upcast_attention and with_conditioning, MONAI's {name} fails once its weights are in half "
            "precision: set upcast_attention to false there, or keep the weights in float32"
        )
    if schedule == "cosine" and name.endswith("Scheduler"):
        notes.append(
            "MONAI's cosine schedule begins a step later than that of monai-generative, so that noise levels differ a "
            "little from those of training"
        )
    return notes

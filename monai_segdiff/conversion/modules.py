"""Where the modules of monai-generative are in MONAI."""

from __future__ import annotations

__all__ = ["MODULES", "PACKAGE", "full_target", "new_module"]

PACKAGE = "generative"
#: The old package's modules that MONAI has by the same path. The package itself stands for `import generative`.
MODULES = {
    "",
    *("engines", "engines.trainer", "inferers", "inferers.inferer"),
    *("losses", *(f"losses.{name}" for name in ("adversarial_loss", "perceptual", "spectral_loss"))),
    *("metrics", "metrics.fid", "metrics.mmd"),
    *("networks", "networks.blocks", "networks.layers", "networks.layers.vector_quantizer"),
    *("networks.nets", "networks.nets.autoencoderkl", "networks.nets.controlnet", "networks.nets.vqvae"),
    *("networks.nets.diffusion_model_unet", "networks.nets.patchgan_discriminator", "networks.nets.transformer"),
    *(f"networks.nets.spade_{name}" for name in ("autoencoderkl", "diffusion_model_unet", "network")),
    *("networks.schedulers", *(f"networks.schedulers.{name}" for name in ("ddim", "ddpm", "pndm", "scheduler"))),
    *("utils", *(f"utils.{name}" for name in ("component_store", "enums", "misc", "ordering"))),
}


def new_module(old: str) -> str | None:
    """Where a module of monai-generative is in MONAI; None if that is not known."""
    path = old.removeprefix(PACKAGE).lstrip(".")
    return ".".join(filter(None, ["monai", path])) if path in MODULES else None


def full_target(target: str, aliases: dict[str, str]) -> str:
    """The full name of a component's class, which an expression may give by a name of an import.

    Args:
        target: its ``_target_``, with or without ``$``.
        aliases: local name to old full name, of the configuration's imports.
    """
    first, dot, rest = target.removeprefix("$").partition(".")
    return (aliases.get(first, first) if target[:1] == "$" else first) + dot + rest

"""The names of a monai-generative network's weights, and MONAI's names for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

__all__ = ["NETWORKS", "ConvertedWeights", "check_asked", "convert_weights", "network_of"]

#: The networks that can be converted, by their names on the command line.
NETWORKS = {
    "unet": "DiffusionModelUNet",
    "spade": "SPADEDiffusionModelUNet",
    "controlnet": "ControlNet",
    "autoencoder": "AutoencoderKL",
}

_UNET = {"conv_in", "time_embed", "class_embedding", "down_blocks", "middle_block", "up_blocks", "out"}
_CONTROL = {"controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block"}
_PARTS = {
    "unet": _UNET,
    "spade": _UNET,
    "controlnet": (_UNET - {"up_blocks", "out"}) | _CONTROL,
    "autoencoder": {"encoder", "decoder", "quant_conv_mu", "quant_conv_log_sigma", "post_quant_conv"},
}
_OPTIONAL = {"class_embedding"}
# Besides these, the keys of both are the same. Where a block has `proj_attn`, its attention is renamed as a whole.
_RENAMES = (
    (re.compile(r"^(.+\.attn[12])\.to_out\.0\.(weight|bias)$"), r"\1.out_proj.\2"),
    (re.compile(r"^(.+\.upsampler)\.conv\.(.+)$"), r"\1.postconv.\2"),
    (re.compile(r"^(decoder\.blocks\.\d+)\.conv\.conv\.(.+)$"), r"\1.postconv.conv.\2"),
    (re.compile(r"^(.+\.param_free_norm)\.N\.(.+)$"), r"\1.\2"),
)
_ATTENTION = re.compile(r"^(.+)\.proj_attn\.weight$")
_PROJECTION = re.compile(r"^(.+)\.(to_[qkv])\.(weight|bias)$")
_NEW = re.compile(r"\.attn\.to_[qkv]\.|\.out_proj\.|\.postconv\.")
_SHOWN = 5


@dataclass(frozen=True)
class ConvertedWeights:
    """A state dict under MONAI's names, and what was done to it.

    Attributes:
        network: which of :data:`NETWORKS` it is of.
        weights: the state dict for MONAI's class.
        renamed: old name to new name, where they differ.
        dropped: old names of weights that had no part in the old network's output.
        added: new names of weights that change nothing, an identity and zeros, and that MONAI's class has to have.
    """

    network: str
    weights: dict[str, torch.Tensor]
    renamed: dict[str, str]
    dropped: tuple[str, ...]
    added: tuple[str, ...]


def network_of(weights: Mapping[str, torch.Tensor]) -> str | None:
    """Tell whose weights these are, by their names.

    Args:
        weights: a state dict, old or new names.

    Returns:
        One of :data:`NETWORKS`, or None if it is none of them, or only a part of one.
    """
    parts = {key.split(".")[0] for key in weights}
    spade = any(".mlp_gamma." in key for key in weights)
    if "quant_conv_mu" in parts:
        network = "" if spade else "autoencoder"
    elif "controlnet_mid_block" in parts:
        network = "controlnet"
    else:
        network = "spade" if spade else "unet"
    return network if network and _PARTS[network] - _OPTIONAL <= parts else None


def convert_weights(weights: Mapping[str, torch.Tensor], network: str | None = None) -> ConvertedWeights:
    """Give the weights of a monai-generative 0.2.3 network the names that MONAI's class has for them.

    MONAI's network then computes what the old one did. MONAI's own ``load_old_state_dict`` does not: monai-generative's
    self-attention held a projection, ``proj_attn``, that it never applied, and MONAI applies it. Here an identity
    takes its place.

    Args:
        weights: the old state dict, without the prefixes of wrappers.
        network: one of :data:`NETWORKS`; found from the names where it is not given.

    Returns:
        The new state dict, a copy, with what was done.

    Raises:
        ValueError: where the weights are of no such network or of another than the one given, hold more than one
            network, or have MONAI's names already.
    """
    found = network_of(weights)
    check_asked(network, found)
    if found is None:
        shown = ", ".join(list(weights)[:_SHOWN])
        raise ValueError(
            f"these are not the weights of one of {', '.join(NETWORKS.values())}, but hold {shown}, ...: only these "
            "four networks can be converted, each as a whole."
        )
    _check_names(weights, found)
    blocks = {match[1] for key in weights if (match := _ATTENTION.match(key))}
    if lacking := [name for block in sorted(blocks) if (name := f"{block}.to_v.weight") not in weights]:
        raise ValueError(f"the weights lack {lacking[0]}, which goes with {lacking[0].replace('to_v', 'proj_attn')}.")
    new: dict[str, torch.Tensor] = {}
    renamed: dict[str, str] = {}
    dropped: list[str] = []
    added: list[str] = []
    for key, value in weights.items():
        if any(key in (f"{block}.proj_attn.weight", f"{block}.proj_attn.bias") for block in blocks):
            dropped.append(key)
            continue
        name = _new_name(key, blocks)
        if name != key:
            renamed[key] = name
        new[name] = value.detach().clone()
    for block in sorted(blocks):
        like = weights[f"{block}.to_v.weight"]
        channels = like.shape[0]
        new[f"{block}.attn.out_proj.weight"] = torch.eye(channels, dtype=like.dtype, device=like.device)
        new[f"{block}.attn.out_proj.bias"] = torch.zeros(channels, dtype=like.dtype, device=like.device)
        added += [f"{block}.attn.out_proj.weight", f"{block}.attn.out_proj.bias"]
    return ConvertedWeights(found, new, renamed, tuple(dropped), tuple(added))


def check_asked(asked: str | None, found: str | None) -> None:
    """Check that the weights are of the network asked for.

    Args:
        asked: one of :data:`NETWORKS`, or None.
        found: whose they are by their names, see :func:`network_of`.

    Raises:
        ValueError: where the two contradict each other.
    """
    if asked in NETWORKS and found is not None and asked != found:
        raise ValueError(
            f"the weights are none of {NETWORKS[asked]}'s, but of {NETWORKS[found]}: leave the network out, or say "
            f"{found}"
        )


def _new_name(key: str, attention_blocks: set[str]) -> str:
    found = _PROJECTION.match(key)
    if found and found[1] in attention_blocks:
        return f"{found[1]}.attn.{found[2]}.{found[3]}"
    for pattern, replacement in _RENAMES:
        name, count = pattern.subn(replacement, key)
        if count:
            return name
    return key


def _check_names(weights: Mapping[str, torch.Tensor], network: str) -> None:
    foreign = [key for key in weights if key.split(".")[0] not in _PARTS[network]]
    if foreign:
        raise ValueError(
            f"{len(foreign)} of {len(weights)} weights are none of {NETWORKS[network]}'s: "
            f"{', '.join(foreign[:_SHOWN])}{', ...' if len(foreign) > _SHOWN else ''}."
        )
    converted = [key for key in weights if _NEW.search(key)]
    if converted:
        raise ValueError(
            f"the weights of this {NETWORKS[network]} have MONAI's names already, such as {converted[0]}: load them as "
            "they are."
        )

"""Networks of monai-generative in every variant that changes the names of their weights, with small options."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import nets
from torch import nn

from monai_segdiff.conversion import NETWORKS, convert_options

# As monai-generative spells them.
_UNET: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 2,
    "out_channels": 2,
    "num_channels": [8, 16, 16],
    "attention_levels": [False, True, True],
    "num_res_blocks": [1, 2, 1],
    "num_head_channels": 8,
    "norm_num_groups": 4,
}
_CONDITIONED = {"with_conditioning": True, "cross_attention_dim": 6, "transformer_num_layers": 2}
_PLAIN = {"attention_levels": [False, False, False]}
_SPADE = {**_UNET, "label_nc": 3, "spade_intermediate_channels": 8}
_CONTROL = {
    **{name: value for name, value in _UNET.items() if name != "out_channels"},
    "conditioning_embedding_in_channels": 3,
    "conditioning_embedding_num_channels": [8, 12],
}
_AUTOENCODER: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "num_channels": [8, 8, 16],
    "attention_levels": [False, False, True],
    "num_res_blocks": [1, 2, 1],
    "latent_channels": 3,
    "norm_num_groups": 4,
}
_NO_MIDDLE = {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "unet 2D": ("unet", _UNET),
    "unet 3D": ("unet", {**_UNET, "spatial_dims": 3}),
    "unet without attention": ("unet", {**_UNET, **_PLAIN}),
    "unet without attention 3D": ("unet", {**_UNET, **_PLAIN, "spatial_dims": 3}),
    "unet cross-attention": ("unet", {**_UNET, **_CONDITIONED}),
    "unet cross-attention 3D": ("unet", {**_UNET, **_CONDITIONED, "spatial_dims": 3}),
    "unet cross-attention upcast": ("unet", {**_UNET, **_CONDITIONED, "upcast_attention": True}),
    "unet classes": ("unet", {**_UNET, "num_class_embeds": 5}),
    "unet residual up and down": ("unet", {**_UNET, "resblock_updown": True}),
    "unet heads by level": ("unet", {**_UNET, "num_head_channels": [0, 4, 16]}),
    "unet dropout": ("unet", {**_UNET, **_CONDITIONED, "dropout_cattn": 0.3}),
    "spade 2D": ("spade", _SPADE),
    "spade 3D": ("spade", {**_SPADE, "spatial_dims": 3}),
    "spade without attention": ("spade", {**_SPADE, **_PLAIN}),
    "spade cross-attention": ("spade", {**_SPADE, **_CONDITIONED}),
    "spade classes": ("spade", {**_SPADE, "num_class_embeds": 5}),
    "spade residual up and down": ("spade", {**_SPADE, "resblock_updown": True}),
    "controlnet 2D": ("controlnet", _CONTROL),
    "controlnet 3D": ("controlnet", {**_CONTROL, "spatial_dims": 3}),
    "controlnet without attention": ("controlnet", {**_CONTROL, **_PLAIN}),
    "controlnet cross-attention": ("controlnet", {**_CONTROL, **_CONDITIONED}),
    "controlnet classes": ("controlnet", {**_CONTROL, "num_class_embeds": 5}),
    "autoencoder 2D": ("autoencoder", _AUTOENCODER),
    "autoencoder 3D": ("autoencoder", {**_AUTOENCODER, "spatial_dims": 3}),
    "autoencoder without attention": ("autoencoder", {**_AUTOENCODER, **_PLAIN, **_NO_MIDDLE}),
    "autoencoder without attention 3D": ("autoencoder", {**_AUTOENCODER, **_PLAIN, **_NO_MIDDLE, "spatial_dims": 3}),
    "autoencoder middle attention": ("autoencoder", {**_AUTOENCODER, **_PLAIN}),
    "autoencoder checkpointing": ("autoencoder", {**_AUTOENCODER, "use_checkpointing": True}),
}


def draw_weights(network: nn.Module, seed: int = 0) -> None:
    """Fill in weights of a trained network's kind: none is zero, which many are at the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
            draw = torch.randn(parameter.shape, generator=generator)
            # Scales of norms begin at 1, shifts and biases at or about 0.
            parameter.copy_(draw * fan_in**-0.5 if fan_in else parameter.mean().round() + 0.2 * draw)


def outputs(network: nn.Module, kind: str, options: dict[str, Any], seed: int = 0) -> list[torch.Tensor]:
    """What a network makes of a batch of two, with everything that it can be given."""
    generator = torch.Generator().manual_seed(seed)
    sides = (16,) * options["spatial_dims"]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    call: Any = network.eval()
    with torch.no_grad():
        if kind == "autoencoder":
            mean, sigma = call.encode(draw(2, options["in_channels"], *sides))
            return [mean, sigma, call.decode(mean), call.reconstruct(draw(2, options["in_channels"], *sides))]
        given: dict[str, Any] = {"x": draw(2, options["in_channels"], *sides), "timesteps": torch.tensor([3, 700])}
        if options.get("with_conditioning"):
            given["context"] = draw(2, 3, options["cross_attention_dim"])
        if options.get("num_class_embeds"):
            given["class_labels"] = torch.tensor([4, 1])
        if kind == "spade":
            given["seg"] = draw(2, options["label_nc"], *sides)
        if kind == "controlnet":
            # Every width of the embedding after the first halves the mask.
            condition = [side * 2 ** (len(options["conditioning_embedding_num_channels"]) - 1) for side in sides]
            given["controlnet_cond"] = draw(2, options["conditioning_embedding_in_channels"], *condition)
            down, middle = call(**given)
            return [*down, middle]
        return [call(**given)]


def monai_network(name: str) -> nn.Module:
    """MONAI's network of a case, as if converted: its attention's projections are identities."""
    kind, options = CASES[name]
    network = getattr(nets, NETWORKS[kind])(**convert_options(NETWORKS[kind], options))
    draw_weights(network)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if key.endswith(".attn.out_proj.weight"):
                parameter.copy_(torch.eye(len(parameter)))
            elif key.endswith(".attn.out_proj.bias"):
                parameter.zero_()
    return network


def old_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict of monai-generative that gives `monai_network` when it is converted."""
    old = {}
    for key, value in network.state_dict().items():
        if ".attn.out_proj." in key:
            name, value = key.replace(".attn.out_proj.", ".proj_attn."), torch.full_like(value, 7.0)
        elif ".out_proj." in key:
            name = key.replace(".out_proj.", ".to_out.0.")
        elif ".param_free_norm." in key:
            name = key.replace(".param_free_norm.", ".param_free_norm.N.")
        else:
            name = key.replace(".attn.to_", ".to_").replace(".postconv.", ".conv.")
        old[name] = value
    return old

"""What a user gives to an XReal run, checked and brought to tensors, before anything is sampled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeAlias

import torch
from monai.utils import convert_to_tensor

from monai_segdiff.transforms import PromptEncoder

__all__ = ["Findings", "edit_prompts", "edit_regions", "free_latents", "mask_values", "organs"]

Findings: TypeAlias = str | Sequence[str] | Sequence[str | Sequence[str] | None] | torch.Tensor

_LEAST_INSIDE = 0.25  # share of a latent's pixels in the region; in one that has less hardly anything changes
_FREE_INSIDE = 0.5  # share from which a latent is free
_SAME_LEVEL = 1e-4  # gray levels that went through files and float32 differ less, levels of two classes more


def mask_values(inputs: torch.Tensor, levels: Sequence[float] | None) -> torch.Tensor:
    """Check the masks that the anatomy controller is given.

    Args:
        inputs: masks as gray values, (B, 1, *spatial).
        levels: the gray values with which the controller was trained, background included; ``None`` not to check.

    Returns:
        Plain float32 tensor of the same shape.

    Raises:
        ValueError: when the shape is another, or a sample holds another value.
    """
    masks = convert_to_tensor(inputs, dtype=torch.float32, track_meta=False)
    if masks.ndim not in (4, 5) or masks.shape[1] != 1:
        raise ValueError(
            "masks must be gray values, (B, 1, *spatial) with 2 or 3 spatial dimensions, as EncodeMask gives them in "
            f"mode 'values'; got shape {tuple(masks.shape)}."
        )
    for sample, mask in enumerate(masks):
        if not bool(torch.isfinite(mask).all()):
            raise ValueError(f"the mask of sample {sample} holds NaN or infinite values.")
        if levels is None:
            continue
        known = torch.tensor([float(level) for level in levels], device=mask.device)
        found = mask.unique()
        untrained = found[(found[:, None] - known).abs().amin(dim=1) > _SAME_LEVEL].tolist()
        if untrained:
            raise ValueError(
                f"the mask of sample {sample} holds the gray values {_listed(untrained[:5])}, but the anatomy "
                f"controller was trained with {_listed(levels)}."
            )
    return masks


def organs(masks: torch.Tensor, background: float, outside: float, latent_size: Sequence[int]) -> torch.Tensor:
    """Give XReal's soft mask m: 1 inside the organs, less elsewhere.

    Args:
        masks: gray values, (B, 1, *spatial).
        background: gray value of what is no organ.
        outside: m there.
        latent_size: spatial shape of the latents.

    Returns:
        (B, 1, *latent_size), each value the mean over the pixels of its block.
    """
    inside = ((masks - background).abs() > _SAME_LEVEL).to(masks.dtype)
    return outside + (1.0 - outside) * torch.nn.functional.interpolate(inside, tuple(latent_size), mode="area")


def edit_prompts(findings: Findings | None, batch_size: int, encoder: PromptEncoder) -> list[torch.Tensor | None]:
    """Encode what is to be put into each sample.

    Args:
        findings: names of findings, the same for all samples; or a sequence with one such list for each sample, or
            ``None`` where there is no edit; or encoded prompts (B, L), of which a null prompt is no edit.
        batch_size: number of samples.
        encoder: makes prompts of names.

    Returns:
        For each sample its prompt (L,), or ``None`` where it is not edited.

    Raises:
        ValueError: for an unknown finding, or when there are not as many lists as samples.
    """
    if findings is None:
        return [None] * batch_size
    if isinstance(findings, torch.Tensor):
        return _encoded_prompts(findings, batch_size, encoder)
    if isinstance(findings, str) or all(isinstance(name, str) for name in findings):
        if len(findings) == batch_size > 1 and not isinstance(findings, str):
            raise ValueError(
                f"{list(findings)} may mean a finding for each of {batch_size} samples or all of them for every "
                "sample: give a list of names for each sample."
            )
        return [encoder(findings)] * batch_size  # type: ignore[arg-type]
    if len(findings) != batch_size:
        raise ValueError(f"got the findings of {len(findings)} samples for a batch of {batch_size}.")
    prompts: list[torch.Tensor | None] = []
    for sample, names in enumerate(findings):
        try:
            prompts.append(None if names is None else encoder(names))
        except ValueError as error:
            raise ValueError(f"sample {sample}: {error}") from error
    return prompts


def edit_regions(regions: torch.Tensor | None, edited: Sequence[bool], shape: Sequence[int]) -> torch.Tensor | None:
    """Check the regions of the samples that are edited.

    Args:
        regions: 1 where the finding is to be, 0 elsewhere, or between, (B or 1, 1, *spatial), bool or floating point.
        edited: for each sample whether it has findings.
        shape: shape of the masks, (B, 1, *spatial).

    Returns:
        The regions of the edited samples alone, float32 (n, 1, *spatial); ``None`` when none is edited.

    Raises:
        ValueError: when a sample has findings and no region, or a region of its own and no findings, or when regions
            are of another size, have values outside 0 and 1, or are empty.
    """
    if regions is None:
        if any(edited):
            raise ValueError(
                f"sample {list(edited).index(True)} has findings, but no region: say where they are to be."
            )
        return None
    given = convert_to_tensor(regions, dtype=torch.float32, track_meta=False)
    if tuple(given.shape[1:]) != tuple(shape[1:]) or given.shape[0] not in (1, shape[0]):
        raise ValueError(f"regions have shape {tuple(given.shape)}, but the masks {tuple(shape)}.")
    each = given.expand(shape[0], *given.shape[1:])
    for sample, (region, wanted) in enumerate(zip(each, edited, strict=True)):
        if not bool(((region >= 0.0) & (region <= 1.0)).all()):
            raise ValueError(f"the region of sample {sample} has values outside 0 (kept) to 1 (edited).")
        empty = not bool(region.any())
        if wanted and empty:
            raise ValueError(f"the region of sample {sample} is empty: nothing could be found there.")
        shared = given.shape[0] < len(edited) and any(edited)
        if not wanted and not empty and not shared:
            raise ValueError(
                f"sample {sample} has a region, but no findings: name them, [] for nothing found, or let its region be "
                "empty."
            )
    return each[list(edited)] if any(edited) else None


def free_latents(regions: torch.Tensor, latent_size: Sequence[int], samples: Sequence[int]) -> torch.Tensor:
    """Bring regions to the latents; warn where hardly anything can appear.

    A latent of whose block of pixels at least half lies in the region is free, one with less in proportion to it. By
    the share alone, a region of a few latents would have hardly one that is free, and what is drawn would fade.

    Args:
        regions: 0 to 1, (n, 1, *spatial).
        latent_size: spatial shape of the latents.
        samples: number of each in its batch, for messages.

    Returns:
        How free each latent is, (n, 1, *latent_size), 0 to 1.
    """
    inside = torch.nn.functional.interpolate(regions, tuple(latent_size), mode="area").clamp(0.0, 1.0)
    for sample, most in zip(samples, inside.flatten(1).amax(dim=1).tolist(), strict=True):
        if most < _LEAST_INSIDE:
            block = "x".join(str(pixels // cells) for pixels, cells in zip(regions.shape[2:], latent_size, strict=True))
            warnings.warn(
                f"the region of sample {sample} takes at most {most:.0%} of the {block} pixels of a latent, too little "
                "for much to appear: make it larger.",
                stacklevel=2,
            )
    return (inside / _FREE_INSIDE).clamp(max=1.0)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{float(value):g}" for value in values)


def _encoded_prompts(tokens: torch.Tensor, batch_size: int, encoder: PromptEncoder) -> list[torch.Tensor | None]:
    plain = convert_to_tensor(tokens, dtype=torch.float32, track_meta=False)
    if tuple(plain.shape) != (batch_size, encoder.length):
        raise ValueError(f"encoded findings must be {(batch_size, encoder.length)}, got shape {tuple(plain.shape)}.")
    limit = float("inf") if encoder.num_tokens is None else encoder.num_tokens - 1
    for sample, ids in enumerate(plain):
        if not bool(((ids == ids.round()) & (ids >= 0) & (ids <= limit)).all()):
            raise ValueError(f"the findings of sample {sample} are {ids.tolist()}, but ids go from 0 to {limit}.")
    return [ids if bool(ids.any()) else None for ids in plain]

"""Guidance: a denoiser pushed away from what it gives when it knows less of the mask.

Every guidance here has the form D = D_cond + sum_k s_k (D_cond - D_k), where D_k is the denoiser under a condition that
says less, and s_k the strength of the push. All conditions of a step go through the network in one batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from monai.utils import convert_to_tensor

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.inferers.windows import Windows, windowed_denoiser
from monai_segdiff.transforms import EncodeMask

__all__ = ["ClassGuidance", "ContrastGuidance", "Guidance", "GuidedDenoiser", "MaskGuidance"]


class Guidance(ABC):
    """Base of all guidance: names the conditions to be pushed away from."""

    @abstractmethod
    def pushes(self, condition: torch.Tensor) -> list[tuple[float, torch.Tensor]]:
        """Give the strength and the condition of every push.

        Args:
            condition: (B, channels, *spatial), or prompts (B, L).

        Returns:
            Pairs of a strength, not 0, and a condition of the same shape; none where guidance changes nothing.
        """


class MaskGuidance(Guidance):
    """Guide on the whole mask, or the whole prompt: D = D_null + w (D_cond - D_null).

    Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, Equation 6, on the denoised image and with w = 1
    for no guidance). A weight of 1 costs one evaluation a step, any other two.

    Args:
        weight: w; above 1 the mask counts for more than the model learned.
        null_condition: the condition that says nothing, for one sample: (channels, *spatial), or (L,) where conditions
            are prompts, such as ``EncodeFindings.null_condition``; or a function that gives it for a spatial shape,
            such as ``EncodeMask.null_condition``.
        null_prob: share of training samples in which the model saw the null condition. ``None`` if it is not known.

    Raises:
        ValueError: when ``weight`` is not 1 and ``null_prob`` is 0, since such a model never learned D_null.
    """

    def __init__(
        self,
        weight: float,
        null_condition: torch.Tensor | Callable[[Sequence[int]], torch.Tensor],
        null_prob: float | None = None,
    ) -> None:
        if weight != 1.0 and null_prob == 0.0:
            raise ValueError(
                f"guidance with weight {weight} needs a model that was trained with null_prob above 0, "
                "but this one never saw the null condition; use weight 1 or train with null_prob, for example 0.1."
            )
        self.weight = float(weight)
        self.null_condition = null_condition

    def pushes(self, condition: torch.Tensor) -> list[tuple[float, torch.Tensor]]:
        """Give the push away from the null condition.

        Args:
            condition: (B, channels, *spatial), or prompts (B, L).

        Returns:
            One pair (w - 1, null condition), or none for w = 1.

        Raises:
            ValueError: when the null condition is not one for these conditions.
        """
        if self.weight == 1.0:
            return []
        null = self.null_condition(condition.shape[2:]) if callable(self.null_condition) else self.null_condition
        plain = convert_to_tensor(null, dtype=condition.dtype, device=condition.device, track_meta=False)
        if plain.shape != condition.shape[1:]:
            raise ValueError(
                f"the null condition has shape {tuple(plain.shape)}, but the conditions are {tuple(condition.shape)}: "
                "the encoding must be the one that made them."
            )
        return [(self.weight - 1.0, plain.expand_as(condition))]


class ClassGuidance(Guidance):
    """Guide each class on its own: D = D_cond + sum_c (w_c - 1) (D_cond - D_without_c).

    D_without_c is the denoiser under the mask with class c ablated. Every class whose weight is not 1 costs one more
    evaluation a step.

    Args:
        weights: class name to w_c; classes that are not named have weight 1.
        encoder: the mask encoder that made the condition.
        parents: class name to the name of the class that takes its pixels, as in the model's training.
        ablation_prob: share of training samples in which the model saw some, not all, classes ablated, which is
            ``prob * (1 - full_prob - null_prob)`` of ``RandClassAblation``. ``None`` if it is not known.

    Raises:
        ValueError: when a class is not one of the encoder's, or when a weight is not 1 and ``ablation_prob`` is 0.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        encoder: EncodeMask,
        parents: Mapping[str, str] | None = None,
        ablation_prob: float | None = None,
    ) -> None:
        unknown = [name for name in weights if name not in encoder.classes]
        if unknown:
            raise ValueError(f"guidance on unknown classes {unknown}; the model's classes are {list(encoder.classes)}.")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight != 1.0}
        if self.weights and ablation_prob == 0.0:
            raise ValueError(
                f"guidance on {list(self.weights)} needs a model that was trained with class ablation, but this one "
                "never saw a mask without one of its classes; use weight 1 or train with RandClassAblation."
            )
        self.encoder = encoder
        self.parents = parents

    def pushes(self, condition: torch.Tensor) -> list[tuple[float, torch.Tensor]]:
        """Give the pushes away from the masks that lack one class each.

        Args:
            condition: (B, channels, *spatial), from the encoder.

        Returns:
            A pair (w_c - 1, condition without c) for every class whose weight is not 1.
        """
        return [
            (weight - 1.0, self.encoder.drop(condition, [name], self.parents).to(condition))
            for name, weight in self.weights.items()
        ]


class ContrastGuidance(Guidance):
    """Guide away from another condition of each sample: D = D_other + w (D_cond - D_other).

    Where both conditions say the same the image stays what it is, and where they differ it becomes what tells them
    apart: so an edit leaves less of what was there. Any model can be guided so, as it has seen both kinds of condition;
    otherwise this is :class:`MaskGuidance`, with the other condition for the null. A weight of 1 costs one evaluation a
    step, any other two.

    Args:
        weight: w.
        other: the conditions to be told apart from, (B, channels, *spatial), one for each sample.
    """

    def __init__(self, weight: float, other: torch.Tensor) -> None:
        self.weight = float(weight)
        self.other = other

    def pushes(self, condition: torch.Tensor) -> list[tuple[float, torch.Tensor]]:
        """Give the push away from the other conditions.

        Args:
            condition: (B, channels, *spatial).

        Returns:
            One pair (w - 1, other conditions), or none for w = 1.

        Raises:
            ValueError: when the other conditions are not one for each sample.
        """
        if self.weight == 1.0:
            return []
        other = convert_to_tensor(self.other, dtype=condition.dtype, device=condition.device, track_meta=False)
        if other.shape != condition.shape:
            raise ValueError(
                f"the conditions to be told apart from have shape {tuple(other.shape)}, but the conditions are "
                f"{tuple(condition.shape)}: give one for each sample."
            )
        return [(self.weight - 1.0, other)]


class GuidedDenoiser:
    """A denoiser under guidance, which counts the evaluations of its network.

    Args:
        parameterization: turns the network into a denoiser.
        network: ``network(x, timesteps, condition=...)``.
        condition: (B, channels, *spatial), prompts (B, L), or ``None`` for an unconditional network.
        guidance: ``None`` for none.
        clip: range to which the denoised image is clamped, or ``None``.
        windows: how images larger than the network's are covered; ``None`` to run it on the whole image.

    Raises:
        ValueError: when there is guidance, but no condition.
    """

    def __init__(
        self,
        parameterization: Parameterization,
        network: Callable[..., torch.Tensor],
        condition: torch.Tensor | None,
        guidance: Guidance | None = None,
        clip: tuple[float, float] | None = None,
        windows: Windows | None = None,
    ) -> None:
        pushes: list[tuple[float, torch.Tensor]] = []
        if guidance is not None:
            if condition is None:
                raise ValueError("guidance needs a condition, but the network is called without one.")
            pushes = guidance.pushes(condition)
        if condition is not None and pushes:
            condition = torch.cat([condition, *(other for _, other in pushes)])
        if windows is None:
            self._denoise = parameterization.denoiser(network, condition)
        else:
            self._denoise = windowed_denoiser(parameterization, network, condition, windows)
        self._strengths = [strength for strength, _ in pushes]
        self._clip = clip
        self.evaluations = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Denoise.

        Args:
            x: noisy images, (B, C, *spatial).
            sigma: their noise levels, (B,).

        Returns:
            The expected clean images, (B, C, *spatial).
        """
        branches = 1 + len(self._strengths)
        self.evaluations += branches
        if branches == 1:
            x0 = self._denoise(x, sigma)
        else:
            conditioned, *others = self._denoise(torch.cat([x] * branches), torch.cat([sigma] * branches)).chunk(
                branches
            )
            x0 = (1.0 + sum(self._strengths)) * conditioned
            for strength, other in zip(self._strengths, others, strict=True):
                x0 = x0 - strength * other
        return x0 if self._clip is None else x0.clamp(*self._clip)

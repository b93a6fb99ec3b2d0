"""XReal: anatomy and pathology control of a latent diffusion model that was trained for neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from monai_segdiff.diffusion import Parameterization, mix_seed
from monai_segdiff.inferers.constraints import BlendConstraint
from monai_segdiff.inferers.guidance import MaskGuidance
from monai_segdiff.inferers.latent import LatentSamplingInferer
from monai_segdiff.inferers.network_call import Network, evaluating, local_module, network_device, sample_indices
from monai_segdiff.inferers.xreal_inputs import (
    Findings,
    edit_prompts,
    edit_regions,
    free_latents,
    mask_values,
    organs,
)
from monai_segdiff.networks import LatentSpace
from monai_segdiff.transforms import PromptEncoder

__all__ = ["XRealInferer"]

_PATHOLOGY_STREAM = -2  # constraints have 1, 2, ..., an InterpolationStart -1


class XRealInferer(Inferer):
    """Draw an X-ray with the organs of a mask, and put findings into a region of it.

    Two runs of one latent diffusion model, whose condition is a prompt (arXiv 2403.09240):

    1. *Anatomy.* The controller decodes the mask to a blurred, but well-placed image with latent z. A run under the
       empty prompt is constrained to it for a window of its steps, z_t <- q(z_t | z) m + (1 - m) z_t with m = 1 inside
       the organs and ``outside`` elsewhere, and then goes on free.
    2. *Pathology.* That image is encoded. A run under the findings, guided against the null prompt, is constrained to
       it at every step outside the region: z_t <- q(z_t | z) (1 - r) + r z_t.

    m is averaged over the block of pixels of each latent. r is 1 where at least half of the block lies in the region,
    and falls to 0 with the share of it that does, so at the border some pixels outside change, too.

    A sample depends on the seed and its index, not on the others of its batch, whose prompts may differ. Samples
    without findings end after the first run.

    Args:
        parameterization: what the network was trained with.
        latent_space: the autoencoder on whose latents it was trained.
        controller: the anatomy controller: ``controller.reconstruct(masks)`` gives images, (B, 1, *spatial) both. It is
            moved to the network's device.
        findings: makes prompts of names: ``EncodeFindings``, or what goes with a text encoder of your own.
        sampler: name in ``monai_segdiff.diffusion.SAMPLERS``; the paper's DDIM with eta = 1 is ``"ddpm"``.
        num_steps: steps of the anatomy run, one evaluation of the network each.
        pathology_steps: steps of the pathology run, two evaluations each; by default ``num_steps``.
        seed: seed of all noise. The runs have streams of their own.
        prompt: names of the findings for calls that name none; ``None`` for no edit, ``()`` for an edit under the empty
            prompt.
        region: region for calls that give none, as in the call.
        window: part of the anatomy run in which the controller's image is blended in, as fractions of its steps.
        outside: m outside of the organs, 0 to 1.
        background: gray value of a mask where there is no organ.
        levels: gray values that the controller was trained with; masks with others are refused. ``None`` not to check.
        guidance_weight: weight w of the findings, see ``MaskGuidance``; 1 for no guidance.
        null_prob: share of training samples in which the network saw the null prompt; ``None`` if it is not known.
        anatomy_prompt: findings of the anatomy run; by default the empty prompt, nothing found; ``None`` for the null.
        restore_level: keep the noise of blended latents at its level, see :class:`BlendConstraint`; the paper does not.
        amp_dtype: as for ``SamplingInferer``; it is for the diffusion network alone.
        progress: show a progress bar for each run.

    Attributes:
        anatomy: the images of the first run in the last call, (B, C, *spatial).
        evaluations: evaluations of the network for an edited sample in the last call, those of both runs.
        anatomy_evaluations: those of the first run, all that a sample without an edit takes.
        next_index: index of the first sample of the next call that gives no indices.

    Raises:
        ValueError: for an unknown sampler, an unknown finding, ``outside`` not in [0, 1], or guidance on a model that
            never saw the null prompt.
    """

    def __init__(
        self,
        parameterization: Parameterization,
        latent_space: LatentSpace,
        controller: Any,
        findings: PromptEncoder,
        *,
        sampler: str | Callable[..., torch.Tensor] = "ddpm",
        num_steps: int = 100,
        pathology_steps: int | None = None,
        seed: int = 0,
        prompt: Sequence[str] | None = None,
        region: torch.Tensor | None = None,
        window: tuple[float, float] = (0.0, 0.5),
        outside: float = 0.2,
        background: float = -1.0,
        levels: Sequence[float] | None = None,
        guidance_weight: float = 7.0,
        null_prob: float | None = None,
        anatomy_prompt: Sequence[str] | None = (),
        restore_level: bool = True,
        amp_dtype: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= outside <= 1.0:
            raise ValueError(f"outside must lie between 0 (free) and 1 (constrained as inside), got {outside}.")
        self.latent_space = latent_space
        self.controller = controller
        self.findings = findings
        self.seed = seed
        self.prompt, self.region = prompt, region
        self.window, self.outside, self.background = window, float(outside), float(background)
        self.levels = None if levels is None else tuple(levels)
        self.restore_level = restore_level
        self.anatomy: torch.Tensor | None = None
        self.evaluations = self.anatomy_evaluations = 0
        self.next_index = 0
        edit_prompts(prompt, 1, findings)
        self._anatomy_prompt = findings(anatomy_prompt)
        guidance = MaskGuidance(guidance_weight, findings.null_condition, null_prob)
        shared: dict[str, Any] = {"amp_dtype": amp_dtype, "progress": progress}
        steps = num_steps if pathology_steps is None else pathology_steps
        self._anatomy_run = LatentSamplingInferer(parameterization, latent_space, sampler, num_steps, **shared)
        self._pathology_run = LatentSamplingInferer(
            parameterization, latent_space, sampler, steps, guidance=guidance, **shared
        )

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Network,
        indices: Sequence[int] | torch.Tensor | None = None,
        *,
        findings: Findings | None = None,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw one X-ray for each mask of a batch.

        Args:
            inputs: masks as gray values, (B, 1, *spatial), from ``EncodeMask`` in mode ``values``.
            network: ``network(x, timesteps, condition=prompts)`` on latents, such as ``FindingUNet``.
            indices: index of each sample, B integers. By default they go on from those of the calls before.
            findings: what to put into the images: names, for all samples; or a sequence with such a list for each
                sample, ``None`` for one that is not edited, ``[]`` for nothing found; or prompts (B, L) from
                ``EncodeFindings``, a null prompt being no edit. By default ``prompt``.
            regions: where to, (B or 1, 1, *spatial), 1 inside and 0 outside, bool or floating point. A sample that is
                not edited has an empty one, or shares the only one of the batch. By default ``region``.

        Returns:
            The images, (B, C, *spatial), float32, on the network's device.

        Raises:
            ValueError: for masks with a gray level that was not trained, an unknown finding, a region that is empty, of
                another size or outside of 0 and 1, or one of finding and region without the other; the message names
                the sample.
        """
        network = local_module(network)
        masks = mask_values(inputs, None if self.levels is None else (self.background, *self.levels))
        batch_size, image_size = masks.shape[0], tuple(masks.shape[2:])
        prompts = edit_prompts(self.prompt if findings is None else findings, batch_size, self.findings)
        given = self.region if regions is None else regions
        edited = edit_regions(given, [prompt is not None for prompt in prompts], masks.shape)
        rows = [row for row, prompt in enumerate(prompts) if prompt is not None]
        latent_size = self.latent_space.latent_shape(image_size)[1:]
        free = None if edited is None else free_latents(edited, latent_size, rows)
        numbers = sample_indices(indices, batch_size, self.next_index)
        self._anatomy_run.image_size = self._pathology_run.image_size = image_size
        self._anatomy_run.seed, self._pathology_run.seed = self.seed, mix_seed(self.seed, _PATHOLOGY_STREAM)

        images = self._draw_anatomy(masks.to(network_device(network, masks.device)), network, numbers)
        self.anatomy = images
        self.evaluations = self.anatomy_evaluations = self._anatomy_run.evaluations
        if free is not None:
            condition = torch.stack([prompt for prompt in prompts if prompt is not None])
            images = images.clone()
            images[rows] = self._edit(images[rows], free, condition, network, [numbers[row] for row in rows])
            self.evaluations += self._pathology_run.evaluations
        if indices is None:
            self.next_index += batch_size
        return images

    def _draw_anatomy(self, masks: torch.Tensor, network: Network, indices: Sequence[int]) -> torch.Tensor:
        soft_mask = organs(masks, self.background, self.outside, self.latent_space.latent_shape(masks.shape[2:])[1:])
        if isinstance(self.controller, torch.nn.Module):
            self.controller.to(masks.device)
        with torch.no_grad(), evaluating(self.controller), torch.autocast(masks.device.type, enabled=False):
            blurred = self.controller.reconstruct(masks)
        # The constraint's region is 1 where the run is free; the soft mask m is 1 where it is constrained.
        constraint = BlendConstraint(blurred, 1.0 - soft_mask, self.window, self.restore_level)
        prompts = self._anatomy_prompt.expand(len(masks), -1)
        return self._anatomy_run(prompts, network, indices, constraints=[constraint])

    def _edit(
        self,
        anatomy: torch.Tensor,
        free: torch.Tensor,
        prompts: torch.Tensor,
        network: Network,
        indices: Sequence[int],
    ) -> torch.Tensor:
        constraint = BlendConstraint(anatomy, free, restore_level=self.restore_level)
        return self._pathology_run(prompts, network, indices, constraints=[constraint])

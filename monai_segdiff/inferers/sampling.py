"""The sampling run as a MONAI inferer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Literal

import torch
from monai.inferers import Inferer
from tqdm import tqdm

from monai_segdiff.diffusion import SAMPLERS, Parameterization, invert
from monai_segdiff.inferers.autocast import autocast_dtype
from monai_segdiff.inferers.guidance import Guidance, GuidedDenoiser
from monai_segdiff.inferers.inversion import Trajectory
from monai_segdiff.inferers.network_call import (
    Network,
    channels_last_weights,
    evaluating,
    local_module,
    network_device,
    output_channels,
    plain_condition,
    sample_indices,
)
from monai_segdiff.inferers.run import Constraint, RunContext, Start
from monai_segdiff.inferers.sampler_session import SamplerSession
from monai_segdiff.inferers.similarity import InterpolationStart
from monai_segdiff.inferers.starts import ImageStart, InputStart, NoiseStart, image_of
from monai_segdiff.inferers.windows import Windows

__all__ = ["SamplingInferer"]


class SamplingInferer(Inferer):
    """Sample images under a condition with a denoising network.

    Any engine that runs a MONAI inferer runs this one: ``inferer(condition, network)`` gives the images. A sample
    depends on the seed and on its index, not on the batch that it is in, nor on the order or the process: bit for bit
    with a pointwise denoiser, and to the network's own rounding otherwise.

    The network is left as it was: it is called in evaluation mode, without gradients, and each of its modules then goes
    back to its own mode; its weights keep type and layout. A ``DistributedDataParallel`` network is called without its
    wrapper, so no process waits for another. Values that are not finite are handed on, for the caller to find.

    For sampling in a latent space a subclass, ``LatentSamplingInferer``, overrides ``state_shape``, ``encode`` and
    ``decode``; starts, guidance and constraints then work on latent states. With ``takes_prompts`` conditions may be
    prompts, (B, L), too.

    Args:
        parameterization: what the network was trained with.
        sampler: name in ``monai_segdiff.diffusion.SAMPLERS``, or a function with the samplers' contract.
        num_steps: number of steps, at least 1.
        seed: seed of all noise.
        start: where runs begin; from noise by default. With ``InputStart`` the inputs are where a run begins, and the
            network gets no condition.
        guidance: ``MaskGuidance``, ``ClassGuidance``, or ``None``.
        constraints: what changes the state after every step, applied in this order.
        image_channels: channels of the network's image; by default the network's attribute ``out_channels``.
        sigmas: noise levels to be used instead of the parameterization's grid of ``num_steps``; descending to 0.
        clip: range (low, high) to which every denoised image is clamped, or ``None``.
        amp_dtype: ``"bfloat16"`` or ``"float16"`` to run the network under autocast, ``"float32"`` or ``None`` not to;
            the sampler's state stays float32.
        channels_last: run the network in the memory format channels last; afterwards it has its own tensors back.
        compile: run the network through ``torch.compile``, once per network. A network that is compiled already is
            used as it is.
        progress: show a progress bar over the steps.
        callback: called as ``callback(step, sigma, x, x0_hat)`` in every step, with tensors of inference mode, which it
            may look at, for previews, but not change.
        sampler_options: further keyword arguments of the sampler.
        windows: how conditions larger than the network's images are covered: its estimates are blended at every noise
            level, and noise, starts and constraints are those of the whole image. ``None`` to run it on the whole.

    Attributes:
        evaluations: evaluations of the network per sample in the last call, guidance included.
        next_index: index of the first sample of the next call that gives no indices.

    Raises:
        ValueError: for an unknown sampler or type, or a number of steps below 1.
    """

    takes_prompts: ClassVar[bool] = False

    def __init__(
        self,
        parameterization: Parameterization,
        sampler: str | Callable[..., torch.Tensor] = "dpmpp_2m",
        num_steps: int = 20,
        seed: int = 0,
        start: Start | InputStart | None = None,
        guidance: Guidance | None = None,
        constraints: Sequence[Constraint] = (),
        *,
        image_channels: int | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        clip: tuple[float, float] | None = None,
        amp_dtype: str | None = None,
        channels_last: bool = False,
        compile: bool = False,
        progress: bool = False,
        callback: Callable[[int, float, torch.Tensor, torch.Tensor], None] | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        windows: Windows | None = None,
    ) -> None:
        super().__init__()
        if isinstance(sampler, str) and sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; the known ones are {', '.join(sorted(SAMPLERS))}.")
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.parameterization = parameterization
        self.sampler = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
        self.sigmas = None if sigmas is None else torch.as_tensor(sigmas, dtype=torch.float64, device="cpu")
        self.num_steps = num_steps if self.sigmas is None else len(self.sigmas) - 1
        self.seed = seed
        self.start: Start | InputStart = NoiseStart() if start is None else start
        self.guidance = guidance
        self.constraints = tuple(constraints)
        self.image_channels = image_channels
        self.clip = clip
        self.amp_dtype = autocast_dtype(amp_dtype)
        self.channels_last = channels_last
        self.compile = compile
        self.progress = progress
        self.callback = callback
        self.sampler_options = dict(sampler_options or {})
        self.windows = windows
        self.evaluations = 0
        self.next_index = 0
        self._compiled: tuple[Network, Network] | None = None

    def __call__(
        self,
        inputs: torch.Tensor | None,
        network: Network,
        indices: Sequence[int] | torch.Tensor | None = None,
        *,
        start: Start | InputStart | None = None,
        guidance: Guidance | None = None,
        constraints: Sequence[Constraint] | None = None,
        windows: Windows | None = None,
    ) -> torch.Tensor:
        """Sample one image for each condition of a batch.

        Args:
            inputs: the condition, (B, channels, *spatial) with 2 or 3 spatial dimensions; ``None`` for an unconditional
                network, which needs a start that has an image.
            network: ``network(x, timesteps, condition=...)``, or ``network(x, timesteps)`` if ``inputs`` is ``None`` or
                the start is ``InputStart``.
            indices: index of each sample, B integers. By default they go on from those of the calls before, starting
                at 0; where several processes sample the same run, give them.
            start: used instead of the inferer's own in this call, for an image that belongs to this batch.
            guidance: used instead of the inferer's own in this call.
            constraints: used instead of the inferer's own in this call.
            windows: used instead of the inferer's own in this call.

        Returns:
            The images, (B, image_channels, *spatial), float32, on the network's device.

        Raises:
            ValueError: when condition, indices, start, guidance or constraints do not fit each other, or the noise
                levels do not descend to 0.
        """
        start = self.start if start is None else start
        guidance = self.guidance if guidance is None else guidance
        constraints = self.constraints if constraints is None else constraints
        network = local_module(network)
        condition = plain_condition(inputs, network, self.takes_prompts)
        if isinstance(start, InputStart):
            if condition is None:
                raise ValueError("InputStart begins at the inputs, but they are None: give the encoded mask.")
            start, condition = start.at(condition), None
        template = condition if condition is not None else image_of(start)
        device = network_device(network, template.device)
        with self._prepared(network, device):
            shape = self.state_shape(template, network)
            run = self._run(shape, self._levels(start), device, sample_indices(indices, shape[0], self.next_index))
            denoiser = self._denoiser(network, condition, guidance, shape, windows)
            images = self.decode(self._sample(run, denoiser, start, constraints))
        self.evaluations = denoiser.evaluations
        if indices is None:
            self.next_index += shape[0]
        # A clone made outside inference mode is a tensor that users can train on.
        return images.float().clone(memory_format=torch.contiguous_format)

    def invert(
        self,
        image: torch.Tensor,
        inputs: torch.Tensor | None,
        network: Network,
        *,
        t0: float | None = None,
        sigma: float | None = None,
        method: Literal["heun", "ddim"] = "heun",
    ) -> Trajectory:
        """Follow images back to the noise that they come from under their conditions.

        The whole grid of a run of ``num_steps`` that starts at the level is gone upwards, without guidance and without
        noise. A run that starts there under the same condition comes back to the image, but for the error of the steps.

        Args:
            image: (B, C, *spatial), in the range that the network was trained on.
            inputs: their conditions, (B, channels, *spatial); ``None`` for an unconditional network.
            network: as for the call.
            t0: time in (0, 1] up to which to go.
            sigma: noise level up to which to go, instead of ``t0``.
            method: ``"heun"``, 2 evaluations a step, or ``"ddim"``, 1.

        Returns:
            The states at all levels of the grid: a start, and a reference for ``BlendConstraint``.

        Raises:
            ValueError: when image and condition do not fit each other, or not exactly one level is given.
        """
        start = ImageStart(image, t0, sigma)
        network = local_module(network)
        condition = plain_condition(inputs, network, self.takes_prompts)
        template = condition if condition is not None else image_of(start)
        device = network_device(network, template.device)
        with self._prepared(network, device):
            shape = self.state_shape(template, network)
            run = self._run(shape, self._levels(start), device, range(shape[0]))
            x0 = run.state_of(image, "image to invert").expand(shape)
            denoiser = self._denoiser(network, condition, None, shape)
            states = invert(denoiser, x0, run.sigmas, method)
        self.evaluations = denoiser.evaluations
        return Trajectory(run.sigmas, states)

    def grid(self) -> torch.Tensor:
        """Give the noise levels of a run with the inferer's own start, float64, descending, ending in 0."""
        return self._levels(self.start if not isinstance(self.start, InputStart) else self.start.at(torch.empty(0)))

    def state_shape(self, template: torch.Tensor, network: Network) -> tuple[int, ...]:
        """Give the shape of the sampler's state: in image space that of the images.

        Args:
            template: the condition or, without one, the image to start from, (B, channels, *spatial).
            network: the denoising network.
        """
        channels = self.image_channels or output_channels(network)
        return (template.shape[0], channels, *template.shape[2:])

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Map images to the sampler's state: in image space the identity.

        Args:
            image: (n, C, *spatial).
        """
        return image

    def decode(self, state: torch.Tensor) -> torch.Tensor:
        """Map the sampler's final state to images: in image space the identity.

        Args:
            state: (B, C, *spatial).
        """
        return state

    @contextmanager
    def _prepared(self, network: Network, device: torch.device) -> Iterator[None]:
        layout = channels_last_weights(network) if self.channels_last else nullcontext()
        with layout, torch.inference_mode(), evaluating(network), self._autocast(device):
            yield

    def _run(
        self, shape: tuple[int, ...], sigmas: torch.Tensor, device: torch.device, indices: Sequence[int]
    ) -> RunContext:
        return RunContext(shape, sigmas, device, self.seed, indices, self.encode)

    def _denoiser(
        self,
        network: Network,
        condition: torch.Tensor | None,
        guidance: Guidance | None,
        shape: tuple[int, ...],
        windows: Windows | None = None,
    ) -> GuidedDenoiser:
        windows = self.windows if windows is None else windows
        needed = windows if windows is not None and windows.cover(shape[2:]) else None
        return GuidedDenoiser(self.parameterization, self._callable(network), condition, guidance, self.clip, needed)

    def _sample(
        self, run: RunContext, denoiser: GuidedDenoiser, start: Start, constraints: Sequence[Constraint]
    ) -> torch.Tensor:
        constrains = [constraint.bind(run, run.noise(stream)) for stream, constraint in enumerate(constraints, start=1)]
        with tqdm(total=run.num_steps, desc="sampling", disable=not self.progress) as bar:

            def on_step(step: int, sigma: float, x: torch.Tensor, x0_hat: torch.Tensor) -> None:
                bar.update()
                if self.callback is not None:
                    self.callback(step, sigma, x, x0_hat)

            watch = on_step if self.progress or self.callback is not None else None
            descent = SamplerSession(self.sampler, denoiser, run, constrains, watch, self.sampler_options)
            first, x = 0, start.state(run, descent.noise)
            if isinstance(start, InterpolationStart) and start.similarity > 0:
                first = start.grid_index(run.sigmas, self.parameterization)
                x = start.interpolate(*descent.to_level(x, first), float(run.sigmas[first]), run)
            return descent.to_image(x, first)

    def _levels(self, start: Start) -> torch.Tensor:
        level = start.level(self.parameterization)
        if self.sigmas is None:
            return self.parameterization.sigmas(self.num_steps, start=level)
        if level is not None and abs(level - float(self.sigmas[0])) > 1e-6 * level:
            raise ValueError(f"the start is at noise level {level:g}, but the given sigmas at {self.sigmas[0]:g}.")
        return self.sigmas

    def _autocast(self, device: torch.device) -> Any:
        # One context for the whole run: autocast then casts each weight once, not once a step.
        return nullcontext() if self.amp_dtype is None else torch.autocast(device.type, dtype=self.amp_dtype)

    def _callable(self, network: Network) -> Network:
        if self.compile and not hasattr(network, "_orig_mod"):
            if self._compiled is None or self._compiled[0] is not network:
                self._compiled = (network, torch.compile(network))
            network = self._compiled[1]
        return network

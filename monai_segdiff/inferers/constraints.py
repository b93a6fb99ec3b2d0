"""Constraints, which tie the state to a reference while it is sampled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.utils import convert_to_tensor

from monai_segdiff.diffusion.samplers import Noise
from monai_segdiff.inferers.inversion import Trajectory
from monai_segdiff.inferers.run import RunContext

__all__ = ["BlendConstraint"]


class BlendConstraint:
    """Blend the state with a noised reference outside a soft region.

    After a step to noise level sigma, x <- r x + (1 - r) (reference + sigma z) with fresh noise z: where the region r
    is 1 the sampler is free, where it is 0 the reference is kept. This is how XReal (arXiv 2403.09240) keeps anatomy,
    and how RePaint (Lugmayr et al. 2022, arXiv 2201.09865, Equation 8) inpaints. The noise is drawn per sample from
    the run's seed, in a stream of its own. Where the reference is a trajectory, its state at sigma takes the place of
    the noised image: it fits what the network draws beside it better than fresh noise, which leaves less of a seam.

    Args:
        reference: image that is kept, (B, C, *spatial), or (1, C, *spatial) for every sample of a batch; or the
            ``Trajectory`` of that image, on the grid of the run.
        region: r in [0, 1], (B or 1, C or 1, *spatial), at the resolution of the sampler's state.
        window: part of the run in which the constraint acts, as fractions of its steps: (0.0, 0.5) is the first half,
            which has the most noise. A window that ends at 1 also acts at the last step, where the reference has no
            noise.
        restore_level: add the noise that a soft region takes away. Where 0 < r < 1 two independent noises of level
            sigma are mixed, and their mix has level sigma sqrt(r^2 + (1 - r)^2), less than the network is then told;
            fresh noise of variance 2 r (1 - r) sigma^2 brings it back to sigma. Off, as published.

    Raises:
        ValueError: when ``region`` has values outside [0, 1], ``window`` is not an interval in [0, 1], or the level is
            to be restored beside a trajectory, whose noise is no fresh one.
    """

    def __init__(
        self,
        reference: torch.Tensor | Trajectory,
        region: torch.Tensor,
        window: tuple[float, float] = (0.0, 1.0),
        restore_level: bool = False,
    ) -> None:
        first, last = window
        if not 0.0 <= first < last <= 1.0:
            raise ValueError(f"window must be (first, last) with 0 <= first < last <= 1, got {tuple(window)}.")
        region = convert_to_tensor(region, dtype=torch.float32, track_meta=False)
        if not bool(((region >= 0.0) & (region <= 1.0)).all()):
            raise ValueError("region must hold values from 0 (reference kept) to 1 (free).")
        if restore_level and isinstance(reference, Trajectory):
            raise ValueError(
                "restore_level needs noise that is drawn anew in every step, and a trajectory keeps its own: give the "
                "image as reference, or leave restore_level out."
            )
        self.reference = reference
        self.region = region
        self.window = (float(first), float(last))
        self.restore_level = restore_level

    def bind(self, run: RunContext, noise: Noise) -> Callable[[int, float, torch.Tensor], torch.Tensor]:
        """Prepare for a run.

        Args:
            run: the run to be constrained.
            noise: where the noise on the reference comes from.

        Returns:
            ``constrain(step, sigma_next, x) -> x``.

        Raises:
            ValueError: when reference or region do not fit the run, or no step of the run lies in the window.
        """
        reference_at = self._reference(run, noise)
        region = self.region.to(run.device)
        fits = region.ndim == len(run.shape) and region.shape[2:] == run.shape[2:]
        if not fits or any(have not in (1, want) for have, want in zip(region.shape[:2], run.shape[:2], strict=True)):
            raise ValueError(f"the region has shape {tuple(region.shape)}, which does not fit samples of {run.shape}.")
        first, last = (round(fraction * run.num_steps) for fraction in self.window)
        if first == last:
            raise ValueError(f"no step of a run of {run.num_steps} lies in the window {self.window}.")

        def constrain(step: int, sigma_next: float, x: torch.Tensor) -> torch.Tensor:
            if not first <= step < last:
                return x
            # lerp is exact at both ends, so what is kept is kept to the bit.
            mixed = torch.lerp(reference_at(sigma_next, x).expand_as(x), x, region.to(x.dtype).expand_as(x))
            if not self.restore_level or sigma_next == 0:
                return mixed
            # r^2 + (1 - r)^2 + 2 r (1 - r) = 1: variances of independent noises add.
            missing = (2.0 * region * (1.0 - region)).sqrt().to(x.dtype)
            return mixed + sigma_next * missing * noise(run.shape, x)

        return constrain

    def _reference(self, run: RunContext, noise: Noise) -> Callable[[float, torch.Tensor], torch.Tensor]:
        if isinstance(self.reference, Trajectory):
            trajectory = self.reference
            for sigma in run.sigmas.tolist():
                trajectory.at(sigma, run)  # refuses what does not fit before anything is sampled
            return lambda sigma, x: trajectory.at(sigma, run).to(x.dtype)
        image = run.state_of(self.reference, "reference")

        def noised(sigma: float, x: torch.Tensor) -> torch.Tensor:
            kept = image.to(x.dtype)
            return kept + sigma * noise(run.shape, x) if sigma > 0 else kept

        return noised

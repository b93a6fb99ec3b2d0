"""What an autoencoder with a Gaussian latent is trained for."""

from __future__ import annotations

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn

__all__ = ["AutoencoderLoss", "kl_divergence"]

_DISTANCES = {"l1": nn.functional.l1_loss, "l2": nn.functional.mse_loss}


def kl_divergence(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of a diagonal Gaussian posterior from the standard normal.

    0.5 * sum(mean^2 + std^2 - 1 - ln std^2), Kingma and Welling 2013 (arXiv 1312.6114, appendix B).

    Args:
        mean: of the posterior, (B, c, *spatial).
        std: its standard deviation, of the same shape, positive.

    Returns:
        Nats of one image, summed over its latent and averaged over the batch; a float32 scalar.
    """
    mean, std = mean.float(), std.float()
    return 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).flatten(1).sum(1).mean()


class AutoencoderLoss(nn.Module):
    """Reconstruction, divergence of the latent, realism of patches, and likeness in a network's features.

    The parts of Rombach et al. 2022 (arXiv 2112.10752, appendix G), with fixed weights. Reconstruction is a mean over
    pixels here, where theirs is a sum; so the same weight of the divergence counts for more, the larger the image: for
    theirs divide it by the number of pixels. The adversarial part is
    that of least squares GANs (Mao et al. 2017, arXiv 1611.04076, equation 9) on the logits of a patch discriminator.

    Args:
        reconstruction: ``"l1"`` or ``"l2"``, averaged over pixels.
        kl_weight: weight of the divergence, which is summed over the latent and so grows with the size of the image.
        adversarial_weight: weight of what the discriminator says; at 0 there is no adversarial training.
        perceptual: any module ``(prediction, target) -> scalar``, such as ``monai.losses.PerceptualLoss`` with weights
            that you have; it is frozen here. None for none; nothing is ever downloaded.
        perceptual_weight: its weight.

    Raises:
        ValueError: for another reconstruction, or a negative weight.
    """

    def __init__(
        self,
        reconstruction: str = "l1",
        kl_weight: float = 1e-6,
        adversarial_weight: float = 0.01,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if reconstruction not in _DISTANCES:
            raise ValueError(f"unknown reconstruction {reconstruction!r}: choose one of {', '.join(_DISTANCES)}")
        if min(kl_weight, adversarial_weight, perceptual_weight) < 0:
            raise ValueError(
                f"weights must not be negative, got kl_weight {kl_weight}, adversarial_weight {adversarial_weight} and "
                f"perceptual_weight {perceptual_weight}"
            )
        self.reconstruction = reconstruction
        self.kl_weight = kl_weight
        self.adversarial_weight = adversarial_weight
        self.perceptual = None if perceptual is None else perceptual.requires_grad_(False).eval()
        self.perceptual_weight = perceptual_weight
        # MONAI puts a leaky ReLU before the squares by default; the published loss has none.
        self.adversarial = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)

    def train(self, mode: bool = True) -> AutoencoderLoss:
        """Change the mode; the perceptual network stays in eval mode."""
        super().train(mode)
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def forward(
        self,
        prediction: torch.Tensor,
        target: torch.Tensor,
        mean: torch.Tensor,
        std: torch.Tensor,
        logits: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Loss of the autoencoder.

        Args:
            prediction: the decoded images, (B, C, *spatial).
            target: what they shall be, of the same shape.
            mean: of the posterior, (B, c, *spatial of the latent).
            std: its standard deviation.
            logits: of the discriminator on the prediction, any shape; None before the adversarial training.

        Returns:
            Scalars: ``loss``, the weighted sum, and its parts without their weights: ``reconstruction``, ``kl``,
            ``adversarial`` (0 without logits), and ``perceptual`` where there is such a network.
        """
        prediction = prediction.float()
        parts = {
            "reconstruction": _DISTANCES[self.reconstruction](prediction, target),
            "kl": kl_divergence(mean, std),
            "adversarial": prediction.new_zeros(()),
        }
        loss = parts["reconstruction"] + self.kl_weight * parts["kl"]
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual(prediction, target).mean()
            loss = loss + self.perceptual_weight * parts["perceptual"]
        if logits is not None:
            parts["adversarial"] = self.adversarial(logits.float(), target_is_real=True, for_discriminator=False)
            loss = loss + self.adversarial_weight * parts["adversarial"]
        return {"loss": loss, **parts}

    def discriminator_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Loss of the discriminator.

        Args:
            real: its logits on real images.
            fake: its logits on decoded images, detached from the autoencoder.

        Returns:
            Mean of both squared errors, a scalar: 0.25 at best where it cannot tell them apart.
        """
        on_real = self.adversarial(real.float(), target_is_real=True, for_discriminator=True)
        on_fake = self.adversarial(fake.float(), target_is_real=False, for_discriminator=True)
        return 0.5 * (on_real + on_fake)

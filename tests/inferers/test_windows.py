from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import SampleNoise
from monai_segdiff.inferers import BlendConstraint, MaskGuidance, SamplingInferer, Windows, seam_gradient
from monai_segdiff.inferers.windows import windowed_denoiser
from tests.inferers.oracles import SIGMA_DATA, GaussianNetwork, edm


class FieldNetwork(torch.nn.Module):
    """What an EDM network learns of a stationary Gaussian field: the posterior mean given the pixels that it sees.

    The covariance of two pixels is ``exp(-distance / length)``, so it has no edges of its own, and the estimate of
    a pixel hardly depends on what is farther away than a few lengths.
    """

    out_channels = 1

    def __init__(self, length: float = 1.0, std: float = 0.5) -> None:
        super().__init__()
        self.length, self.std = length, std
        self.sizes: set[tuple[int, ...]] = set()

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.sizes.add(tuple(x.shape))
        where = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in x.shape[2:]))
        covariance = self.std**2 * (-torch.cdist(where, where) / self.length).exp()
        sigma = (4.0 * timesteps.double()).exp()
        total = sigma**2 + SIGMA_DATA**2
        answers = []
        for one, level, whole in zip(x.double(), sigma, total, strict=True):
            noisy = one * whole.sqrt()
            solved = torch.linalg.solve(covariance + level**2 * torch.eye(len(where)), noisy.flatten())
            denoised = (covariance @ solved).reshape(noisy.shape)
            answers.append((denoised - noisy * SIGMA_DATA**2 / whole) / (level * SIGMA_DATA / whole.sqrt()))
        return torch.stack(answers).to(x.dtype)


def test_windows_of_a_translation_invariant_denoiser_are_the_denoiser_of_the_whole() -> None:
    """A tile knows nothing beyond its border; the blend of overlapping windows hardly depends on what lies there."""
    network, windows = FieldNetwork(), Windows((16, 16), batch_size=3)
    x = SampleNoise(0, [0, 1])((2, 1, 32, 40), torch.zeros((), dtype=torch.float64))
    for sigma in (2.0, 0.5, 0.1):
        level = torch.full((2,), sigma, dtype=torch.float64)
        whole = edm().denoiser(network)(x * (0.25 + sigma**2) ** 0.5, level)
        inside = (..., slice(8, -8), slice(8, -8))

        def error(overlap: float, level=level, sigma=sigma, whole=whole, inside=inside) -> float:
            cut = Windows(windows.size, overlap, windows.batch_size)
            blended = windowed_denoiser(edm(), network, None, cut)(x * (0.25 + sigma**2) ** 0.5, level)
            return float((blended - whole)[inside].abs().max() / whole.std())

        assert error(0.5) < 0.02
        assert error(0.5) < error(0.0) / 5


def test_samples_in_windows_are_those_of_the_whole() -> None:
    network = FieldNetwork()
    condition = torch.zeros(1, 1, 24, 40)
    whole = SamplingInferer(edm(), num_steps=12)(condition, network)
    blended = SamplingInferer(edm(), num_steps=12, windows=Windows((16, 16)))(condition, network)
    error = (blended - whole)[..., 8:-8, 8:-8].abs().max() / whole.std()
    assert error < 0.05


@pytest.mark.parametrize("shape", [(24, 40), (16, 33), (12, 16, 20)])
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])
def test_what_acts_on_pixels_alone_is_the_same_in_windows(shape: tuple[int, ...], sampler: str) -> None:
    """Noise, conditions, guidance and constraints are those of the whole image, whatever the windows and batches."""
    condition = torch.rand(2, 2, *shape, generator=torch.Generator().manual_seed(0))
    options = {
        "guidance": MaskGuidance(2.0, torch.zeros(2, *shape)),
        "constraints": [BlendConstraint(torch.zeros(1, 1, *shape), condition[:, :1])],
        "clip": (-1.0, 1.0),
    }
    network = GaussianNetwork([0.5, -0.25])
    whole = SamplingInferer(edm(), sampler, 6, **options)(condition, network, indices=[3, 8])
    for overlap, batch in ((0.5, 1), (0.25, 7)):
        windows = Windows((8,) * len(shape), overlap, batch)
        inferer = SamplingInferer(edm(), sampler, 6, windows=windows, **options)
        torch.testing.assert_close(inferer(condition, network, indices=[3, 8]), whole, rtol=0, atol=2e-5)
        assert inferer.evaluations == 2 * 6


def test_the_window_batch_bounds_what_the_network_sees() -> None:
    network = FieldNetwork()
    SamplingInferer(edm(), num_steps=1)(torch.zeros(1, 1, 16, 40), network, windows=Windows((8, 8), batch_size=5))
    assert {size[2:] for size in network.sizes} == {(8, 8)}
    assert max(size[0] for size in network.sizes) == 5


def test_an_image_of_one_window_is_sampled_as_without() -> None:
    condition, network = torch.rand(1, 1, 8, 8), GaussianNetwork([1.0])
    inferers = [SamplingInferer(edm(), num_steps=3, windows=windows) for windows in (None, Windows((8, 8)))]
    assert torch.equal(*(inferer(condition, network) for inferer in inferers))


@pytest.mark.parametrize("arguments", [((0, 8),), ((8, 8), 1.0), ((8, 8), -0.1), ((8, 8), 0.5, 0)])
def test_windows_that_cover_nothing_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="windows need sizes"):
        Windows(*arguments)


@pytest.mark.parametrize("shape", [(6, 12), (12, 12, 12)])
def test_images_that_a_window_does_not_fit_into_are_refused(shape: tuple[int, ...]) -> None:
    inferer = SamplingInferer(edm(), num_steps=1, windows=Windows((8, 8)))
    with pytest.raises(ValueError, match=r"windows of size \(8, 8\) do not fit into an image of size"):
        inferer(torch.zeros(1, 1, *shape), GaussianNetwork([1.0]))


def test_a_condition_of_another_resolution_is_refused() -> None:
    denoise = windowed_denoiser(edm(), GaussianNetwork([1.0]), torch.zeros(1, 1, 32, 32), Windows((8, 8)))
    with pytest.raises(ValueError, match="condition of the image's size"):
        denoise(torch.zeros(1, 1, 16, 16), torch.ones(1))


def test_the_seam_gradient_of_noise_is_one_and_that_of_tiles_more() -> None:
    windows = Windows((16, 16), 0.0)
    noise = torch.randn(1, 512, 512, generator=torch.Generator().manual_seed(0))
    assert seam_gradient(noise, windows) == pytest.approx(1, abs=0.03)
    steps = torch.arange(512) // 16 * 3.0  # as of tiles that do not agree
    assert seam_gradient(noise + steps[:, None] + steps, windows) > 2


def test_the_seam_gradient_is_exact_on_a_ramp_with_a_step() -> None:
    ramp = torch.arange(24.0)[None]
    stepped = ramp + 4.0 * (torch.arange(24) >= 8)
    assert seam_gradient(ramp, Windows((8,), 0.0)) == pytest.approx(1)
    assert seam_gradient(stepped, Windows((8,), 0.0)) == pytest.approx((5 + 1) / 2)


def test_there_is_no_seam_in_one_window_and_no_ratio_of_a_constant() -> None:
    assert seam_gradient(torch.rand(1, 8, 8), Windows((8, 8))) is None
    assert seam_gradient(torch.ones(1, 16, 16), Windows((8, 8))) is None

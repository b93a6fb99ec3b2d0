from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import SampleNoise
from monai_segdiff.inferers import ClassGuidance, ContrastGuidance, ImageStart, MaskGuidance, SamplingInferer
from monai_segdiff.inferers.guidance import GuidedDenoiser
from monai_segdiff.transforms import EncodeMask, ablate_classes

from .oracles import GaussianNetwork, edm, gaussian_flow

CLASSES = {"body": 1, "liver": 2}
PARENTS = {"liver": "body"}
# one weight for each channel: body, liver, body known, liver known
WEIGHTS = [0.1, 0.25, -0.15, 0.2]


@pytest.fixture
def encoder() -> EncodeMask:
    return EncodeMask(CLASSES)


@pytest.fixture
def label_map() -> torch.Tensor:
    return torch.tensor([[[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 2, 2], [0, 1, 2, 2]]])


def at_level(network, condition, guidance, clip=None):
    """Denoise a fixed noisy batch under guidance, and without it under each condition that is asked for."""
    x = torch.randn(condition.shape[0], 1, 4, 4, generator=torch.Generator().manual_seed(1))
    sigma = torch.linspace(0.5, 2.0, len(x), dtype=torch.float64)
    guided = GuidedDenoiser(edm(), network, condition, guidance, clip)

    def plain(other):
        return edm().denoiser(network, other)(x, sigma)

    return guided(x, sigma), plain, guided


def test_mask_guidance_is_its_formula(encoder, label_map):
    network = GaussianNetwork(WEIGHTS)
    condition = encoder(label_map)[None].repeat(3, 1, 1, 1)
    null = encoder.null_condition((4, 4))
    guided, plain, denoiser = at_level(network, condition, MaskGuidance(2.5, null))
    d_cond, d_null = plain(condition), plain(null.expand_as(condition))
    torch.testing.assert_close(guided, d_null + 2.5 * (d_cond - d_null))
    assert not torch.allclose(guided, d_cond)
    assert denoiser.evaluations == 2
    assert network.batch_sizes[0] == 6, "both conditions go through the network in one batch"


def test_the_null_condition_may_be_a_function_of_the_spatial_shape(encoder, label_map):
    condition = encoder(label_map)[None]
    by_tensor = at_level(GaussianNetwork(WEIGHTS), condition, MaskGuidance(3.0, encoder.null_condition((4, 4))))[0]
    by_function = at_level(GaussianNetwork(WEIGHTS), condition, MaskGuidance(3.0, encoder.null_condition))[0]
    assert torch.equal(by_tensor, by_function)


def test_contrast_guidance_pushes_away_from_each_samples_other_condition(encoder, label_map):
    own = torch.stack([encoder(label_map), encoder(torch.ones_like(label_map))])
    other = torch.stack([encoder(torch.zeros_like(label_map)), own[1]])
    guided, plain, denoiser = at_level(GaussianNetwork(WEIGHTS), own, ContrastGuidance(3.0, other))
    torch.testing.assert_close(guided, plain(other) + 3.0 * (plain(own) - plain(other)))
    torch.testing.assert_close(guided[1], plain(own)[1])  # both conditions say the same
    assert float((guided[0] - plain(own)[0]).abs().max()) > 0.1
    assert denoiser.evaluations == 2
    assert at_level(GaussianNetwork(WEIGHTS), own, ContrastGuidance(1.0, other))[2].evaluations == 1
    with pytest.raises(ValueError, match="give one for each sample"):
        ContrastGuidance(2.0, other[:1]).pushes(own)


def test_class_guidance_is_its_formula(encoder, label_map):
    network = GaussianNetwork(WEIGHTS)
    condition = encoder(label_map)[None].repeat(2, 1, 1, 1)
    guidance = ClassGuidance({"body": 0.5, "liver": 3.0}, encoder, PARENTS)
    guided, plain, denoiser = at_level(network, condition, guidance)
    expected = plain(condition)
    for name, weight, known in (("body", 0.5, [False, True]), ("liver", 3.0, [True, False])):
        kept = [other for other in CLASSES if other != name]
        without = encoder(ablate_classes(label_map, CLASSES, kept, PARENTS), known)[None].expand_as(condition)
        expected = expected + (weight - 1.0) * (plain(condition) - plain(without))
    torch.testing.assert_close(guided, expected)
    assert denoiser.evaluations == 3
    assert network.batch_sizes[0] == 6


def test_weights_of_one_change_nothing_and_cost_nothing(encoder, label_map):
    condition = encoder(label_map)[None]
    for guidance in (
        MaskGuidance(1.0, encoder.null_condition, null_prob=0.0),
        ClassGuidance({"liver": 1.0}, encoder, ablation_prob=0.0),
    ):
        guided, plain, denoiser = at_level(GaussianNetwork(WEIGHTS), condition, guidance)
        assert torch.equal(guided, plain(condition))
        assert denoiser.evaluations == 1


def test_guided_gaussian_samples_have_the_guided_mean_and_the_same_spread(encoder, label_map):
    network = GaussianNetwork(WEIGHTS)
    condition = encoder(label_map)[None].repeat(4, 1, 1, 1)
    inferer = SamplingInferer(edm(), "heun", 120, guidance=MaskGuidance(1.8, encoder.null_condition, null_prob=0.1))
    images = inferer(condition, network)
    with torch.no_grad():
        m_cond, m_null = network.mean(condition), network.mean(encoder.null_condition((4, 4))[None])
    noise = SampleNoise(0, range(4))((4, 1, 4, 4), like=torch.empty(()))
    expected = gaussian_flow(80.0 * noise, 80.0, m_null + 1.8 * (m_cond - m_null), network.std)
    torch.testing.assert_close(images, expected, atol=2e-3, rtol=0)
    assert inferer.evaluations == 2 * (2 * 120 - 1)


def test_clip_holds_the_guided_image(encoder, label_map):
    condition = encoder(label_map)[None]
    free, _, _ = at_level(GaussianNetwork(WEIGHTS), condition, MaskGuidance(9.0, encoder.null_condition))
    clipped, _, _ = at_level(
        GaussianNetwork(WEIGHTS), condition, MaskGuidance(9.0, encoder.null_condition), (-0.5, 0.25)
    )
    assert free.max() > 0.25
    assert torch.equal(clipped, free.clamp(-0.5, 0.25))


def test_models_that_never_saw_the_weaker_condition_are_refused(encoder):
    with pytest.raises(ValueError, match="null_prob above 0"):
        MaskGuidance(2.0, encoder.null_condition, null_prob=0.0)
    with pytest.raises(ValueError, match="class ablation"):
        ClassGuidance({"liver": 2.0}, encoder, ablation_prob=0.0)


def test_unknown_classes_are_named(encoder):
    with pytest.raises(ValueError, match=r"\['spleen'\].*\['body', 'liver'\]"):
        ClassGuidance({"spleen": 2.0}, encoder)


def test_guidance_without_a_condition_is_refused(encoder):
    start = ImageStart(torch.zeros(1, 1, 4, 4), sigma=1.0)
    inferer = SamplingInferer(edm(), start=start, guidance=MaskGuidance(2.0, encoder.null_condition))
    with pytest.raises(ValueError, match="guidance needs a condition"):
        inferer(None, GaussianNetwork(WEIGHTS))

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.diffusion import EDM, SAMPLERS, EpsilonVP, RectifiedFlow, SampleNoise, ScoreVE, VelocityVP, karras
from monai_segdiff.inferers import BlendConstraint, ImageStart, MaskGuidance, SamplingInferer
from monai_segdiff.networks import MaskConcatUNet

from .oracles import GaussianNetwork, edm, gaussian_flow

CONDITION = torch.ones(1, 1, 8, 8)


def unet(spatial_dims: int = 2) -> MaskConcatUNet:
    torch.manual_seed(0)
    network = MaskConcatUNet(
        spatial_dims,
        1,
        1,
        2,
        channels=(8, 16),
        attention_levels=(False, True),
        num_res_blocks=1,
        norm_num_groups=4,
        num_head_channels=8,
    )
    # MONAI starts its last convolution at zero, and an output of zeros would hide every difference.
    torch.nn.init.normal_(network.unet.out[-1].conv.weight, std=0.1)
    return network


class ConvNetwork(torch.nn.Module):
    out_channels = 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(4, 1, 3, padding=1)
        )

    def forward(self, x, timesteps, condition):
        return self.layers(torch.cat([x, condition], dim=1)) * timesteps.reshape(-1, 1, 1, 1).cos()


def mask(batch: int, *spatial: int) -> torch.Tensor:
    return torch.where(torch.rand(batch, 2, *spatial, generator=torch.Generator().manual_seed(4)) < 0.5, -1.0, 1.0)


@pytest.mark.parametrize(
    ("sampler", "num_steps", "evaluations"),
    [("ddpm", 12, 12), ("ddim", 12, 12), ("dpmpp_2m", 12, 12), ("unipc", 12, 12), ("heun", 12, 23), ("ve_pc", 12, 23)],
)
def test_evaluations_are_counted(sampler, num_steps, evaluations):
    network = GaussianNetwork([0.3])
    inferer = SamplingInferer(edm(), sampler, num_steps)
    inferer(CONDITION.repeat(2, 1, 1, 1), network)
    assert inferer.evaluations == evaluations
    assert network.batch_sizes == [2] * evaluations


@pytest.mark.parametrize(
    ("sampler", "num_steps"), [("ddpm", 500), ("ddim", 200), ("dpmpp_2m", 60), ("unipc", 60), ("heun", 60)]
)
def test_samples_have_the_mean_and_spread_of_the_data(sampler, num_steps):
    images = SamplingInferer(edm(), sampler, num_steps)(torch.ones(8, 1, 32, 32), GaussianNetwork([0.3], std=0.2))
    assert images.shape == (8, 1, 32, 32)
    assert float(images.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(images.std()) == pytest.approx(0.2, rel=0.03)


PARAMETERIZATIONS = [EpsilonVP(), VelocityVP(), ScoreVE(), RectifiedFlow(), EDM()]


class ExactNetwork(torch.nn.Module):
    """The raw network of a parameterization whose data are N(mean, 0.2^2), at the levels of its own grid."""

    out_channels = 1

    def __init__(self, parameterization, num_steps: int) -> None:
        super().__init__()
        self.sigmas = parameterization.sigmas(num_steps)[:-1]
        self.scalings = parameterization.scalings(self.sigmas)

    def forward(self, x, timesteps, condition):
        at = int((self.scalings.timesteps - timesteps[0]).abs().argmin())
        sigma, c_skip, c_out, c_in = self.sigmas[at], *(scaling[at] for scaling in self.scalings[:3])
        noisy = x.double() / c_in
        denoised = (0.2**2 * noisy + sigma**2 * condition) / (0.2**2 + sigma**2)
        return ((denoised - c_skip * noisy) / c_out).to(x.dtype)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=lambda p: type(p).__name__)
def test_every_parameterization_samples_the_data_from_its_own_grid(parameterization):
    condition = torch.full((4, 1, 16, 16), 0.3)
    images = SamplingInferer(parameterization, "heun", 80, seed=2)(condition, ExactNetwork(parameterization, 80))
    sigma = float(parameterization.sigmas(80)[0])
    start = sigma * SampleNoise(2, range(4))((4, 1, 16, 16), like=torch.empty(()))
    torch.testing.assert_close(images, gaussian_flow(start, sigma, 0.3, 0.2), atol=0.02, rtol=0)


def test_indices_go_on_over_calls_and_can_be_given():
    network = GaussianNetwork([0.3])
    inferer = SamplingInferer(edm(), num_steps=4, seed=3)
    condition = CONDITION.repeat(2, 1, 1, 1)
    first, second = inferer(condition, network), inferer(condition, network)
    assert inferer.next_index == 4
    assert not torch.equal(first, second)
    assert torch.equal(inferer(condition, network, [2, 3]), second)
    assert torch.equal(inferer(condition, network, torch.tensor([1, 0])), first.flip(0))
    assert inferer.next_index == 4, "given indices do not move the counter"


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_sample_depends_on_seed_and_index_only(sampler):
    network = GaussianNetwork([0.3])
    inferer = SamplingInferer(edm(), sampler, 6, seed=1)
    condition = CONDITION * torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1)
    together = inferer(condition, network, range(10, 15))
    order = [3, 0, 4]
    assert torch.equal(inferer(condition[order], network, [10 + k for k in order]), together[order])
    assert torch.equal(inferer(condition[2:3], network, [12]), together[2:3])
    other_seed = SamplingInferer(edm(), sampler, 6, seed=2)(condition, network, range(10, 15))
    assert not torch.equal(other_seed, together)


def test_a_sample_of_a_network_does_not_depend_on_its_batch():
    network, condition = unet(), mask(4, 16, 16)
    inferer = SamplingInferer(edm(), "ddpm", 6)
    together = inferer(condition, network, range(4))
    alone = torch.cat([inferer(condition[k : k + 1], network, [k]) for k in range(4)])
    assert (together - alone).abs().max() <= 1e-4 * float(together.max() - together.min())


def test_the_result_is_a_plain_float32_tensor_that_one_can_train_on():
    condition = MetaTensor(mask(2, 8, 8).double(), meta={"filename_or_obj": "a.nii.gz"})
    images = SamplingInferer(edm(), num_steps=2)(condition, unet())
    assert type(images) is torch.Tensor
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    weight = torch.ones((), requires_grad=True)
    (weight * images).sum().backward()
    assert weight.grad == images.sum()


def test_the_network_sees_no_metadata_and_no_gradient():
    network = GaussianNetwork([0.3])
    image = MetaTensor(torch.zeros(1, 1, 8, 8))
    inferer = SamplingInferer(
        edm(),
        num_steps=4,
        start=ImageStart(image, sigma=1.0),
        guidance=MaskGuidance(2.0, MetaTensor(torch.zeros(1, 8, 8))),
        constraints=[BlendConstraint(image, MetaTensor(torch.full((1, 1, 8, 8), 0.5)))],
    )
    images = inferer(MetaTensor(CONDITION), network)
    assert type(images) is torch.Tensor
    assert len(network.seen) == 4
    assert all(type(x) is torch.Tensor and not x.requires_grad for x in network.seen)


class Failing(torch.nn.Module):
    out_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.BatchNorm2d(1).eval()
        self.free = torch.nn.Dropout()
        self.modes: list[bool] = []

    def forward(self, x, timesteps, condition=None):
        self.modes.append(self.free.training)
        raise RuntimeError("no memory left")


def test_every_module_gets_its_mode_back_even_after_an_error():
    network = Failing()
    inferer = SamplingInferer(edm())
    with pytest.raises(RuntimeError, match="no memory left"):
        inferer(CONDITION, network)
    assert network.modes == [False]
    assert network.training
    assert network.free.training
    assert not network.frozen.training
    assert inferer.next_index == 0, "a failed call uses up no index"


def test_a_grid_can_be_given():
    levels = karras(6, 0.01, 5.0)
    given = SamplingInferer(edm(), "heun", sigmas=levels)
    network = GaussianNetwork([0.3])
    given(CONDITION, network)
    assert given.num_steps == 6
    assert given.evaluations == 11
    from_list = SamplingInferer(edm(), "heun", sigmas=levels.tolist())
    assert torch.equal(from_list(CONDITION, network), given(CONDITION, network, [0]))


@pytest.mark.parametrize("sigmas", [[1.0, 2.0, 0.0], [1.0, 0.5], [0.0]])
def test_a_given_grid_must_descend_to_zero(sigmas):
    with pytest.raises(ValueError, match="descend strictly and end in 0"):
        SamplingInferer(edm(), sigmas=sigmas)(CONDITION, GaussianNetwork([0.3]))


def test_a_start_must_agree_with_a_given_grid():
    start = ImageStart(torch.zeros(1, 1, 8, 8), sigma=2.0)
    with pytest.raises(ValueError, match="noise level 2, but the given sigmas at 5"):
        SamplingInferer(edm(), sigmas=karras(6, 0.01, 5.0), start=start)(CONDITION, GaussianNetwork([0.3]))


def test_callback_sees_every_step_and_the_progress_bar_counts_them(capsys):
    seen = []
    inferer = SamplingInferer(
        edm(),
        "heun",
        5,
        progress=True,
        callback=lambda step, sigma, x, x0: seen.append((step, float(sigma), x.shape, x0.shape)),
    )
    inferer(CONDITION, GaussianNetwork([0.3]))
    assert [step for step, *_ in seen] == list(range(5))
    assert [sigma for _, sigma, *_ in seen] == pytest.approx(edm().sigmas(5)[:-1].tolist())
    assert {shape for entry in seen for shape in entry[2:]} == {(1, 1, 8, 8)}
    assert "5/5" in capsys.readouterr().err


def test_sampler_options_reach_the_sampler():
    network = GaussianNetwork([0.3])
    condition = torch.ones(4, 1, 8, 8)
    per_sample = SamplingInferer(edm(), "ve_pc", 6)(condition, network)
    per_batch = SamplingInferer(edm(), "ve_pc", 6, sampler_options={"norm": "batch"})(condition, network)
    assert not torch.equal(per_sample, per_batch)


def test_a_function_can_be_the_sampler():
    def one_step(denoiser, x, sigmas, *, noise=None, constrain=None, callback=None):
        return denoiser(x, sigmas[:1].expand(len(x)))

    images = SamplingInferer(edm(), one_step)(CONDITION, GaussianNetwork([0.3]))
    torch.testing.assert_close(images, 0.3 * CONDITION, atol=2e-3, rtol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_channels_last_changes_nothing_but_the_rounding(spatial_dims):
    network, condition = unet(spatial_dims), mask(2, *[8] * spatial_dims)
    plain = SamplingInferer(edm(), num_steps=4)(condition, network)
    last = SamplingInferer(edm(), num_steps=4, channels_last=True)(condition, network)
    torch.testing.assert_close(last, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("error", [False, True])
def test_channels_last_holds_during_the_run_only(error):
    network = ConvNetwork()
    before = [(parameter.data_ptr(), parameter.stride()) for parameter in network.parameters()]
    formats = []

    def look(module, inputs, output):
        formats.extend(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (module.weight, output))
        if error:
            raise RuntimeError("no memory left")

    network.layers[0].register_forward_hook(look)
    inferer = SamplingInferer(edm(), num_steps=2, channels_last=True)
    with pytest.raises(RuntimeError, match="no memory left") if error else nullcontext():
        inferer(mask(2, 8, 8), network)
    assert formats == [True] * (2 if error else 4)
    assert [(parameter.data_ptr(), parameter.stride()) for parameter in network.parameters()] == before


def test_autocast_agrees_with_float32_within_its_precision():
    network, condition = unet(), mask(2, 16, 16)
    plain = SamplingInferer(edm(), num_steps=4)(condition, network)
    half = SamplingInferer(edm(), num_steps=4, amp_dtype="bfloat16")(condition, network)
    assert half.dtype == torch.float32
    error = float((half - plain).abs().max()) / float(plain.max() - plain.min())
    assert 0 < error < 0.02
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_compiled_networks_are_kept(monkeypatch):
    compiled = []

    def count(network):
        compiled.append(network)
        return lambda *args, **kwargs: network(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", count)
    first, second = GaussianNetwork([0.3]), GaussianNetwork([0.1])
    inferer = SamplingInferer(edm(), num_steps=2, compile=True)
    for network in (first, first, second):
        inferer(CONDITION, network)
    assert compiled == [first, second]


@pytest.mark.slow
def test_compile_changes_nothing_but_the_rounding():
    network, condition = ConvNetwork(), mask(2, 8, 8)
    plain = SamplingInferer(edm(), num_steps=4)(condition, network)
    compiled = SamplingInferer(edm(), num_steps=4, compile=True)(condition, network)
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=0)


def test_image_channels_come_from_the_network_through_its_wrappers():
    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *args, **kwargs):
            return self.module(*args, **kwargs)

    network = GaussianNetwork([0.3], out_channels=3)
    inferer = SamplingInferer(edm(), num_steps=2)
    assert inferer(CONDITION, Wrapper(network)).shape == (1, 3, 8, 8)
    assert inferer.state_shape(CONDITION, torch.compile(network)) == (1, 3, 8, 8)
    assert SamplingInferer(edm(), num_steps=2, image_channels=2)(CONDITION, network).shape == (1, 2, 8, 8)


def test_networks_without_out_channels_need_image_channels():
    def network(x, timesteps, condition=None):
        return x

    with pytest.raises(ValueError, match="image_channels"):
        SamplingInferer(edm(), num_steps=1)(CONDITION, network)
    assert SamplingInferer(edm(), num_steps=1, image_channels=1)(CONDITION, network).shape == (1, 1, 8, 8)


def test_distributed_networks_are_sampled_without_their_wrapper(tmp_path):
    network = unet()
    expected = SamplingInferer(edm(), num_steps=2)(mask(1, 8, 8), network)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(network)
        wrapped.register_forward_pre_hook(lambda *_: pytest.fail("the wrapper was called"))
        assert torch.equal(SamplingInferer(edm(), num_steps=2)(mask(1, 8, 8), wrapped), expected)
    finally:
        torch.distributed.destroy_process_group()


def test_the_starting_noise_is_the_samples_own():
    starts = []
    inferer = SamplingInferer(edm(), "ddim", 3, seed=9, callback=lambda step, sigma, x, x0: starts.append(x.clone()))
    inferer(CONDITION, GaussianNetwork([0.3]), [41])
    noise = SampleNoise(9, [41])((1, 1, 8, 8), like=torch.empty(()))
    torch.testing.assert_close(starts[0], 80.0 * noise)


def test_values_that_are_not_finite_are_handed_on():
    assert bool(torch.isnan(SamplingInferer(edm(), num_steps=2)(CONDITION, GaussianNetwork([float("nan")]))).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'; the known ones are .*ddim.*heun"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"amp_dtype": "float64"}, "amp_dtype"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SamplingInferer(edm(), **arguments)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 1, 2, 2, 2, 2)])
def test_conditions_of_wrong_rank_are_refused(shape):
    with pytest.raises(ValueError, match="2 or 3 spatial dimensions"):
        SamplingInferer(edm())(torch.zeros(shape), GaussianNetwork([0.3]))


def test_indices_must_be_as_many_as_samples():
    with pytest.raises(ValueError, match="3 indices for a batch of 1"):
        SamplingInferer(edm())(CONDITION, GaussianNetwork([0.3]), [0, 1, 2])

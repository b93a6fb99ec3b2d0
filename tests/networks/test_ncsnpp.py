"""NCSNpp: its parts in closed form, what it depends on and what not, precision, export, training, bad input."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from monai.data import MetaTensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from monai_segdiff.diffusion import EDM
from monai_segdiff.networks import NCSNpp, load_weights
from monai_segdiff.networks.ncsnpp_blocks import AttentionBlock, FourierEmbedding, ResidualBlock, initialized, merge

OPTIONS = {"channels": (8, 16, 16), "attention_levels": (False, True, False), "num_res_blocks": 1, "norm_num_groups": 4}
TWO_LEVELS = {"channels": (8, 16), "attention_levels": (False, True)}


def small(**changes: object) -> NCSNpp:
    """A network with all weights drawn, as the last convolutions start at zero."""
    torch.manual_seed(0)
    network = NCSNpp(**{"in_channels": 2, "condition_channels": 3, **OPTIONS, **changes})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def inputs(batch: int = 2, spatial: tuple[int, int] = (8, 12)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 2, *spatial, generator=generator)
    condition = torch.randn(batch, 3, *spatial, generator=generator)
    return x, torch.linspace(-4.6, 4.8, batch), condition


def test_the_published_setting_has_the_published_levels() -> None:
    """Six levels of a 256x256 image end at 8x8 with 256 channels, and the path of the input reaches all of them."""
    with torch.device("meta"):
        network = NCSNpp(condition_channels=1)
        x, timesteps = torch.zeros(1, 1, 256, 256), torch.zeros(1)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert f"{count:,}" in (NCSNpp.__doc__ or "")
    shapes: list[tuple[int, ...]] = []
    for level in network.down[1:]:
        level.input_conv.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    network.middle.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    assert network(x, timesteps, condition=x).shape == x.shape
    path = [(64, 128, 128), (128, 64, 64), (128, 32, 32), (128, 16, 16), (128, 8, 8)]
    assert shapes == [*path, (256, 8, 8)]


def test_a_sum_of_independent_branches_keeps_the_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 100_000, generator=generator)
    assert merge(first, second).var().item() == pytest.approx(1.0, abs=0.02)
    assert torch.allclose(merge(first, second), (first + second) / math.sqrt(2))


@pytest.mark.parametrize(("channels", "resample"), [((64, 64), None), ((64, 128), None), ((64, 64), "up")])
def test_residual_blocks_are_their_shortcut_at_the_start(channels: tuple[int, int], resample: str | None) -> None:
    """The branch starts at zero, so the block hands on the shortcut, divided by sqrt(2), whatever the noise level."""
    torch.manual_seed(0)
    block = ResidualBlock(*channels, 32, 8, resample=resample)
    x = torch.randn(2, channels[0], 8, 8)
    result = block(x, torch.randn(2, 32))
    expected = block.shortcut(x)
    if resample:
        expected = functional.interpolate(expected, scale_factor=2, mode="bilinear")
    assert torch.allclose(result, expected / math.sqrt(2), atol=1e-6)
    assert torch.equal(result, block(x, torch.randn(2, 32)))


def test_residual_blocks_keep_the_variance_where_their_branch_has_that_of_the_input() -> None:
    """Thirty blocks deep the variance is what it was; without the division by sqrt(2) it would be 2^30 times that."""
    torch.manual_seed(0)
    x = torch.randn(4, 32, 16, 16)
    with torch.no_grad():
        for _ in range(30):
            block = ResidualBlock(32, 32, None, 8)
            initialized(block.conv_last)
            branch = math.sqrt(2) * block(x, None) - x
            block.conv_last.weight /= branch.std()
            x = block(x, None)
            assert 0.8 < x.var() < 1.25


@pytest.mark.parametrize("resample", [None, "down", "up"])
def test_residual_blocks_in_plain_terms(resample: str | None) -> None:
    """The published order of operations, written out."""
    torch.manual_seed(0)
    block = ResidualBlock(8, 16, 12, 4, resample=resample).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, embedding = torch.randn(2, 8, 4, 6).double(), torch.randn(2, 12).double()

    def norm(h: torch.Tensor, layer: torch.nn.GroupNorm) -> torch.Tensor:
        grouped = h.reshape(h.shape[0], 4, -1)
        spread = grouped.var(dim=2, keepdim=True, unbiased=False) + layer.eps
        h = ((grouped - grouped.mean(dim=2, keepdim=True)) / spread.sqrt()).reshape(h.shape)
        h = h * layer.weight[:, None, None] + layer.bias[:, None, None]
        return h / (1 + (-h).exp())

    def resampled(h: torch.Tensor) -> torch.Tensor:
        return h if resample is None else block.resample(h)

    h = functional.conv2d(
        resampled(norm(x, block.norm_first)), block.conv_first.weight, block.conv_first.bias, padding=1
    )
    h = h + (embedding @ block.noise.weight.T + block.noise.bias)[:, :, None, None]
    h = functional.conv2d(norm(h, block.norm_last), block.conv_last.weight, block.conv_last.bias, padding=1)
    skip = torch.einsum("oc,bchw->bohw", block.shortcut.weight[:, :, 0, 0], resampled(x))
    skip = skip + block.shortcut.bias[:, None, None]
    assert torch.allclose(block(x, embedding), (skip + h) / math.sqrt(2), atol=1e-12)


@pytest.mark.parametrize("head_channels", [None, 4])
def test_attention_in_plain_terms(head_channels: int | None) -> None:
    torch.manual_seed(0)
    block = AttentionBlock(8, 4, head_channels).double()
    x = torch.randn(2, 8, 3, 5).double()
    assert torch.allclose(block(x), x / math.sqrt(2))  # the branch starts at zero
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    size = head_channels or 8
    tokens = block.norm(x).reshape(2, 8, 15).transpose(1, 2)
    query, key, value = (tokens @ block.query_key_value.weight.T + block.query_key_value.bias).split(8, dim=2)
    mixed = []
    for start in range(0, 8, size):
        part = slice(start, start + size)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)).softmax(dim=2)
        mixed.append(weights @ value[..., part])
    out = torch.cat(mixed, dim=2) @ block.out.weight.T + block.out.bias
    assert torch.allclose(block(x), (x + out.transpose(1, 2).reshape(x.shape)) / math.sqrt(2), atol=1e-12)


def test_fourier_features_in_closed_form() -> None:
    torch.manual_seed(0)
    embedding = FourierEmbedding(3, 8, 16.0)
    assert "frequencies" in embedding.state_dict()
    embedding.frequencies.copy_(torch.tensor([0.25, -1.5, 20.0]))
    timesteps = torch.tensor([math.log(0.01), 0.0, math.log(128.0)])
    phases = 2 * math.pi * torch.outer(timesteps.double(), torch.tensor([0.25, -1.5, 20.0], dtype=torch.float64))
    expected = torch.cat([phases.sin(), phases.cos()], dim=1)
    assert torch.allclose(embedding.features(timesteps).double(), expected, atol=1e-4)
    assert torch.equal(embedding.features(timesteps.double()), embedding.features(timesteps))


def test_frequencies_have_the_stated_scale_and_follow_the_seed() -> None:
    torch.manual_seed(0)
    first = FourierEmbedding(4096, 8, 16.0).frequencies
    torch.manual_seed(0)
    assert torch.equal(first, FourierEmbedding(4096, 8, 16.0).frequencies)
    assert not torch.equal(first, FourierEmbedding(4096, 8, 16.0).frequencies)
    assert first.std().item() == pytest.approx(16.0, rel=0.05)
    assert first.mean().item() == pytest.approx(0.0, abs=1.0)


def test_an_untrained_network_answers_zero_at_every_noise_level() -> None:
    """With ScoreVE that is the score of no information, and the loss starts at the variance of the noise."""
    network = NCSNpp(**OPTIONS)
    x = 128 * torch.randn(2, 1, 8, 8)
    assert not network(x, torch.tensor([-4.6, 4.8])).any()


@pytest.mark.parametrize("noise_embedding", [True, False])
@pytest.mark.parametrize("progressive_input", [True, False])
def test_every_parameter_gets_a_gradient(noise_embedding: bool, progressive_input: bool) -> None:
    network = small(noise_embedding=noise_embedding, progressive_input=progressive_input, condition_channels=3)
    x, timesteps, condition = inputs()
    network(x, timesteps, condition).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_what_the_answer_depends_on() -> None:
    network = small()
    x, timesteps, condition = inputs()
    result = network(x, timesteps, condition=condition)
    assert result.shape == (2, 1, 8, 12)
    assert result.std() > 1e-3
    for other in (
        network(x, timesteps + 0.1, condition),
        network(x, timesteps, -condition),
        network(x.flip(1), timesteps, condition),
    ):
        assert (other - result).abs().max() > 1e-3 * result.std()


def test_without_noise_embedding_timesteps_are_neither_needed_nor_used() -> None:
    network = small(noise_embedding=False)
    x, timesteps, condition = inputs()
    result = network(x, condition=condition)
    assert torch.equal(result, network(x, timesteps, condition))
    assert not any("embedding" in name or "noise" in name for name in network.state_dict())
    plain = small(noise_embedding=False, condition_channels=0)
    assert plain(x).shape == (2, 1, 8, 12)


def test_the_input_enters_every_level_only_if_wanted() -> None:
    """Cut off at the first convolution, the image still reaches the output by way of its halved copies."""
    x, timesteps, condition = inputs()
    for progressive in (True, False):
        network = small(progressive_input=progressive)
        torch.nn.init.zeros_(network.conv_in.weight)
        assert torch.equal(network(x, timesteps, condition), network(-x, timesteps, -condition)) is not progressive


def test_a_sample_does_not_depend_on_the_others() -> None:
    network = small().eval()
    x, timesteps, condition = inputs(5)
    together = network(x, timesteps, condition)
    for i in range(5):
        alone = network(x[i : i + 1], timesteps[i : i + 1], condition[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)
    x[1:] = 1e6
    assert torch.allclose(network(x, timesteps, condition)[:1], together[:1], atol=1e-5)


def test_saved_weights_give_the_same_answer(tmp_path: Path) -> None:
    """The frequencies come with them: another draw would be another network."""
    network = small()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    torch.manual_seed(99)
    other = load_weights(NCSNpp(in_channels=2, condition_channels=3, **OPTIONS), tmp_path / "model.pt")
    assert torch.equal(other(*inputs()), network(*inputs()))


def test_deep_copy_is_independent() -> None:
    """Averaged weights are kept in a copy of the network."""
    network = small()
    twin = copy.deepcopy(network)
    before = twin(*inputs())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(twin(*inputs()), before)


def test_metadata_do_not_reach_the_convolutions() -> None:
    network = small()
    seen: list[type] = []
    for module in (network.conv_in, network.embedding):
        module.register_forward_pre_hook(lambda _, arguments: seen.extend(type(a) for a in arguments))
    result = network(*map(MetaTensor, inputs()))
    assert seen == [torch.Tensor, torch.Tensor]
    assert type(result) is torch.Tensor
    assert torch.equal(result, network(*inputs()))


def test_channels_last_changes_nothing_but_the_order_in_memory() -> None:
    network = small().double()
    x, timesteps, condition = (tensor.double() for tensor in inputs())
    expected = network(x, timesteps, condition)
    network = network.to(memory_format=torch.channels_last)
    result = network(x.contiguous(memory_format=torch.channels_last), timesteps, condition)
    assert torch.allclose(result, expected, atol=1e-12)


def test_autocast_keeps_the_image_and_the_noise_level_in_float32() -> None:
    """In bfloat16 neighboring images at 128 differ by 1, and neighboring phases at 500 by 2, a third of a period."""
    network = small()
    x, timesteps, condition = inputs()
    x = 100 * x
    seen: dict[str, tuple[torch.dtype, torch.Tensor]] = {}
    for name in ("conv_in", "conv_out", "down.1.input_conv", "down.2.input_conv", "down.0.blocks.0.conv_last"):
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output})
        )
    expected = network(x, timesteps, condition)
    first = seen["conv_in"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = network(x, timesteps, condition)
        features = network.embedding.features(timesteps)
    assert torch.equal(seen["conv_in"], first)
    assert torch.equal(features, network.embedding.features(timesteps))
    kinds = {name: output.dtype for name, output in seen.items()}
    assert {name for name, kind in kinds.items() if kind == torch.bfloat16} == {
        "down.2.input_conv",
        "down.0.blocks.0.conv_last",
    }
    assert result.dtype == torch.float32
    assert (result - expected).abs().max() < 0.05 * expected.std()


def test_huge_and_tiny_images_give_finite_answers() -> None:
    network = small()
    x, timesteps, condition = inputs()
    for scale in (1e-6, 1e4):
        assert network(scale * x, timesteps, condition).isfinite().all()
    assert network(torch.zeros_like(x), timesteps, torch.zeros_like(condition)).isfinite().all()


def test_size_multiple_is_what_the_network_really_needs() -> None:
    network = small(in_channels=1, condition_channels=0)
    assert network.size_multiple == 4
    for size in range(4, 13):
        x = torch.zeros(1, 1, 4, size)
        if size % 4 == 0:
            assert network(x, torch.zeros(1)).shape == x.shape
        else:
            with pytest.raises(ValueError, match="multiple of 4, as the network halves the image 2 times"):
                network(x, torch.zeros(1))


@pytest.mark.parametrize(
    ("x_shape", "timesteps", "condition_shape", "message"),
    [
        ((2, 2, 8, 8), torch.zeros(2), None, "needs a condition of 3 channels and got none"),
        ((2, 2, 8, 8), torch.zeros(2), (2, 4, 8, 8), r"condition of shape \(2, 3, 8, 8\), got \(2, 4, 8, 8\)"),
        ((2, 2, 8, 8), torch.zeros(2), (1, 3, 8, 8), r"condition of shape \(2, 3, 8, 8\), got \(1, 3, 8, 8\)"),
        ((2, 2, 8, 9), torch.zeros(2), (2, 3, 8, 9), r"multiple of 4.*got \(8, 9\): pad or resize"),
        ((2, 1, 8, 8), torch.zeros(2), (2, 3, 8, 8), r"takes 2D images of shape \(B, 2, \*spatial\)"),
        ((2, 2, 8, 8, 8), torch.zeros(2), (2, 3, 8, 8, 8), "takes 2D images"),
        ((2, 2, 8, 8), None, (2, 3, 8, 8), "needs timesteps.*got none"),
        ((2, 2, 8, 8), torch.zeros(1), (2, 3, 8, 8), r"2 images need timesteps of shape \(2,\), got \(1,\)"),
        ((2, 2, 8, 8), torch.tensor(0.0), (2, 3, 8, 8), r"need timesteps of shape \(2,\), got \(\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    x_shape: tuple, timesteps: torch.Tensor | None, condition_shape: tuple | None, message: str
) -> None:
    condition = None if condition_shape is None else torch.zeros(condition_shape)
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(x_shape), timesteps, condition=condition)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_levels": (False, True)}, "attention_levels needs one flag for each of 3 levels"),
        ({"norm_num_groups": 3}, r"norm_num_groups=3 does not divide all of channels=\(8, 16, 16\)"),
        ({"norm_num_groups": 0}, "norm_num_groups must be at least 1, got 0"),
        ({"num_head_channels": 5}, r"num_head_channels=5 does not divide .* \[16\]"),
        ({"num_head_channels": 0}, "num_head_channels must be at least 1, got 0"),
        ({"channels": (), "attention_levels": ()}, "at least one level"),
        ({"num_res_blocks": 0}, "num_res_blocks must be at least 1, got 0"),
        ({"condition_channels": -1}, "condition_channels must not be negative"),
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_network_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NCSNpp(**{**OPTIONS, **changes})


@pytest.mark.slow
def test_compiles_as_one_graph() -> None:
    network = small(**TWO_LEVELS).eval()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        assert torch.allclose(compiled(*inputs()), network(*inputs()), atol=1e-5)


@pytest.mark.slow
def test_compiles_to_native_code() -> None:
    network = small(**TWO_LEVELS).eval()
    compiled = torch.compile(network, fullgraph=True)
    with torch.inference_mode():
        assert torch.allclose(compiled(*inputs()), network(*inputs()), atol=1e-5)


@pytest.mark.slow
def test_exports_with_any_batch_size() -> None:
    network = small(**TWO_LEVELS).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    x, timesteps, condition = inputs(3)
    exported = torch.export.export(
        network,
        (x, timesteps),
        {"condition": condition},
        dynamic_shapes={"x": {0: batch}, "timesteps": {0: batch}, "condition": {0: batch}},
    )
    for size in (1, 3, 5):
        x, timesteps, condition = inputs(size)
        result = exported.module()(x, timesteps, condition=condition)
        assert torch.allclose(result, network(x, timesteps, condition), atol=1e-5)


def test_exports_without_noise_embedding() -> None:
    network = small(**TWO_LEVELS, noise_embedding=False).eval()
    x, _, condition = inputs()
    exported = torch.export.export(network, (x,), {"condition": condition})
    assert torch.allclose(exported.module()(x, condition=condition), network(x, condition=condition), atol=1e-5)


def _loss(network: torch.nn.Module, rows: slice) -> torch.Tensor:
    x, timesteps, condition = inputs(4)
    return network(x[rows], timesteps[rows], condition=condition[rows]).square().mean()


def _train_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    network = DistributedDataParallel(small())
    _loss(network, slice(2 * rank, 2 * rank + 2)).backward()
    gradients = {name: parameter.grad for name, parameter in network.module.named_parameters()}
    torch.save(gradients, Path(folder) / f"gradients_{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_gradients_of_two_processes_equal_those_of_one_on_the_full_batch(tmp_path: Path) -> None:
    single = small()
    _loss(single, slice(None)).backward()
    mp.spawn(_train_rank, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        gradients = torch.load(tmp_path / f"gradients_{rank}.pt", weights_only=True)
        for name, parameter in single.named_parameters():
            assert parameter.grad is not None
            assert torch.allclose(gradients[name], parameter.grad, rtol=1e-3, atol=1e-6), name


@pytest.mark.slow
def test_a_short_training_denoises_what_the_condition_shows() -> None:
    """Disks whose brightness only the noisy image tells and whose place only the condition tells cheaply."""
    torch.manual_seed(0)
    axis = torch.linspace(-1, 1, 8)
    centers = torch.rand(32, 2, 1, 1) - 0.5
    disk = ((axis[:, None] - centers[:, :1]) ** 2 + (axis - centers[:, 1:]) ** 2 < 0.25).float()
    image = disk * (0.3 + 0.7 * torch.rand(32, 1, 1, 1))
    parameterization = EDM(sigma_data=float(image.std()))
    network = NCSNpp(condition_channels=1, **{**OPTIONS, "channels": (16, 16), "attention_levels": (False, False)})
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(150):
        levels = parameterization.draw_levels(32)
        network_input, timesteps, target = parameterization.training_pair(image, torch.randn_like(image), levels)
        loss = (network(network_input, timesteps, disk) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.0, abs=0.35)  # the target has unit variance, and the answer starts at zero
    assert sum(losses[-20:]) / 20 < 0.25

"""MaskControlNet: begins at the frozen network, equals MONAI's networks called by hand, trains the control alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import ControlNet, DiffusionModelUNet

from monai_segdiff.networks import MaskControlNet, UnconditionalUNet, load_weights
from monai_segdiff.transforms import EncodeMask

from .rivals import BAD_SHAPES, OPTIONS, check_export, check_guidance, inputs, with_drawn_weights


def small(spatial_dims: int = 2, channels: tuple[int, int] = (2, 3)) -> MaskControlNet:
    return with_drawn_weights(MaskControlNet(spatial_dims, channels[0], 1, channels[1], **OPTIONS))


@pytest.fixture
def base(tmp_path: Path) -> tuple[UnconditionalUNet, Path]:
    """A network that was trained without masks, and its file."""
    network = with_drawn_weights(UnconditionalUNet(2, 2, 1, **OPTIONS))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    # PyTorch multiplies matrices in another order where weights need gradients.
    return network.requires_grad_(False), tmp_path / "model.pt"


def test_begins_at_the_frozen_network_to_the_bit(base: tuple[UnconditionalUNet, Path]) -> None:
    frozen, file = base
    network = MaskControlNet(2, 2, 1, 3, base_weights=file, **OPTIONS)
    x, timesteps, condition = inputs()
    result = network(x, timesteps, condition=condition)
    assert result.std() > 1e-3
    assert torch.equal(result, frozen(x, timesteps))
    own = network.control.state_dict()
    copied = [name for name in network.unet.state_dict() if name in own]
    assert any(name.startswith("middle_block") for name in copied)
    assert all(torch.equal(own[name], network.unet.state_dict()[name]) for name in copied)


@pytest.mark.parametrize("spatial", [(8, 12), (4, 8, 6)])
def test_equals_monais_networks_called_by_hand(spatial: tuple) -> None:
    network = small(len(spatial))
    unet = DiffusionModelUNet(len(spatial), in_channels=2, out_channels=1, **OPTIONS).requires_grad_(False)
    unet.load_state_dict(network.unet.state_dict())
    control = ControlNet(
        len(spatial),
        in_channels=2,
        conditioning_embedding_in_channels=3,
        conditioning_embedding_num_channels=(8,),
        **OPTIONS,
    )
    control.load_state_dict(network.control.state_dict())
    x, timesteps, condition = inputs(spatial=spatial)
    skips, middle = control(x, timesteps, controlnet_cond=condition)
    expected = unet(x, timesteps, down_block_additional_residuals=tuple(skips), mid_block_additional_residual=middle)
    result = network(x, timesteps, condition=condition)
    assert result.shape == (2, 1, *spatial)
    assert torch.equal(result, expected)
    assert not torch.allclose(result, unet(x, timesteps)), "the control does something"


def test_only_the_control_is_trained(base: tuple[UnconditionalUNet, Path]) -> None:
    network = MaskControlNet(2, 2, 1, 3, base_weights=base[1], **OPTIONS).train()
    assert network.control.training
    assert not any(module.training for module in network.unet.modules())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    assert len(trained) == len(list(network.control.parameters()))
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    x, timesteps, condition = inputs()
    for _ in range(3):  # the first step moves the zero convolutions, the next what lies before them
        optimizer.zero_grad()
        network(x, timesteps, condition).square().sum().backward()
        optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f"control.{name}" for name, _ in network.control.named_parameters()}


def test_gradients_reach_the_condition() -> None:
    network = small()
    x, timesteps, condition = inputs()
    condition.requires_grad_()
    network(x, timesteps, condition).square().sum().backward()
    assert condition.grad is not None
    assert float(condition.grad.abs().min()) > 0


def test_one_file_holds_both_networks(tmp_path: Path) -> None:
    network = small()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    again = load_weights(MaskControlNet(2, 2, 1, 3, **OPTIONS), tmp_path / "model.pt")
    x, timesteps, condition = inputs()
    assert torch.equal(again(x, timesteps, condition), network(x, timesteps, condition))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(UnconditionalUNet(2, 1, 1, **OPTIONS).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt holds the weights of another architecture.*UnconditionalUNet"):
        MaskControlNet(2, 2, 1, 3, base_weights=tmp_path / "other.pt", **OPTIONS)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        MaskControlNet(2, 2, 1, 3, base_weights=tmp_path / "none.pt", **OPTIONS)


def test_metadata_and_other_dtypes_of_the_condition_are_taken_off() -> None:
    network = small()
    x, timesteps, condition = inputs()
    on = condition > 0
    result = network(MetaTensor(x), MetaTensor(timesteps), condition=MetaTensor(on.double()))
    assert type(result) is torch.Tensor
    assert torch.equal(result, network(x, timesteps, condition=on.float()))


@pytest.mark.parametrize(("x_shape", "condition_shape", "message"), BAD_SHAPES)
def test_shapes_that_do_not_fit_are_refused(x_shape: tuple, condition_shape: tuple | None, message: str) -> None:
    condition = None if condition_shape is None else torch.zeros(condition_shape)
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(x_shape), torch.zeros(2), condition=condition)


def test_it_needs_a_mask() -> None:
    with pytest.raises(ValueError, match=r"at least 1, got 0; without masks use UnconditionalUNet\."):
        MaskControlNet(2, 1, 1, 0, **OPTIONS)


@pytest.mark.slow
def test_exports_with_any_batch_size() -> None:
    check_export(small(), (8, 8))


def test_guidance_doubles_the_batch_and_the_masks_with_it() -> None:
    encoder = EncodeMask({"a": 1, "b": 2})
    check_guidance(small(channels=(1, encoder.out_channels)), encoder)


def test_an_unconditional_network_looks_at_no_mask() -> None:
    network = with_drawn_weights(UnconditionalUNet(2, 2, 1, **OPTIONS))
    x, timesteps, condition = inputs()
    expected = network.unet(x, timesteps)
    assert torch.equal(network(x, timesteps), expected)
    assert torch.equal(network(MetaTensor(x), timesteps, condition=condition), expected)
    with pytest.raises(ValueError, match="multiple of 2"):
        network(x[..., :7], timesteps)

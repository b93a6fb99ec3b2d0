from __future__ import annotations

import math
import multiprocessing
import signal
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.engines import IterationEvents
from monai.networks.nets import PatchDiscriminator
from torch import nn
from toy_autoencoder import BATCHES, build, disc_images, run_in_process, tiny_autoencoder

from monai_segdiff.engines import AutoencoderUpdate, RegressionPrepareBatch
from monai_segdiff.losses import AutoencoderLoss, kl_divergence


def assert_equal(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def outputs_of(training) -> list[dict[str, torch.Tensor]]:
    seen: list[dict[str, torch.Tensor]] = []
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(dict(engine.state.output))
    )
    training.trainer.run()
    return seen


class Linear(nn.Module):
    """An autoencoder whose every value is known: prediction gain * x, a posterior of given mean and deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.gain * x, torch.ones(len(x), 2), torch.ones(len(x), 2)


class MeanLogit(nn.Module):
    """A discriminator: bias plus weight times the mean of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x.flatten(1).mean(1) + self.bias


def test_one_iteration_equals_a_computation_by_hand() -> None:
    network, discriminator = Linear(), MeanLogit()
    update = AutoencoderUpdate(
        AutoencoderLoss("l2", kl_weight=0.25, adversarial_weight=0.5),
        discriminator,
        torch.optim.SGD(discriminator.parameters(), lr=0.1),
    )
    engine = build(network=network).trainer
    engine.optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    engine.state.iteration = 1
    output = update(engine, {"image": torch.full((2, 1, 2, 2), 1.0)})
    # prediction 0.5, logits 2 * 0.5 = 1 on it and 2 on the image
    assert output["reconstruction"].item() == pytest.approx(0.25)
    assert output["kl"].item() == pytest.approx(1.0)
    assert output["adversarial"].item() == pytest.approx(0.0)
    assert output["loss"].item() == pytest.approx(0.25 + 0.25)
    assert output["discriminator"].item() == pytest.approx(0.5 * ((2 - 1) ** 2 + 1**2))
    # d/dgain of (gain - 1)^2 + 0.5 (2 gain - 1)^2 at 0.5: -1 + 0
    assert network.gain.item() == pytest.approx(0.5 + 0.1)
    # 0.5 ((w - 1)^2 + (0.5 w)^2): w - 1 + 0.25 w = 1.5, of the bias: 1 + 1 = 2; judged by the weights from before
    assert discriminator.weight.item() == pytest.approx(2 - 0.15)
    assert discriminator.bias.item() == pytest.approx(0 - 0.2)


def test_the_output_is_that_of_a_stock_iteration_and_the_parts() -> None:
    seen = outputs_of(build(1))
    assert len(seen) == BATCHES
    for output in seen:
        assert set(output) == {"image", "label", "pred", "loss", "reconstruction", "kl", "adversarial", "discriminator"}
        assert output["image"].shape == output["label"].shape == output["pred"].shape == (2, 1, 16, 16)
        total = output["reconstruction"] + 1e-6 * output["kl"] + 0.5 * output["adversarial"]
        torch.testing.assert_close(output["loss"].detach(), total)
        assert not any(output[name].requires_grad for name in ("reconstruction", "kl", "adversarial", "discriminator"))
    # adversarial_start is 1: the first iteration is without, the second with
    assert seen[0]["adversarial"] == seen[0]["discriminator"] == 0
    assert seen[1]["adversarial"] > 0
    assert seen[1]["discriminator"] > 0


def test_events_come_in_the_order_of_a_stock_iteration() -> None:
    training, order = build(1), []
    for event in IterationEvents:
        training.trainer.add_event_handler(event, lambda _, event=event: order.append(event.name))
    training.trainer.run()
    assert order[:4] == ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]


def test_the_discriminator_changes_nothing_before_its_start_and_something_after() -> None:
    start = 2 * BATCHES
    without = build(2, with_discriminator=False)
    present = build(2, adversarial_start=start)
    at_work = build(3, adversarial_start=start)
    plain = build(3, with_discriminator=False)
    untouched = {name: value.clone() for name, value in present.discriminator.state_dict().items()}
    for training in (without, present, at_work, plain):
        training.trainer.run()
    for name in ("network", "ema", "optimizer"):
        own, other = ({k: v for k, v in t.state().items() if k.startswith(name)} for t in (present, without))
        assert_equal(own, other)
    assert_equal(present.discriminator.state_dict(), untouched)
    assert not torch.equal(
        at_work.state()["network.encoder.blocks.0.conv.weight"], plain.state()["network.encoder.blocks.0.conv.weight"]
    )
    assert not torch.equal(
        at_work.discriminator.state_dict()["initial_conv.conv.weight"], untouched["initial_conv.conv.weight"]
    )


def test_a_weight_of_zero_leaves_the_discriminator_out() -> None:
    without = build(2, with_discriminator=False)
    zero = build(2, adversarial_start=0, adversarial_weight=0.0)
    seen = outputs_of(zero)
    without.trainer.run()
    assert all(output["discriminator"] == 0 for output in seen)
    assert_equal(dict(zero.network.state_dict()), dict(without.network.state_dict()))


def test_the_network_learns_to_reconstruct_and_the_discriminator_to_tell() -> None:
    torch.manual_seed(0)
    training = build(30, with_discriminator=False)
    seen = outputs_of(training)
    assert seen[-1]["reconstruction"] < 0.4 * seen[0]["reconstruction"]
    # of a network that does not learn any more the discriminator finds the results
    frozen = Linear()
    frozen.gain.data.fill_(0.2)
    training = build(40, network=frozen, adversarial_start=0, adversarial_weight=1e-9)
    training.trainer.optimizer.param_groups[0]["lr"] = 0.0
    training.resumable["lr_scheduler"].base_lrs = [0.0]
    seen = outputs_of(training)
    assert seen[-1]["discriminator"] < 0.1 * seen[0]["discriminator"]


def test_the_network_is_told_to_please_the_discriminator_alone() -> None:
    """The adversarial part moves the network, and its pass leaves the discriminator without gradients."""
    discriminator = MeanLogit()
    loss = AutoencoderLoss("l2", kl_weight=0.0, adversarial_weight=1.0)
    update = AutoencoderUpdate(loss, discriminator, torch.optim.SGD(discriminator.parameters(), lr=0.0))
    network = Linear()
    engine = build(network=network).trainer
    engine.optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    engine.state.iteration = 1
    update(engine, {"image": torch.full((1, 1, 2, 2), 2.0)})
    # (2 gain - 2)^2 + (4 gain - 1)^2 at 0.5: 2 * 2 * (-1) + 2 * 4 * 1 = 4, which is clipped to a norm of 1
    assert engine.state.gradient_norm.item() == pytest.approx(4.0)
    assert network.gain.item() == pytest.approx(0.5 - 0.1, abs=1e-5)
    # and of the discriminator only its own loss: 0.5 ((4 - 1)^2 + 2^2), 0.5 (2 * 3 * 2 + 2 * 2 * 1)
    assert discriminator.weight.grad.item() == pytest.approx(8.0)
    assert all(weight.requires_grad for weight in discriminator.parameters())


def test_the_gradient_of_the_discriminator_is_bounded() -> None:
    moved = []
    for limit in (None, 0.5):
        discriminator = MeanLogit()
        optimizer = torch.optim.SGD(discriminator.parameters(), lr=1.0)
        update = AutoencoderUpdate(AutoencoderLoss(), discriminator, optimizer, max_grad_norm=limit)
        engine = build(network=Linear()).trainer
        engine.state.iteration = 1
        update(engine, {"image": torch.full((1, 1, 2, 2), 1.0)})
        moved.append(math.hypot(discriminator.weight.item() - 2, discriminator.bias.item()))
    assert moved == pytest.approx([2.5, 0.5], rel=1e-4)


def test_input_and_target_may_differ() -> None:
    seen = outputs_of(build(1, prepare_batch=RegressionPrepareBatch(), with_discriminator=False))
    items = disc_images()
    for output in seen:
        for x, y in zip(output["image"], output["label"], strict=True):
            assert any(torch.equal(x, item["label"]) and torch.equal(y, item["image"]) for item in items)
        expected = (output["pred"] - output["label"]).abs().mean()
        torch.testing.assert_close(output["reconstruction"], expected.detach())


def test_volumes_and_half_precision() -> None:
    images = disc_images(2, (8, 8, 8))
    training = build(
        1,
        images=images,
        network=tiny_autoencoder(spatial_dims=3),
        discriminator=PatchDiscriminator(3, channels=4, in_channels=1, num_layers_d=1, norm="INSTANCE"),
        adversarial_start=0,
        amp_dtype="bfloat16",
    )
    (output,) = outputs_of(training)
    assert output["pred"].shape == (2, 1, 8, 8, 8)
    assert {output[name].dtype for name in ("pred", "loss", "kl", "discriminator")} == {torch.float32}
    assert output["pred"].equal(output["pred"].bfloat16().float()), "the network computed in half precision"


def test_killed_in_an_epoch_and_continued_equals_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    expected = build(4, tmp_path / "whole")
    expected.trainer.run()
    stopped = build(4, tmp_path / "parts")

    def stop(engine) -> None:
        raise KeyboardInterrupt

    stopped.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2 * BATCHES + 1), stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.trainer.run()
    resumed = build(4, tmp_path / "parts")
    iterations: list[int] = []
    resumed.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: iterations.append(engine.state.iteration)
    )
    resumed.trainer.run()
    assert iterations == list(range(2 * BATCHES + 1, 4 * BATCHES + 1))
    names = {name.split(".")[0] for name in expected.state()}
    assert names == {"network", "ema", "optimizer", "lr_scheduler", "discriminator", "discriminator_optimizer"}
    assert_equal(resumed.state(), expected.state())


@pytest.mark.slow
def test_a_killed_process_and_its_successor_end_as_one_that_was_left_alone(tmp_path: Path) -> None:
    def run(kill_in_iteration: int = 0) -> int | None:
        arguments = (str(tmp_path / "killed"), 3, kill_in_iteration)
        process = multiprocessing.get_context("spawn").Process(target=run_in_process, args=arguments)
        process.start()
        process.join()
        return process.exitcode

    assert run(kill_in_iteration=BATCHES + 2) == -signal.SIGKILL
    assert run() == 0
    contents = []
    for name in ("whole", "killed"):  # the latter has nothing left to do
        training = build(3, tmp_path / name)
        training.trainer.run()
        contents.append(training.state())
    assert_equal(contents[1], contents[0])


@pytest.mark.parametrize("spoiled", ["network", "discriminator"])
def test_a_loss_that_is_no_number_stops_before_either_network_is_touched(spoiled: str) -> None:
    training = build(2, adversarial_start=1)
    poison = {"network": training.network, "discriminator": training.discriminator}[spoiled]

    def spoil() -> None:
        next(poison.parameters()).data.fill_(math.nan)

    training.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), spoil)
    before: list[dict[str, torch.Tensor]] = []
    training.trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda: before.append(training.state()))
    with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 1, iteration 2"):
        training.trainer.run()
    for name, value in training.state().items():
        assert torch.equal(value.nan_to_num(7.0), before[-1][name].nan_to_num(7.0)), name


def test_a_discriminator_that_diverges_on_its_own_is_named() -> None:
    class Overflowing(MeanLogit):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1.0 if len(x) == 2 else 1e30)  # real and fake together are four

    training = build(1, adversarial_start=0, discriminator=Overflowing())
    with pytest.raises(FloatingPointError, match="the discriminator loss is inf in epoch 1, iteration 1"):
        training.trainer.run()


def test_posterior_noise_follows_the_seed_of_the_iteration() -> None:
    torch.manual_seed(1)
    first = outputs_of(build(1, with_discriminator=False))
    torch.manual_seed(2)
    second = outputs_of(build(1, with_discriminator=False))
    assert torch.equal(first[-1]["pred"], second[-1]["pred"])
    network = build(1).network
    mean, std = network.encode(disc_images()[0]["image"][None])
    assert kl_divergence(mean, std) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"discriminator": MeanLogit()}, "a discriminator needs an optimizer of its own"),
        ({"adversarial_start": -1}, "at least 0, not -1"),
        ({"max_grad_norm": 0.0}, "must be positive, not 0.0"),
        ({"amp_dtype": "int8"}, "amp_dtype"),
    ],
)
def test_bad_options_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        AutoencoderUpdate(AutoencoderLoss(), **arguments)


def test_a_trainer_that_accumulates_gradients_is_refused() -> None:
    training = build(1, trainer_options={"accumulation_steps": 2})
    with pytest.raises(ValueError, match="leave accumulation_steps at 1"):
        training.trainer.run()


def test_sides_that_the_network_cannot_halve_are_explained() -> None:
    training = build(1, images=disc_images(2, (15, 16)), with_discriminator=False)
    with pytest.raises(ValueError, match=r"gives \(2, 1, 14, 16\) for a target of \(2, 1, 15, 16\).*multiples"):
        training.trainer.run()

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import overhead, throughput
from benchmarks.loops import BareLoop, Batch, InMemoryLoader, interleaved, median_ratio, random_batches, stock_trainer
from monai_segdiff.diffusion import EDM, mix_seed
from monai_segdiff.networks import MaskConcatUNet

CPU = torch.device("cpu")


def network() -> MaskConcatUNet:
    torch.manual_seed(0)
    return MaskConcatUNet(
        2, 1, 1, 4, channels=[8, 8], attention_levels=[False, False], num_res_blocks=1, norm_num_groups=4
    )


def test_both_loops_take_the_same_step() -> None:
    parameterization, loader = EDM(), InMemoryLoader(random_batches(1, 2, 4, (8, 8), CPU))
    stock_network, bare_network = network(), network()
    before = [parameter.clone() for parameter in bare_network.parameters()]

    def loss(batch: Batch) -> torch.Tensor:
        torch.manual_seed(mix_seed(0, 0, 1))  # as the stock trainer's handler does: seed, rank, iteration
        level = parameterization.draw_levels(2)
        x, timesteps, target = parameterization.training_pair(batch["image"], torch.randn_like(batch["image"]), level)
        return torch.nn.functional.mse_loss(bare_network(x, timesteps, condition=batch["label"]), target)

    bare = BareLoop(bare_network, loss, loader)
    for group in bare.optimizer.param_groups:
        group["lr"] /= 500  # the first step of the other side's warm-up
    trainer = stock_trainer(stock_network, stock_network, parameterization, loader, CPU)
    bare.run()
    trainer.run()
    assert any(not torch.equal(a, b) for a, b in zip(before, bare_network.parameters(), strict=True))
    for stock, own in zip(stock_network.parameters(), bare_network.parameters(), strict=True):
        torch.testing.assert_close(stock, own, rtol=0, atol=1e-9)


def test_runs_alternate_and_medians_are_compared() -> None:
    calls: list[str] = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, CPU)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert [len(values) for values in times.values()] == [3, 3]
    assert median_ratio({"a": [3.0, 1.0, 2.0], "b": [1.0, 9.0, 1.0]}, "a", "b") == (2.0, 1.0, 2.0)


def test_overhead_from_the_command_line(tmp_path: Path) -> None:
    arguments = "--channels 8 16 --size 16 --batch-size 2 --steps 2 --iterations 2 --runs 2 --device cpu --output"
    overhead.main([*arguments.split(), str(tmp_path / "overhead")])
    page = (tmp_path / "overhead.md").read_text()
    assert "| SamplingInferer, dpmpp_2m, 2 steps, batch 2 of 16x16 |" in page
    assert "| stock trainer, 2 iterations, batch 2 of 16x16 |" in page


def test_throughput_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tmp_path / "tiny.yaml"
    overlay.write_text(
        "{image_size: [16, 16], channels: [8, 16], num_res_blocks: 1, attention_levels: [false, true], "
        "num_head_channels: 8, norm_num_groups: 8, batch_size: 2}"
    )
    arguments = f"--config {overlay} --steps 2 --iterations 2 --runs 1 --modes eager --amp-dtype float32 --device cpu "
    arguments += f"--peak-tflops 1 --output {tmp_path / 'throughput'}"
    throughput.main(arguments.split())
    capsys.readouterr()
    throughput.main(arguments.split())
    assert capsys.readouterr().err.count("measured before") == 4


def test_operations_are_those_of_the_network() -> None:
    size, channels, batch_size = 8, 32, 2
    options = {
        "image_size": [size, size],
        "channels": [channels],
        "attention_levels": [False],
        "num_res_blocks": 1,
        "norm_num_groups": 8,
        "batch_size": batch_size,
        "num_head_channels": 8,
    }
    setting = throughput.Setting("cpu_demo.yaml", options, CPU, seed=0)
    counts = throughput.count_operations(setting, None)
    # two operations for each weight of a convolution at each pixel, and the attention of the middle block
    convolutions = [module for module in setting.network(False).modules() if isinstance(module, torch.nn.Conv2d)]
    expected = 2 * sum(module.weight.numel() for module in convolutions) * size**2 * batch_size
    expected += 2 * 2 * size**4 * channels * batch_size
    assert counts["sampling"] == pytest.approx(expected, rel=0.1)
    # a backward pass is twice the forward pass, less the gradient of the network's input
    assert 2.6 * counts["sampling"] < counts["training"] <= 3 * counts["sampling"]

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from monai_segdiff.diffusion import SampleNoise, mix_seed

LIKE = torch.zeros(())


def test_noise_of_a_sample_does_not_depend_on_its_batch():
    together = SampleNoise(3, [4, 0, 9])
    others = {index: SampleNoise(3, [index]) for index in (0, 4, 9)}
    for _ in range(3):
        batch = together((3, 2, 5, 7), LIKE)
        for row, index in zip(batch, (4, 0, 9), strict=True):
            assert torch.equal(row, others[index]((1, 2, 5, 7), LIKE)[0])


def test_successive_draws_go_on():
    noise = SampleNoise(0, [0])
    assert not torch.equal(noise((1, 64), LIKE), noise((1, 64), LIKE))


def test_noise_is_standard_normal_and_uncorrelated_between_neighbors():
    draws = SampleNoise(0, range(2000))((2000, 100), LIKE)
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1) < 0.01
    correlation = (draws[:-1] * draws[1:]).mean(1)
    assert abs(correlation.mean()) < 0.01
    assert abs(correlation.std() * 100**0.5 - 1) < 0.05


def test_no_two_of_many_samples_share_their_noise():
    # A 32-bit hash of each index would repeat itself once in this many on average.
    draws = SampleNoise(11, range(100_000))((100_000, 4), LIKE)
    assert len(torch.unique(draws, dim=0)) == 100_000


def test_seeds_give_different_noise():
    assert not torch.equal(SampleNoise(0, [1])((1, 8), LIKE), SampleNoise(1, [1])((1, 8), LIKE))


def test_precision_changes_the_format_but_not_the_noise():
    single = SampleNoise(0, [1, 2])((2, 8), LIKE)
    double = SampleNoise(0, torch.tensor([1, 2]))((2, 8), LIKE.double())
    half = SampleNoise(0, [1, 2])((2, 8), LIKE.bfloat16())
    assert (single.dtype, double.dtype, half.dtype) == (torch.float32, torch.float64, torch.bfloat16)
    assert torch.equal(single.double(), double)
    assert torch.equal(single.bfloat16(), half)


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    SampleNoise(0, [0, 1])((2, 8), LIKE)
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_batch_size_is_refused():
    with pytest.raises(ValueError, match="2 sample indices"):
        SampleNoise(0, [0, 1])((3, 8), LIKE)


def test_mix_seed_is_the_same_in_another_process():
    code = "from monai_segdiff.diffusion import mix_seed; print(mix_seed(1, -2, 3))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(answer) == mix_seed(1, -2, 3)


def test_mix_seed_separates_its_arguments():
    seeds = {mix_seed(a, b) for a in range(100) for b in range(100)}
    assert len(seeds) == 10_000
    assert mix_seed(1, 23) != mix_seed(12, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix_seed(2**80) != mix_seed(2**81)

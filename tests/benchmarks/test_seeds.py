from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.seeds import Criterion, beats, difference, over_seeds, ranking

FAILED, DICE = Criterion("failed", False), Criterion("dice", True)


def test_the_interval_over_seeds_is_students() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.3027
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert over_seeds([1.0, None]).low is None
    assert over_seeds([None]).value is None


def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    holds = []
    for _ in range(200):
        found = difference(rng.normal(1.0, 1.0, 3).tolist(), rng.normal(0.0, 3.0, 3).tolist())
        assert found.low is not None
        assert found.high is not None
        holds.append(found.low <= 1.0 <= found.high)
    assert stats.binomtest(sum(holds), 200).proportion_ci(0.99).high > 0.95


def test_a_difference_of_constant_figures_is_certain() -> None:
    assert (difference([0.0, 0.0], [0.0, 0.0]).low, difference([0.5, 0.5], [0.0, 0.0]).high) == (0.0, 0.5)


def test_the_first_criterion_that_tells_two_apart_decides() -> None:
    sound = {"failed": [0.0, 0.0, 0.01], "dice": [0.80, 0.81, 0.82]}
    broken = {"failed": [0.5, 0.52, 0.55], "dice": [0.90, 0.91, 0.92]}
    close = {"failed": [0.0, 0.01, 0.0], "dice": [0.90, 0.91, 0.92]}
    assert beats(sound, broken, [FAILED, DICE])
    assert not beats(broken, sound, [FAILED, DICE])
    assert beats(close, sound, [FAILED, DICE]), "failed samples are a tie, Dice decides"
    assert not beats(close, close, [FAILED, DICE])
    assert ranking({"sound": sound, "broken": broken, "close": close}, [FAILED, DICE]) == {
        "sound": ["close"],
        "broken": ["sound", "close"],
        "close": [],
    }


def test_one_training_each_decides_nothing() -> None:
    assert not beats({"dice": [0.9]}, {"dice": [0.1]}, [DICE])
    assert not beats({"dice": [0.9, 0.9]}, {"dice": [None, None]}, [DICE])

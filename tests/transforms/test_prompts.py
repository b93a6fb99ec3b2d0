"""Dropped prompts: how often, what stays, and MONAI's conventions."""

from __future__ import annotations

import pytest
import torch
from monai.data import set_track_meta
from monai.transforms import Compose

from monai_segdiff.transforms import RandDropPrompt, RandDropPromptD, RandDropPromptd, RandDropPromptDict

PROMPT = torch.tensor([2.0, 4.0, 0.0])


def test_the_share_dropped_is_the_one_asked_for_and_the_rest_is_untouched() -> None:
    drop = RandDropPrompt(prob=0.1).set_random_state(0)
    results = [drop(PROMPT) for _ in range(4000)]
    dropped = [bool((r == 0).all()) for r in results]
    # Four standard deviations of a binomial share.
    assert sum(dropped) / 4000 == pytest.approx(0.1, abs=0.02)
    assert all(torch.equal(r, PROMPT) for r, gone in zip(results, dropped, strict=True) if not gone)
    assert PROMPT.tolist() == [2, 4, 0]


@pytest.mark.parametrize(("prob", "expected"), [(0.0, [2, 4, 0]), (1.0, [0, 0, 0])])
def test_never_and_always(prob: float, expected: list[int]) -> None:
    assert RandDropPrompt(prob)(PROMPT).tolist() == expected


def test_the_null_token_and_dtype_of_a_text_encoder_are_kept() -> None:
    tokens = torch.tensor([[101, 7, 102], [101, 9, 102]])
    result = RandDropPrompt(prob=1.0, null=103)(tokens)
    assert result.dtype == torch.int64
    assert result.tolist() == [[103] * 3] * 2


def test_a_seed_repeats_the_draws() -> None:
    def draws(seed: int) -> list[bool]:
        drop = RandDropPrompt(prob=0.5).set_random_state(seed)
        return [bool((drop(PROMPT) == 0).all()) for _ in range(40)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_dictionary_form_draws_once_for_all_keys() -> None:
    assert RandDropPromptD is RandDropPromptd
    assert RandDropPromptDict is RandDropPromptd
    drop = RandDropPromptd(["a", "b"], prob=0.5).set_random_state(1)
    pairs = []
    for _ in range(50):
        result = drop({"a": PROMPT, "b": PROMPT + 1})
        pairs.append((bool((result["a"] == 0).all()), bool((result["b"] == 0).all())))
    assert set(pairs) == {(True, True), (False, False)}


def test_dictionary_form_is_seeded_through_compose_and_array_form_agrees() -> None:
    pipeline = Compose([RandDropPromptd("a", prob=0.5)])
    pipeline.set_random_state(5)
    first = [bool((pipeline({"a": PROMPT})["a"] == 0).all()) for _ in range(30)]
    pipeline.set_random_state(5)
    assert first == [bool((pipeline({"a": PROMPT})["a"] == 0).all()) for _ in range(30)]
    alone = RandDropPromptd("a", prob=0.5).set_random_state(6)
    array = RandDropPrompt(prob=0.5).set_random_state(6)
    for _ in range(20):
        assert torch.equal(alone({"a": PROMPT})["a"], array(PROMPT))


def test_missing_keys() -> None:
    with pytest.raises(KeyError):
        RandDropPromptd("a")({"b": PROMPT})
    data = {"b": PROMPT}
    assert RandDropPromptd("a", allow_missing_keys=True)(data) == data


def test_without_metadata_tracking_a_plain_tensor_comes_out() -> None:
    set_track_meta(False)
    try:
        assert type(RandDropPrompt(1.0)(PROMPT)) is torch.Tensor
    finally:
        set_track_meta(True)

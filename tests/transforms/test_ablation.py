"""Class ablation: the draws, the fill, and MONAI's conventions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose

from monai_segdiff.transforms import (
    RandClassAblation,
    RandClassAblationD,
    RandClassAblationd,
    RandClassAblationDict,
    ablate_classes,
)

CLASSES = {"breast": 1, "fgt": 2, "vessel": 3}
PARENTS = {"fgt": "breast", "vessel": "breast"}
SHAPES = [(1, 12, 10), (1, 6, 5, 4)]


def random_label(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def draws(transform: RandClassAblation, count: int) -> Counter[tuple[bool, ...]]:
    counted: Counter[tuple[bool, ...]] = Counter()
    for _ in range(count):
        transform.randomize()
        counted[tuple(transform.known.tolist())] += 1
    return counted


def assert_frequencies(counted: Counter[tuple[bool, ...]], expected: dict[tuple[bool, ...], float]) -> None:
    """Chi-squared test at p = 1e-4; a subset that must not occur must not occur."""
    scipy_stats = pytest.importorskip("scipy.stats")
    assert set(counted) <= {subset for subset, share in expected.items() if share > 0}
    total = sum(counted.values())
    subsets = [subset for subset, share in expected.items() if share > 0]
    test = scipy_stats.chisquare([counted[s] for s in subsets], [expected[s] * total for s in subsets])
    assert test.pvalue > 1e-4


def all_subsets(size: int) -> list[tuple[bool, ...]]:
    return [tuple(bool(code >> bit & 1) for bit in range(size)) for code in range(2**size)]


def test_default_draw_is_uniform_over_the_non_empty_subsets() -> None:
    counted = draws(RandClassAblation(CLASSES).set_random_state(1), 7000)
    assert_frequencies(counted, {s: (1 / 7 if any(s) else 0.0) for s in all_subsets(3)})


def test_full_and_null_shares_come_before_the_uniform_draw() -> None:
    counted = draws(RandClassAblation(CLASSES, full_prob=0.3, null_prob=0.1).set_random_state(2), 7000)
    expected = dict.fromkeys(all_subsets(3), 0.6 / 7)
    expected[(True, True, True)] += 0.3
    expected[(False, False, False)] = 0.1
    assert_frequencies(counted, expected)


def test_independent_draw_keeps_each_class_with_probability_one_half() -> None:
    counted = draws(RandClassAblation(CLASSES, independent=True).set_random_state(3), 8000)
    assert_frequencies(counted, dict.fromkeys(all_subsets(3), 1 / 8))


def test_prob_is_the_share_the_transform_is_applied_to() -> None:
    counted = draws(RandClassAblation(CLASSES, prob=0.4, null_prob=1.0).set_random_state(4), 4000)
    assert_frequencies(counted, {(False,) * 3: 0.4, (True,) * 3: 0.6})


def test_many_classes_are_drawn_without_enumerating_their_subsets() -> None:
    transform = RandClassAblation({f"class{i}": i + 1 for i in range(104)}).set_random_state(5)
    transform.randomize()
    kept = []
    for _ in range(500):
        transform.randomize()
        kept.append(transform.known.sum().item())
    # Binomial(104, 1/2) to within 2^-104: mean 52, std 5.1; the mean of 500 has std 0.23.
    assert abs(np.mean(kept) - 52) < 1.2
    assert abs(np.std(kept) - 5.1) < 0.8


def test_shares_that_add_up_to_more_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match="full_prob and null_prob"):
        RandClassAblation(CLASSES, full_prob=0.7, null_prob=0.4)
    with pytest.raises(ValueError, match="full_prob and null_prob"):
        RandClassAblation(CLASSES, null_prob=-0.1)
    with pytest.raises(ValueError, match="unknown fill"):
        RandClassAblation(CLASSES, fill="zero")


def test_draws_come_from_the_own_random_state_only() -> None:
    label = random_label((1, 8, 8))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = [RandClassAblation(CLASSES).set_random_state(7)(label) for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(first[0], first[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_of_removed_classes_take_their_parents_id(shape: tuple) -> None:
    label = random_label(shape)
    kept = ablate_classes(label, CLASSES, ["breast", "vessel"], PARENTS)
    assert torch.equal(kept, torch.where(label == 2, 1, label))
    assert torch.equal(ablate_classes(label, CLASSES, ["fgt"], PARENTS), torch.where(label == 2, 2, 0))
    assert torch.equal(ablate_classes(label, CLASSES, list(CLASSES), PARENTS), label)
    assert not ablate_classes(label, CLASSES, [], PARENTS).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_background_fill_leaves_the_hole(shape: tuple) -> None:
    label = random_label(shape)
    filled = ablate_classes(label, CLASSES, ["breast"], PARENTS, fill="background")
    assert torch.equal(filled, torch.where(label == 1, 1, 0))


def test_several_ids_of_a_removed_class_all_go_and_those_of_a_kept_class_stay() -> None:
    classes = {"body": [1, 2], "kidneys": [4, 5]}
    label = torch.tensor([[[1, 2, 4, 5, 0]]])
    assert ablate_classes(label, classes, ["body"], {"kidneys": "body"}).tolist() == [[[1, 2, 1, 1, 0]]]
    assert ablate_classes(label, classes, ["kidneys"]).tolist() == [[[0, 0, 4, 5, 0]]]


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_equals_the_function_on_what_it_drew(shape: tuple) -> None:
    transform = RandClassAblation(CLASSES, parents=PARENTS).set_random_state(0)
    label = random_label(shape)
    for _ in range(10):
        result = transform(label)
        keep = [name for name, known in zip(CLASSES, transform.known.tolist(), strict=True) if known]
        assert torch.equal(result, ablate_classes(label, CLASSES, keep, PARENTS))
        assert torch.equal(transform(label, randomize=False), result)


def test_prob_zero_keeps_everything() -> None:
    label = random_label((1, 8, 8))
    transform = RandClassAblation(CLASSES, prob=0.0, null_prob=1.0)
    assert torch.equal(transform(label), label)
    assert transform.known.tolist() == [True, True, True]


@pytest.mark.parametrize("as_numpy", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_input_is_not_changed_and_metadata_and_dtype_stay(shape: tuple, as_numpy: bool) -> None:
    label = random_label(shape)
    before = label.clone()
    given = label.numpy() if as_numpy else MetaTensor(label, affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    result = RandClassAblation(CLASSES, null_prob=1.0)(given)
    assert torch.equal(label, before)
    assert isinstance(result, MetaTensor)
    assert result.dtype == torch.uint8
    assert result.shape == shape
    if not as_numpy:
        assert torch.equal(result.affine, given.affine)


def test_without_metadata_tracking_a_plain_tensor_comes_out() -> None:
    given = MetaTensor(random_label((1, 8, 8)))
    set_track_meta(False)
    try:
        result = RandClassAblation(CLASSES)(given)
    finally:
        set_track_meta(True)
    assert type(result) is torch.Tensor


def test_dictionary_form_draws_once_for_all_keys() -> None:
    transform = RandClassAblationd(["label", "other"], CLASSES, parents=PARENTS, null_prob=0.1).set_random_state(3)
    data = {"label": random_label((1, 8, 8), 1), "other": random_label((1, 6, 6, 6), 2), "case": "a"}
    seen = set()
    for _ in range(20):
        result = transform(data)
        flags = result["label_known"]
        seen.add(tuple(flags.tolist()))
        assert flags.dtype == torch.bool
        assert flags.shape == (3,)
        assert torch.equal(flags, result["other_known"])
        keep = [name for name, known in zip(CLASSES, flags.tolist(), strict=True) if known]
        for key in ("label", "other"):
            assert torch.equal(result[key], ablate_classes(data[key], CLASSES, keep, PARENTS))
    assert len(seen) > 3
    assert set(data) == {"label", "other", "case"}


def test_dictionary_form_draws_as_the_array_form_does() -> None:
    label = random_label((1, 8, 8))
    options = {"prob": 0.7, "full_prob": 0.2, "null_prob": 0.2}
    array = RandClassAblation(CLASSES, **options).set_random_state(11)
    dictionary = RandClassAblationd("label", CLASSES, **options).set_random_state(11)
    for _ in range(10):
        assert torch.equal(dictionary({"label": label})["label"], array(label))


def test_known_flags_of_earlier_samples_stay() -> None:
    transform = RandClassAblationd("label", CLASSES).set_random_state(0)
    results = [transform({"label": random_label((1, 4, 4))})["label_known"] for _ in range(30)]
    assert len({tuple(flags.tolist()) for flags in results}) > 1


def test_missing_keys_raise_unless_allowed_and_cost_the_same_draws() -> None:
    with pytest.raises(KeyError):
        RandClassAblationd("label", CLASSES)({"image": 0})
    tolerant = RandClassAblationd("label", CLASSES, allow_missing_keys=True).set_random_state(5)
    strict = RandClassAblationd("label", CLASSES).set_random_state(5)
    label = random_label((1, 8, 8))
    assert tolerant({"image": 0}) == {"image": 0}
    strict({"label": label})
    assert torch.equal(tolerant({"label": label})["label_known"], strict({"label": label})["label_known"])


def test_aliases_and_seeding_through_compose() -> None:
    assert RandClassAblationD is RandClassAblationd
    assert RandClassAblationDict is RandClassAblationd
    label = random_label((1, 8, 8))

    def run() -> list[list[bool]]:
        chain = Compose([RandClassAblationd("label", CLASSES)]).set_random_state(9)
        return [chain({"label": label})["label_known"].tolist() for _ in range(8)]

    assert run() == run()

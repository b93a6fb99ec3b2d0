from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import Case, split_cases
from monai_segdiff.data.splits import split_by_image


def cases(patients: int, each: int) -> list[Case]:
    return [Case(f"p{p}_{i}", None, Path(f"p{p}_{i}"), f"p{p}") for p in range(patients) for i in range(each)]


def test_no_patient_is_in_two_splits_and_none_is_lost() -> None:
    given = cases(20, 7)
    splits, kind = split_cases(given, (0.7, 0.2, 0.1), seed=3)
    patients = {name: {case.patient for case in members} for name, members in splits.items()}
    assert {name: len(found) for name, found in patients.items()} == {"training": 14, "validation": 4, "test": 2}
    assert sum(map(len, patients.values())) == len(set.union(*patients.values())) == 20
    assert sorted(c.id for members in splits.values() for c in members) == sorted(c.id for c in given)
    assert kind == "by patient"


def test_the_seed_decides_and_the_order_of_cases_does_not() -> None:
    given = cases(20, 2)

    def held_out(order: list[Case], seed: int) -> set[str]:
        return {case.patient for case in split_cases(order, seed=seed)[0]["test"]}

    assert held_out(given, 1) == held_out(given[::-1], 1)
    assert len({frozenset(held_out(given, seed)) for seed in range(10)}) > 1


def test_two_patients_leave_one_to_train_on() -> None:
    splits, _ = split_cases(cases(2, 3))
    assert {name: len(members) for name, members in splits.items()} == {"training": 3, "validation": 3}


def test_one_patient_is_refused_unless_allowed() -> None:
    with pytest.raises(ValueError, match=r"one patient only \('p0'\).*--within-patient"):
        split_cases(cases(1, 50))


def test_within_one_patient_contiguous_blocks_with_gaps_are_held_out() -> None:
    given = cases(1, 100)
    for seed in range(20):
        splits, kind = split_cases(given, (0.8, 0.1, 0.1), seed=seed, within_patient=True, gap=3)
        assert kind == "within one patient"
        where = {name: [given.index(case) for case in members] for name, members in splits.items()}
        for name in ("validation", "test"):
            assert where[name] == list(range(where[name][0], where[name][0] + 10))
        assert where["test"][0] - where["validation"][-1] == 4
        distance = min(abs(t - h) for t in where["training"] for h in where["validation"] + where["test"])
        assert distance == 4
        assert min(where["training"]) < where["validation"][0]
        assert max(where["training"]) > where["test"][-1]


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_cases(cases(3, 1), (0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match="no cases"):
        split_cases([])
    with pytest.raises(ValueError, match="too few"):
        split_cases(cases(1, 5), within_patient=True)


def test_all_for_training() -> None:
    splits, _ = split_cases(cases(1, 5), (1.0, 0.0, 0.0))
    assert {name: len(members) for name, members in splits.items()} == {"training": 5}


def test_by_image_the_published_shares_hold_whoever_the_images_are_of() -> None:
    given = cases(55, 60)
    splits, kind = split_by_image(given, (9 / 11, 1 / 11, 1 / 11), seed=1)
    assert kind == "by image"
    assert {name: len(members) for name, members in splits.items()} == {
        "training": 2700,
        "validation": 300,
        "test": 300,
    }
    assert sorted(c.id for members in splits.values() for c in members) == sorted(c.id for c in given)
    shared = {c.patient for c in splits["training"]} & {c.patient for c in splits["test"]}
    assert len(shared) == len({c.patient for c in splits["test"]})
    assert splits == split_by_image(given, (9 / 11, 1 / 11, 1 / 11), seed=1)[0]
    assert splits != split_by_image(given, (9 / 11, 1 / 11, 1 / 11), seed=2)[0]
    assert list(split_by_image(given, (1, 0, 0))[0]) == ["training"]
    with pytest.raises(ValueError, match="sum to 1"):
        split_by_image(given, (0.5, 0.1, 0.1))

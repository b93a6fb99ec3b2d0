"""Findings as token ids: unknown is not empty, order does not matter, wrong names are named."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader

from monai_segdiff.transforms import EncodeFindings, EncodeFindingsD, EncodeFindingsd, EncodeFindingsDict

VOCABULARY = ("opacity", "mass", "effusion")


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (None, [0, 0, 0]),
        ([], [1, 0, 0]),
        ((), [1, 0, 0]),
        ("mass", [3, 0, 0]),
        (["effusion", "opacity"], [2, 4, 0]),
        (["mass", "mass"], [3, 0, 0]),
        (VOCABULARY, [2, 3, 4]),
    ],
)
def test_known_names_have_known_ids(names: object, ids: list[int]) -> None:
    encoded = EncodeFindings(VOCABULARY)(names)
    assert encoded.tolist() == ids
    assert encoded.dtype == torch.float32
    assert type(encoded) is torch.Tensor


def test_the_length_is_the_vocabularys_or_the_one_given() -> None:
    assert EncodeFindings(VOCABULARY).length == 3
    short = EncodeFindings(VOCABULARY, max_findings=1)
    assert short("effusion").tolist() == [4]
    assert EncodeFindings(VOCABULARY, 5)(["mass"]).tolist() == [3, 0, 0, 0, 0]
    assert EncodeFindings([]).length == 1
    assert EncodeFindings([])([]).tolist() == [1]
    with pytest.raises(ValueError, match=r"2 findings .* more than max_findings=1; the findings are opacity, mass"):
        short(["opacity", "mass"])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        EncodeFindings(VOCABULARY, 0)


def test_null_says_nothing_and_empty_says_that_nothing_is_found() -> None:
    encoder = EncodeFindings(VOCABULARY)
    assert torch.equal(encoder.null_condition, encoder(None))
    assert torch.equal(encoder.empty_condition, encoder([]))
    assert not torch.equal(encoder.null_condition, encoder.empty_condition)
    encoder.null_condition.fill_(7)
    assert encoder(None).tolist() == [0, 0, 0], "what is handed out is no part of the encoder"


def test_an_unknown_finding_is_named_beside_the_vocabulary() -> None:
    with pytest.raises(ValueError, match="unknown finding 'nodule': the findings are opacity, mass, effusion"):
        EncodeFindings(VOCABULARY)(["mass", "nodule"])
    with pytest.raises(ValueError, match="unknown finding 'Mass'"):
        EncodeFindings(VOCABULARY)("Mass")


def test_a_vocabulary_lists_each_name_once() -> None:
    with pytest.raises(ValueError, match="lists mass"):
        EncodeFindings(["mass", "opacity", "mass"])
    with pytest.raises(ValueError, match="an empty name"):
        EncodeFindings(["mass", ""])
    with pytest.raises(ValueError, match="single string 'mass'"):
        EncodeFindings("mass")


def test_dictionary_form_writes_null_where_a_data_set_does_not_tell() -> None:
    assert EncodeFindingsD is EncodeFindingsd
    assert EncodeFindingsDict is EncodeFindingsd
    encode = EncodeFindingsd("findings", VOCABULARY)
    data = {"case": "a", "findings": ["mass"]}
    assert encode(data)["findings"].tolist() == [3, 0, 0]
    assert data["findings"] == ["mass"]
    assert encode({"case": "b"})["findings"].tolist() == [0, 0, 0]


def test_cases_with_several_one_and_no_findings_make_one_batch() -> None:
    items = [{"findings": ["mass", "opacity"]}, {"findings": []}, {}]
    encoded = [EncodeFindingsd("findings", VOCABULARY)(item) for item in items]
    batch = next(iter(DataLoader(encoded, batch_size=3)))
    assert batch["findings"].tolist() == [[2, 3, 0], [1, 0, 0], [0, 0, 0]]

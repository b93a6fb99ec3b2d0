"""Mask encoding: known code words, known flags, no trace of what was removed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose

from monai_segdiff.transforms import (
    EncodeMask,
    EncodeMaskD,
    EncodeMaskd,
    EncodeMaskDict,
    RandClassAblation,
    RandClassAblationd,
    ablate_classes,
)

CLASSES = {"body": 2, "liver": [3, 9], "tumor": 4, "spleen": 1}
PARENTS = {"liver": "body", "tumor": "liver", "spleen": "body"}
VALUES = {"body": 0.25, "liver": 0.5, "tumor": 1.0, "spleen": 0.75}
SHAPES = [(1, 12, 10), (1, 6, 5, 4)]
MODES = ["one_hot", "bits", "ordinal", "values"]


def encoder(mode: str) -> EncodeMask:
    return EncodeMask(CLASSES, mode, VALUES if mode == "values" else None)


def random_label(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    ids = torch.tensor([0, 2, 3, 9, 4, 1], dtype=torch.uint8)
    return ids[torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(seed))]


def flags_of(keep: tuple[str, ...]) -> list[bool]:
    return [name in keep for name in CLASSES]


PIXELS = torch.tensor([[[0, 2, 3, 9, 4, 1]]])


def test_one_hot_channels_then_known_channels() -> None:
    encoded = EncodeMask(CLASSES)(PIXELS, [True] * 4)[:, 0]
    expected = [
        [-1, 1, -1, -1, -1, -1],
        [-1, -1, 1, 1, -1, -1],
        [-1, -1, -1, -1, 1, -1],
        [-1, -1, -1, -1, -1, 1],
        *[[1] * 6] * 4,
    ]
    assert encoded.tolist() == expected


def test_known_flags_are_constant_channels() -> None:
    label = torch.tensor([[[0, 2], [2, 0]]])
    encoded = EncodeMask(CLASSES)(label, torch.tensor([True, False, False, True]))
    assert encoded[4:].tolist() == [[[v, v], [v, v]] for v in (1.0, -1.0, -1.0, 1.0)]


@pytest.mark.parametrize("mode", ["one_hot", "bits"])
def test_known_channels_may_be_left_out(mode: str) -> None:
    label = random_label(SHAPES[0])
    plain = EncodeMask(CLASSES, mode, known_flags=False)
    assert plain.out_channels == encoder(mode).out_channels - len(CLASSES)
    assert torch.equal(plain(label), encoder(mode)(label)[: plain.out_channels])
    removed = ablate_classes(label, CLASSES, ["body"], PARENTS)
    # An ablated class looks like one that is not there.
    assert torch.equal(plain(removed, flags_of(("body",))), plain(removed))
    assert torch.equal(plain.null_condition((12, 10)), plain(torch.zeros_like(label)))
    with pytest.raises(ValueError, match="without known channels"):
        plain.drop(plain(label)[None], ["liver"])
    out = EncodeMaskd("label", CLASSES, mode, known_flags=False)({"label": label})["label"]
    assert torch.equal(out, plain(label))


def test_bits_are_the_class_index_lowest_bit_first() -> None:
    bits = encoder("bits")
    assert bits.out_channels == 3 + 4
    words = (bits(PIXELS)[:3, 0] > 0).long()
    assert (words * torch.tensor([[1], [2], [4]])).sum(0).tolist() == [0, 1, 2, 2, 3, 4]


def test_bits_need_few_channels_for_many_classes() -> None:
    many = {f"class{i}": i for i in range(1, 105)}
    assert EncodeMask(many, "bits").out_channels == 7 + 104
    assert EncodeMask({f"class{i}": i for i in range(1, 4)}, "bits").out_channels == 2 + 3
    assert EncodeMask({f"class{i}": i for i in range(1, 5)}, "bits").out_channels == 3 + 4


def test_ordinal_is_the_id_over_255_the_first_id_for_a_class_of_several() -> None:
    expected = torch.tensor([0, 2, 3, 3, 4, 1]) / 255
    assert torch.equal(encoder("ordinal")(PIXELS)[0, 0], expected)


def test_values_are_the_chosen_intensities() -> None:
    assert encoder("values")(PIXELS)[0, 0].tolist() == [0.0, 0.25, 0.5, 0.5, 1.0, 0.75]
    shifted = EncodeMask(CLASSES, "values", {**VALUES, "background": -1})
    assert shifted(PIXELS)[0, 0, 0] == -1.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_out_channels_shape_dtype_and_metadata(mode: str, shape: tuple) -> None:
    label = MetaTensor(random_label(shape), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    before = label.clone()
    encoded = encoder(mode)(label)
    assert encoded.shape == (encoder(mode).out_channels, *shape[1:])
    assert encoded.dtype == torch.float32
    assert isinstance(encoded, MetaTensor)
    assert torch.equal(encoded.affine, label.affine)
    assert torch.equal(label, before)


@pytest.mark.parametrize("mode", MODES)
def test_missing_known_flags_mean_all_known(mode: str) -> None:
    label = random_label((1, 8, 8))
    assert torch.equal(encoder(mode)(label), encoder(mode)(label, np.ones(4, dtype=bool)))


@pytest.mark.parametrize(
    ("mode", "values", "message"),
    [
        ("hot", None, "unknown mode"),
        ("values", None, "needs it"),
        ("one_hot", VALUES, "values belongs to"),
        ("values", {"body": 1.0}, "must name each of body, liver, tumor, spleen, got body"),
        ("values", {**VALUES, "lung": 1.0}, "must name each"),
        ("values", {**VALUES, "body": float("nan")}, "finite"),
    ],
)
def test_bad_modes_and_values_are_refused(mode: str, values: dict | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncodeMask(CLASSES, mode, values)


def test_ordinal_refuses_ids_beyond_255() -> None:
    with pytest.raises(ValueError, match="at most 255"):
        EncodeMask({"organ": 256}, "ordinal")


def test_known_flags_must_fit_the_classes_and_the_label_map() -> None:
    label = MetaTensor(torch.tensor([[[4, 0]]]), meta={"filename_or_obj": "case.nii.gz"})
    with pytest.raises(ValueError, match="one flag for each of the 4 classes"):
        EncodeMask(CLASSES)(label, [True, True])
    with pytest.raises(ValueError, match=r"tumor: marked as not known but present in the label map of case.nii.gz"):
        EncodeMask(CLASSES)(label, [True, True, False, True])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_null_condition_is_the_encoding_of_a_map_with_every_class_removed(mode: str, shape: tuple) -> None:
    transform = RandClassAblation(CLASSES, null_prob=1.0)
    label = transform(random_label(shape))
    expected = encoder(mode)(label, transform.known)
    assert torch.equal(encoder(mode).null_condition(shape[1:]), torch.as_tensor(expected))


def nested_label(shape: tuple[int, ...], keep: tuple[str, ...], generator: torch.Generator) -> torch.Tensor:
    """A label map that shows `keep`; all others are drawn, with random shapes, inside what encloses them."""
    shown = torch.zeros(shape, dtype=torch.uint8)
    fixed = torch.Generator().manual_seed(len(keep))
    for name in CLASSES:
        if name in keep:
            shown[torch.rand(shape, generator=fixed) < 0.5] = np.atleast_1d(CLASSES[name])[0]
    painted = shown.clone()
    for name, ids in CLASSES.items():
        if name not in keep:
            around = PARENTS.get(name)
            while around is not None and around not in keep:
                around = PARENTS.get(around)
            home = 0 if around is None else int(np.atleast_1d(CLASSES[around])[0])
            inside = (shown == home) & (torch.rand(shape, generator=generator) < 0.5)
            painted[inside] = int(np.atleast_1d(ids)[-1])
    return painted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_depends_on_the_shape_of_a_removed_class(mode: str, shape: tuple) -> None:
    generator = torch.Generator().manual_seed(0)
    for size in range(len(CLASSES)):
        for keep in itertools.combinations(CLASSES, size):
            one, two = (nested_label(shape, keep, generator) for _ in range(2))
            assert not torch.equal(one, two)
            first, second = (
                encoder(mode)(ablate_classes(label, CLASSES, keep, PARENTS), flags_of(keep)) for label in (one, two)
            )
            assert torch.equal(first, second)


def test_background_fill_does_depend_on_the_shape_of_a_removed_class() -> None:
    generator = torch.Generator().manual_seed(0)
    keep = ("body",)
    one, two = (nested_label((1, 12, 10), keep, generator) for _ in range(2))
    first, second = (
        EncodeMask(CLASSES)(ablate_classes(label, CLASSES, keep, PARENTS, fill="background"), flags_of(keep))
        for label in (one, two)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("parents", [None, PARENTS])
@pytest.mark.parametrize("mode", ["one_hot", "bits"])
@pytest.mark.parametrize("shape", SHAPES)
def test_drop_equals_encoding_the_further_ablated_label_map(mode: str, shape: tuple, parents: dict | None) -> None:
    """Samples of one batch know different classes, and classes are dropped on top of that."""
    encode = encoder(mode)
    subsets = [k for size in range(len(CLASSES) + 1) for k in itertools.combinations(CLASSES, size)]
    labels = [random_label(shape, seed) for seed in range(len(subsets))]

    def batch(kept: list[tuple[str, ...]]) -> torch.Tensor:
        return torch.stack(
            [
                torch.as_tensor(encode(ablate_classes(label, CLASSES, keep, parents), flags_of(keep)))
                for label, keep in zip(labels, kept, strict=True)
            ]
        )

    condition = batch(subsets)
    before = condition.clone()
    for names in (("liver",), ("body", "tumor"), (), tuple(CLASSES)):
        kept = [tuple(name for name in keep if name not in names) for keep in subsets]
        assert torch.equal(encode.drop(condition, names, parents), batch(kept))
    assert torch.equal(condition, before)


def test_dropping_all_classes_gives_the_null_condition_and_keeps_the_dtype() -> None:
    encode = EncodeMask(CLASSES)
    condition = torch.as_tensor(encode(random_label((1, 8, 8))))[None].to(torch.bfloat16)
    dropped = encode.drop(condition, list(CLASSES))
    assert dropped.dtype == torch.bfloat16
    assert torch.equal(dropped[0].float(), encode.null_condition((8, 8)))


def test_drop_refuses_what_it_cannot_read() -> None:
    label = random_label((1, 8, 8))
    with pytest.raises(ValueError, match="ordinal"):
        encoder("ordinal").drop(encoder("ordinal")(label)[None], ["liver"])
    encode = EncodeMask(CLASSES)
    condition = torch.as_tensor(encode(label))[None]
    with pytest.raises(ValueError, match="unknown class lung"):
        encode.drop(condition, ["lung"])
    with pytest.raises(ValueError, match=r"shape \(B, 8, \*spatial\)"):
        encode.drop(condition[:, :7], ["liver"])
    with pytest.raises(ValueError, match="no mask encoded as 'one_hot'"):
        encode.drop(condition * 0.5, ["liver"])


def test_dictionary_form_reads_the_known_flags_of_its_own_key() -> None:
    chain = Compose(
        [RandClassAblationd("label", CLASSES, parents=PARENTS), EncodeMaskd(["label", "plain"], CLASSES)]
    ).set_random_state(4)
    label = random_label((1, 8, 8))
    for _ in range(5):
        result = chain({"label": label, "plain": label})
        known = result["label_known"]
        keep = tuple(name for name, flag in zip(CLASSES, known.tolist(), strict=True) if flag)
        assert torch.equal(result["label"], EncodeMask(CLASSES)(ablate_classes(label, CLASSES, keep, PARENTS), known))
        assert torch.equal(result["plain"], EncodeMask(CLASSES)(label))


def test_dictionary_form_keeps_to_the_conventions() -> None:
    assert EncodeMaskD is EncodeMaskd
    assert EncodeMaskDict is EncodeMaskd
    data = {"label": random_label((1, 4, 4)).numpy(), "case": "a"}
    before = data["label"].copy()
    result = EncodeMaskd("label", CLASSES)(data)
    assert np.array_equal(data["label"], before)
    assert result["case"] == "a"
    assert isinstance(result["label"], MetaTensor)
    with pytest.raises(KeyError):
        EncodeMaskd("mask", CLASSES)(data)
    assert EncodeMaskd("mask", CLASSES, allow_missing_keys=True)(data) == data


def test_without_metadata_tracking_a_plain_tensor_comes_out_and_errors_still_name_the_file() -> None:
    label = MetaTensor(torch.tensor([[[0, 77]]]), meta={"filename_or_obj": "case.nii.gz"})
    set_track_meta(False)
    try:
        assert type(EncodeMask({"organ": 77})(label)) is torch.Tensor
        with pytest.raises(ValueError, match=r"77 in case.nii.gz"):
            EncodeMask(CLASSES)(label)
    finally:
        set_track_meta(True)

"""A card is data: what is in it comes back as it was written, and nothing in it is run."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml

from monai_segdiff.diffusion import EDM, EpsilonVP, RectifiedFlow, ScoreVE, VelocityVP
from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.networks import load_weights, open_card, read_card, save_weights, weights_hash
from monai_segdiff.networks.card_entries import check_entries
from monai_segdiff.networks.cards import change_card

CARD: dict[str, Any] = {
    "image_size": [64, 64],
    "classes": {"body": 1, "kidneys": [2, 3]},
    "parents": {"kidneys": "body"},
    "intensity_range": [-200.0, 300.0],
    "parameterization": EDM(sigma_data=0.4).config(),
    "clip": None,
}
STATE = {"weight": torch.ones(2, 2)}
OTHER = {"weight": torch.zeros(2, 2)}


def saved(folder: Path, state: dict[str, torch.Tensor] = STATE, **changes: Any) -> Path:
    file = folder / "model.pt"
    save_weights(state, file, {**CARD, **changes})
    return file


def rewrite(file: Path, **changes: Any) -> None:
    """Change a card by hand, as an editor would."""
    card = file.with_suffix(".yaml")
    card.write_text(yaml.safe_dump({**yaml.safe_load(card.read_text()), **changes}, sort_keys=False))


def test_what_is_written_comes_back_with_the_hash_of_the_weights(tmp_path: Path) -> None:
    file = saved(tmp_path)
    assert read_card(file) == {"weights_sha256": [weights_hash(STATE)], **CARD}
    assert torch.equal(torch.load(file, weights_only=True)["weight"], STATE["weight"])
    assert list(read_card(file)["classes"]) == ["body", "kidneys"], "the order is that of the channels"


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (saved(tmp_path / name) for name in "ab")
    for ending in (".pt", ".yaml"):
        assert first.with_suffix(ending).read_bytes() == second.with_suffix(ending).read_bytes()


ODD_NAMES = [
    *("left::kidney", "kidney#1", "@seed", "%x.yaml", "_target_", "$__import__('os').abort()"),
    *(
        "no",
        "~",
        "1e3",
        "<<",
        "=",
        "!!python/none",
        "2001-01-01",
        "a: b",
        "- a",
        "? a",
        "'",
        '"',
        " a ",
        "#",
        "x" * 300,
    ),
    *("Niere links (ä)", "\U0001f600", "a\nb", "a\tb", "\x85\u2028\ufeff", "\x00\x1b\x7f", "\ud800"),
]


def test_class_names_are_text_whatever_stands_in_them(tmp_path: Path) -> None:
    random = Random(0)
    made = ["".join(chr(random.randrange(1, 0x2FFF)) for _ in range(random.randrange(1, 9))) for _ in range(200)]
    names = list(dict.fromkeys([*ODD_NAMES, *made]))
    classes = {name: number for number, name in enumerate(names, start=1)}
    parents = dict(zip(names[1:], names[:-1], strict=True))
    card = open_card(saved(tmp_path, classes=classes, parents=parents), CARD)
    assert list(card["classes"].items()) == list(classes.items())
    assert card["parents"] == parents


@pytest.mark.parametrize(
    "made", [EDM(0.3, rho=5.0), ScoreVE(0.02, 50.0), RectifiedFlow(0.99), EpsilonVP(), VelocityVP([0.1, 0.2])]
)
def test_the_parameterization_is_made_from_its_numbers(tmp_path: Path, made: Any) -> None:
    again = open_card(saved(tmp_path, parameterization=made.config()), CARD)["parameterization"]
    assert type(again) is type(made)
    assert again.config() == made.config()


def test_a_card_that_leaves_out_the_channels_is_of_one_and_any_bundle_takes_where_images_lay(tmp_path: Path) -> None:
    file = saved(tmp_path, spacing=[1.5, 1.5], patches=True)
    card = open_card(file, {**CARD, "channels_of_image": 3, "channel_names": ["a", "b", "c"]})
    assert (card["channels_of_image"], card["channel_names"]) == (1, [])
    assert (card["spacing"], card["patches"]) == ([1.5, 1.5], True)
    assert "slice_axis" not in card


def test_without_weights_and_card_it_is_what_is_untrained(tmp_path: Path) -> None:
    untrained = {"image_size": [32, 32], "parameterization": EDM()}
    assert open_card(tmp_path / "model.pt", untrained) == untrained


def test_a_card_from_before_there_were_covariates_means_none(tmp_path: Path) -> None:
    file = saved(tmp_path)
    assert open_card(file, {**CARD, "covariates": {}})["covariates"] == {}
    age = {"min": 20.0, "max": 80.0, "mean": 50.0, "std": 10.0}
    told = {"$age": age, "@sex": {"values": ["F", "%M"]}}
    file = saved(tmp_path / "told", covariates=told)
    opened = open_card(file, {**CARD, "covariates": {}})["covariates"]
    assert (opened, list(opened)) == (told, list(told))


def test_weights_without_their_card_are_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt lies there without a card .*: put back model\.yaml"):
        open_card(tmp_path / "model.pt", CARD)


@pytest.mark.parametrize("there", [(), ("a.pt",), ("a.yaml",)])
def test_what_is_missing_is_named(tmp_path: Path, there: tuple[str, ...]) -> None:
    for name in there:
        (tmp_path / name).touch()
    missing = "a.yaml" if there == ("a.pt",) else "a.pt"
    with pytest.raises(FileNotFoundError, match=missing):
        read_card(tmp_path / "a.pt")


def test_a_card_of_other_data_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    assert read_card(file, image_size=(64, 64), classes={"body": 1, "kidneys": (2, 3)})
    with pytest.raises(ValueError, match=r"model\.yaml says image_size: \[64, 64\], but .* \(32, 32\)"):
        read_card(file, image_size=(32, 32))
    with pytest.raises(ValueError, match="says levels: None"):
        read_card(file, levels={})


def test_other_weights_than_those_asked_for_are_refused(tmp_path: Path) -> None:
    untrained = {**CARD, "method": "ctm"}
    file = saved(tmp_path, method="csm")
    assert open_card(file, untrained, method="csm")["method"] == open_card(file, untrained, method=None)["method"]
    with pytest.raises(ValueError, match=r"model\.yaml says method: csm, but unet is asked for"):
        open_card(file, untrained, method="unet")


def test_a_card_of_another_bundle_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, conditioning="spade")
    with pytest.raises(ValueError, match=r"model\.yaml says conditioning, which this bundle does not use"):
        open_card(file, CARD)
    with pytest.raises(UnreadableFileError, match=r"model\.yaml does not say encoding, channels"):
        open_card(file, {**CARD, "conditioning": "concat", "encoding": "one_hot", "channels": [8]})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"- 1\n",
        b"a: [\n",
        b"a: \xff\n",
        b"a: " + b"[" * 5000 + b"]" * 5000,
        b"x: 1\n",
        b"classes: !!python/object/apply:os.abort []\n",
        b"classes: {a: &a [1], b: *a, c: *b}\n",
    ],
)
@pytest.mark.parametrize("read", [read_card, lambda file: open_card(file, CARD)])
def test_a_spoiled_card_is_refused_in_one_line_with_its_name(tmp_path: Path, content: bytes, read: Any) -> None:
    file = saved(tmp_path)
    file.with_suffix(".yaml").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"model\.yaml") as error:
        read(file)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("classes", {}),
        ("classes", {1: 1}),
        ("classes", {"a": 0}),
        ("classes", {"a": True}),
        ("classes", {"a": 1.5}),
        ("classes", {"a": []}),
        ("classes", {"a": "1"}),
        ("classes", {"a": 2**40}),
        ("classes", {"a": 1, "b": [2, 1]}),
        ("classes", {"": 1}),
        ("classes", ["a"]),
        ("parents", {"kidneys": "spine"}),
        ("parents", {"spine": "body"}),
        ("parents", {"kidneys": None}),
        ("intensity_range", [300.0, -200.0]),
        ("intensity_range", [0.0]),
        ("intensity_range", [0.0, float("nan")]),
        ("intensity_range", ["$1", 2.0]),
        ("image_size", [64, -64]),
        ("image_size", [64, 2**40]),
        ("image_size", "$[64, 64]"),
        ("spatial_dims", 3),
        ("channels", [8, "$8"]),
        ("channels", []),
        ("null_prob", 1.5),
        ("num_steps", 0),
        ("clip", [1.0, -1.0]),
        ("scale_factor", float("inf")),
        ("diffusion_size", {"channels": [{"_target_": "os.abort"}]}),
        ("autoencoder_options", {"norm": "$1"}),
        ("autoencoder_sha256", "abc"),
        ("weights_sha256", "abc"),
        ("findings", "opacity"),
        ("covariates", ["age"]),
        ("covariates", {"age": {"min": 20.0, "max": 80.0, "mean": 50.0, "std": 0.0}}),
        ("covariates", {"age": {"min": 20.0, "max": 80.0, "mean": "$50", "std": 1.0}}),
        ("covariates", {"sex": {"values": ["F"]}}),
        ("covariates", {"sex": {"values": ["F", "F"]}}),
        ("covariates", {"sex": {"values": ["F", "M"], "_target_": "os.abort"}}),
        ("conditions", {"contour": {"classes": {"a": 1}}}),
        ("parameterization", "$1"),
        ("parameterization", {"sigma_data": 0.5}),
        ("parameterization", {"_target_": "os.abort"}),
        ("parameterization", {"_target_": "monai_segdiff.diffusion.Parameterization"}),
        ("parameterization", {"_target_": "monai_segdiff.diffusion.karras", "num_steps": 2}),
        ("parameterization", {"_target_": "monai_segdiff.diffusion.EDM", "sigma_data": -1.0}),
        ("parameterization", {"_target_": "monai_segdiff.diffusion.EDM", "sigma": 1.0}),
        ("parameterization", {"_target_": "monai_segdiff.diffusion.EpsilonVP", "betas": [0.1, "x"]}),
    ],
)
def test_an_entry_that_cannot_be_is_named_with_its_file(tmp_path: Path, entry: str, value: Any) -> None:
    file = saved(tmp_path)
    rewrite(file, **{entry: value})
    for read in (read_card, lambda file: open_card(file, {**CARD, entry: None})):
        with pytest.raises(UnreadableFileError, match=rf"model\.yaml: .*{entry.split('_')[0]}"):
            read(file)


@pytest.mark.parametrize("value", [{"deep": [[[[[1]]]]]}, [object()], float("nan"), torch.ones(1)])
def test_an_entry_of_a_users_own_is_plain_data(value: Any) -> None:
    check_entries({"mine": {"a": [1, 2.5, "text", None, True]}})
    with pytest.raises(ValueError, match="mine has to be plain data"):
        check_entries({"mine": value})


def test_a_card_belongs_to_its_weights(tmp_path: Path) -> None:
    file, network = saved(tmp_path), torch.nn.Linear(2, 2, bias=False)
    load_weights(network, file, open_card(file, CARD))
    torch.save(OTHER, file)
    with pytest.raises(ValueError, match=r"model\.pt holds the weights \w{12}\.\.\., but model\.yaml beside it is"):
        load_weights(network, file, open_card(file, CARD))
    assert torch.equal(network.weight, STATE["weight"]), "it stays as it was"
    card = file.with_suffix(".yaml")
    card.write_text(card.read_text().split("\n", 1)[1])
    load_weights(network, file, open_card(file, CARD))  # an older card does not say
    assert torch.equal(network.weight, OTHER["weight"])


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("same_card", [True, False])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_kill_between_two_files_never_leaves_weights_with_the_card_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, same_card: bool
) -> None:
    file = saved(tmp_path)
    replaced: list[str] = []

    def kill(source: Any, target: Any) -> None:
        replaced.append(Path(target).suffix)
        if len(replaced) == step:
            raise Killed
        rename(source, target)

    rename = os.replace
    new = {} if same_card else {"intensity_range": [0.0, 1.0]}
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", kill)
        with pytest.raises(Killed):
            saved(tmp_path, OTHER, **new)
    assert replaced == [".yaml", ".pt", ".yaml"][:step]
    found, card = weights_hash(file), open_card(file, CARD)
    assert found == weights_hash(STATE if step < 3 else OTHER)
    belongs = found in card["weights_sha256"]
    assert belongs == (same_card or step != 2), "weights under the card of others are refused"
    assert not belongs or card["intensity_range"] == (
        [0.0, 1.0] if found == weights_hash(OTHER) and new else [-200, 300]
    )
    saved(tmp_path, OTHER, **new)
    assert open_card(file, CARD)["weights_sha256"] == [weights_hash(OTHER)]


def test_a_card_that_says_what_none_can_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    card = copy.deepcopy(CARD)
    card["intensity_range"] = [1.0, 0.0]
    with pytest.raises(ValueError, match="intensity_range has to be two numbers, the lower one first"):
        save_weights(STATE, tmp_path / "model.pt", card)
    assert not list(tmp_path.iterdir())


def test_guidance_that_was_chosen_stays_as_long_as_the_weights_do(tmp_path: Path) -> None:
    file = saved(tmp_path)
    curve = [{"weight": 1.0, "dice": 0.6}, {"weight": 2.0, "dice": 0.7}]
    change_card(file, guidance_weight=2.0, guidance_curve=curve)
    before = file.read_bytes()
    save_weights(STATE, file, {**CARD, "guidance_weight": 1.0})  # a training that has nothing left to do
    assert file.read_bytes() == before
    assert read_card(file)["guidance_weight"] == 2.0
    save_weights({name: value + 1 for name, value in STATE.items()}, file, {**CARD, "guidance_weight": 1.0})
    card = read_card(file)
    assert (card["guidance_weight"], card.get("guidance_curve")) == (1.0, None)


def test_a_card_is_not_changed_to_what_no_card_can_say(tmp_path: Path) -> None:
    file = saved(tmp_path)
    before = file.with_suffix(".yaml").read_bytes()
    with pytest.raises(ValueError, match="guidance_weight has to be a number of at least 0"):
        change_card(file, guidance_weight=-1.0)
    assert file.with_suffix(".yaml").read_bytes() == before


@pytest.mark.parametrize("levels", [[[0.0]], [[80.0], [0.8, 80.0]], [[80.0, 0.8]], [80.0]])
def test_noise_levels_descend_and_are_as_many_as_steps(levels: Any) -> None:
    check_entries({"noise_levels": [[80.0], [80.0, 0.8]]})
    with pytest.raises(ValueError, match="noise_levels has to be lists of numbers above 0, each descending"):
        check_entries({"noise_levels": levels})

"""Arguments of the command line, refused before any work in words of the shell."""

from __future__ import annotations

import argparse

import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.commands.common import number, positive, seed

GENERATE = ["generate", "--bundle", "none", "--masks", "none", "--output", "out"]
EDIT = ["edit", "--bundle", "none", "--images", "none", "--edited", "none", "--output", "out"]
EVALUATE = ["evaluate", "--real", "none", "--synthetic", "none", "--output", "out"]
MAKE_DRR = ["make-drr", "none", "out"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Whatever is written would be found."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (number(), "-1.5e3", -1500.0),
        (number(), ".5", 0.5),
        (number(0, 1), "1", 1.0),
        (number(0, 1), "0.", 0.0),
        (number(1, 3, whole=True), "+3", 3),
        (positive, "1000000000", 10**9),
        (seed, "0", 0),
        (seed, "4294967295", 2**32 - 1),
    ],
)
def test_a_number_is_read_as_it_is_written(read, text, value):
    found = read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("read", "text", "kind"),
    [
        *(
            (number(), text, "number")
            for text in ("", "x", "nan", "inf", "-inf", "1e999", "1_000", " 1", "1 ", "٣", "0x1")
        ),
        *((number(0, 1), text, "number from 0 to 1") for text in ("-0.1", "1.0001", "nan")),
        (number(low=0), "-1", "number from 0"),
        (number(high=2.5), "3", "number to 2.5"),
        *((positive, text, "whole number from 1 to 1000000000") for text in ("0", "-1", "1.0", "1e3", "²", "9" * 5000)),
        *((seed, text, "whole number from 0 to 4294967295") for text in ("-1", "4294967296")),
    ],
)
def test_what_is_no_number_of_the_range_is_refused_by_it(read, text, kind):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        read(text)
    assert str(caught.value) == f"{text!r} is no {kind}"


def test_the_largest_number_of_a_range_is_written_out_whole():
    with pytest.raises(argparse.ArgumentTypeError, match=r"from 1 to 123456789$"):
        number(1, 123456789, whole=True)("0")


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        *((verb, "--seed", ("-1", "1.5", "99999999999")) for verb in (GENERATE, EDIT, EVALUATE, MAKE_DRR, ["demo"])),
        *((verb, "--guidance", ("nan", "1e999", "-1")) for verb in (GENERATE, EDIT)),
        *((verb, "--num-steps", ("0", "10001")) for verb in (GENERATE, EDIT)),
        *((verb, "--batch-size", ("0", "65537")) for verb in (GENERATE, EDIT)),
        (GENERATE, "--per-mask", ("0", "100001")),
        (GENERATE, "--accept-dice", ("nan", "1.1")),
        (GENERATE, "--max-tries", ("0", "1001")),
        (GENERATE, "--similarity", ("nan",)),
        (GENERATE, "--similarity-level", ("nan",)),
        *((EDIT, option, ("nan", "x")) for option in ("--level", "--dilation", "--softness")),
        (["train", "none"], "--images", ("0", "1.5", "x")),
        (EVALUATE, "--utility-seeds", ("0",)),
        (EVALUATE, "--max-images", ("0",)),
        (MAKE_DRR, "--views", ("0", "10001")),
        (MAKE_DRR, "--angles", ("nan", "1e999")),
        (MAKE_DRR, "--size", ("0", "8193")),
        (MAKE_DRR, "--detector-spacing", ("0", "-1", "nan")),
        (MAKE_DRR, "--axis", ("nan", "X")),
        (MAKE_DRR, "--photons", ("0", "nan")),
        (MAKE_DRR, "--contour-threshold", ("nan", "2")),
        *((MAKE_DRR, option, ("nan",)) for option in ("--bone-threshold", "--min-bone-length", "--source-to-detector")),
        (MAKE_DRR, "--fractions", ("-0.1 0.6 0.5", "0.5 0.5 nan")),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_option(command, option, values, capsys):
    for value in values:
        with pytest.raises(SystemExit, match="2"):
            main([*command, option, *value.split()])
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"error: argument {option}: " in said
        assert any(repr(part) in said for part in value.split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([*GENERATE, "--max-tries", "3"], "--max-tries needs --accept-dice and --segmenter: give them, too"),
        ([*GENERATE, "--similarity-level", "0.5"], "--similarity-level needs --like and --similarity: give them, too"),
        ([*GENERATE, "--modality", "CT"], "--modality needs --format dicom: give it, too"),
        ([*GENERATE, "--region", "r.png"], "--region needs --finding: give it with the names of the findings"),
        ([*GENERATE, "--like", "a.png", "--similarity", "0.5", "--region", "r.png"], "--region needs --finding"),
        ([*GENERATE, "--finding", "--findings-of-masks"], "--finding and --findings-of-masks exclude each other"),
        ([*GENERATE, "--drop-class", "liver", "--drop-class", "spleen", "liver"], "--drop-class names 'liver' twice"),
        ([*GENERATE, "--finding", "edema", "edema"], "--finding names 'edema' twice: name it once"),
        ([*EVALUATE, "--utility-seeds", "2"], "--utility-seeds needs --utility: give it, too"),
        ([*MAKE_DRR, "--angles", "0", "--views", "4"], "--angles and --views exclude each other: leave one out"),
        (
            [*MAKE_DRR, "--device", "cpu", "--backend", "rtk"],
            "--device does not go with --backend rtk, which projects on the CPU: leave it out",
        ),
    ],
)
def test_an_option_without_effect_is_refused_by_name(arguments, named, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert named in err
    assert err.count("\n") == 1

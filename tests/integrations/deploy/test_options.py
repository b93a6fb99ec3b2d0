from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.integrations.deploy.options import GenerationOptions, read_options


def write(folder: Path, text: str) -> Path:
    file = folder / "app.yaml"
    file.write_text(text)
    return file


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "generation: {seed: 3, guidance: 2.0, num_steps: , names: {Liver: liver}}")
    assert read_options(file, {}) == GenerationOptions(seed=3, guidance=2.0, names={"Liver": "liver"})
    environment = {
        "SEGDIFF_SEED": "5",
        "SEGDIFF_GUIDANCE": "1",
        "SEGDIFF_SPACING": "[1.5, 2]",
        "SEGDIFF_DROP_OTHERS": "true",
        "SEGDIFF_NAMES": "{first segment: liver}",
        "SEGDIFF_PRECEDENCE": "[liver, body]",
        "SEGDIFF_MODALITY": "MR",
        "SEGDIFF_NUM_STEPS": "",
        "SEGDIFF_COVARIATES": "{age: 60, sex: F, scanner: }",
    }
    assert read_options(file, environment) == GenerationOptions(
        seed=5,
        guidance=1,
        spacing=(1.5, 2),
        drop_others=True,
        names={"first segment": "liver"},
        precedence=("liver", "body"),
        modality="MR",
        covariates={"age": 60, "sex": "F", "scanner": None},
    )
    assert read_options(file, {"SEGDIFF_COVARIATES": "age=60, sex=F"}).covariates == {"age": "60", "sex": "F"}


def test_bundles_are_told_what_is_given_only() -> None:
    assert GenerationOptions().overrides() == {"seed": 0}
    given = GenerationOptions(seed=4, num_steps=7, guidance=1.5)
    assert given.overrides() == {"seed": 4, "num_steps": 7, "guidance_weight": 1.5}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SEED", "-1", "SEGDIFF_SEED: seed must be a whole number from 0"),
        ("SEED", "1.5", "seed must be a whole number"),
        ("SEED", "[", "SEGDIFF_SEED cannot be read"),
        ("NUM_STEPS", "0", "num_steps must be a whole number from 1"),
        ("GUIDANCE", "much", "guidance must be a number"),
        ("GUIDANCE", ".nan", "guidance must be a number"),
        ("SPACING", "1.5", "spacing must be a list"),
        ("COVARIATES", "[age]", "SEGDIFF_COVARIATES: covariates must map names to numbers or categories"),
        ("COVARIATES", "age", "SEGDIFF_COVARIATES: --covariate takes NAME=VALUE"),
        ("SPACING", "[1.5, 0]", "spacing must be a number above 0"),
        ("SPACING", "[1.5, 1.0e+9]", "spacing must be a number above 0 and at most 1000"),
        ("NAMES", "[" * 5000, "SEGDIFF_NAMES cannot be read"),
        ("NAMES", "{a: &a [x, x], b: *c}", "SEGDIFF_NAMES cannot be read"),
        ("SEED", "!!python/object/apply:os.getpid []", "SEGDIFF_SEED cannot be read"),
        ("MODALITY", "PET", "modality must be one of CT, MR, CR, DX, ES, GM, XC, OT, got 'PET'"),
        ("NAMES", "[liver]", "names must map segment labels to class names"),
        ("PRECEDENCE", "liver", "precedence must be a list"),
        ("DROP_OTHERS", "perhaps", "drop_others must be true or false"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, variable: str, value: str, message: str) -> None:
    file = write(tmp_path, "application: {title: x}")
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read_options(file, {f"SEGDIFF_{variable}": value})


def test_unknown_options_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"app\.yaml: generation has unknown option steps: known are seed, num_steps"):
        read_options(write(tmp_path, "generation: {steps: 5}"), {})
    with pytest.raises(ValueError, match=r"app\.yaml: generation must be a mapping of options to values"):
        read_options(write(tmp_path, "generation: [5]"), {})
    for text in ("generation: {", "just a sentence"):
        with pytest.raises(ValueError, match=r"app\.yaml is no YAML mapping"):
            read_options(write(tmp_path, text), {})
    lists = "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9))
    for text in ("generation: " + "[" * 5000, f"a0: &a0 [x]\n{lists}", "a: &a {<<: *a}"):
        with pytest.raises(ValueError, match=r"app\.yaml is no YAML mapping: .*") as caught:
            read_options(write(tmp_path, text), {})
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"app\.yaml has 1048590 bytes, which is too much"):
        read_options(write(tmp_path, "generation: " + "x" * (2**20 + 2)), {})
    with pytest.raises(FileNotFoundError, match=r"none\.yaml.*HOLOSCAN_CONFIG_PATH"):
        read_options(tmp_path / "none.yaml", {})

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.document import read_plan, training_values, write_overlay, write_plan

HEAD = "bundle: ct_organ\n"


def written(tmp_path, **values):
    choices = Choices(notes=["Data: made"])
    choices.choose("bundle", "ct_organ", "it fits")
    for key, value in values.items():
        choices.choose(key.replace("__", "."), value, "because")
    write_plan(tmp_path / "plan.yaml", choices)
    return tmp_path / "plan.yaml"


def test_what_was_written_is_read_with_its_reasons_beside_it(tmp_path):
    values = {"image_size": [32, 48], "learning_rate": 2e-5, "prepare__crop": "labels", "evaluate__utility": None}
    file = written(tmp_path, **values)
    assert read_plan(file) == {
        "bundle": "ct_organ",
        "image_size": [32, 48],
        "learning_rate": 2e-5,
        "prepare.crop": "labels",
        "evaluate.utility": None,
    }
    assert "image_size: [32, 48]  # because" in file.read_text()
    assert "#   " not in file.read_text().splitlines()[0]
    assert "# Data: made" in file.read_text()


def test_names_from_the_data_end_no_comment_and_stay_out_of_the_overlay(tmp_path):
    choices = Choices()
    choices.choose("bundle", "ct_organ", "a\nseed: 7 \x1b[0m")
    choices.choose("max_images", 5, "x")
    choices.choose("prepare.parents", {"$import os": "@seed"}, "x" * 300)
    write_plan(tmp_path / "plan.yaml", choices)
    values = read_plan(tmp_path / "plan.yaml")
    assert values == {"bundle": "ct_organ", "max_images": 5, "prepare.parents": {"$import os": "@seed"}}
    write_overlay(tmp_path / "overlay.yaml", training_values(values))
    assert "import" not in (tmp_path / "overlay.yaml").read_text()
    parser = ConfigParser()
    parser.read_config(tmp_path / "overlay.yaml")
    assert {key: value for key, value in parser.get().items() if key != "_meta_"} == {"max_images": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagesize: [8, 8]", r"plan\.yaml: imagesize is no name that a plan can have: did you mean image_size\?"),
        ("prepare:\n  crops: body", r"prepare: crops is no name .* did you mean crop\?"),
        ("prepare:\n  size: 8", "prepare: size is no name"),
        ("prepare: body", r"prepare must be a section, such as"),
        ("seed: $print(1)", r"seed is '\$print\(1\)', which a configuration would evaluate"),
        ("channels: ['@seed']", "channels is '@seed'"),
        ("sampler: {_target_: os.system}", "sampler names a component"),
        ("- 1", "is no plan"),
        ("seed: !!python/object:os.system {}", "cannot be read as a plan"),
        ("bundle: ../x", "bundle must be a name"),
        ("bundle: chest_xray", "has no single training"),
    ],
)
def test_what_no_plan_has_is_refused_by_file_and_name(tmp_path, text, message):
    file = tmp_path / "plan.yaml"
    file.write_text(text if text.startswith(("bundle", "- ")) else HEAD + text)
    with pytest.raises(ValueError, match=message):
        read_plan(file)

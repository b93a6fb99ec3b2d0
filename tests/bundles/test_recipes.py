"""What bundles share is written once: the committed files are what the recipes say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from monai_segdiff import bundle_path
from monai_segdiff.settings import RULES

BUNDLES = Path(__file__).parents[2] / "bundles"
_SPEC = importlib.util.spec_from_file_location("write_bundles", BUNDLES / "recipes" / "write.py")
write = importlib.util.module_from_spec(_SPEC)
sys.modules["write_bundles"] = write
_SPEC.loader.exec_module(write)


@pytest.mark.parametrize(("bundle", "file"), list(write.files()))
def test_a_committed_file_is_what_its_recipe_says(bundle, file):
    committed = (bundle_path(bundle) / "configs" / file).read_text()
    assert committed == write.written(bundle, file), f"{bundle}/configs/{file} is not current: run make bundles"


def test_every_bundle_has_a_recipe_for_each_of_its_trainings():
    trainings = {
        (path.parents[1].name, path.name)
        for path in BUNDLES.glob("*/configs/*.yaml")
        if path.name.startswith("train") or path.name in write.FOR_EVERY_BUNDLE
    }
    assert trainings <= set(write.files())


@pytest.mark.parametrize(("bundle", "file"), [pair for pair in write.files() if pair[1].startswith("train")])
def test_a_training_checks_every_id_that_has_a_rule(bundle, file):
    config = yaml.safe_load((bundle_path(bundle) / "configs" / file).read_text())
    for name in RULES.keys() & config.keys():
        assert f"{name}=@{name}" in config["checked"]


@pytest.fixture
def join(tmp_path, monkeypatch):
    """Text of the file that a bundle's own words make of a recipe for all."""
    monkeypatch.setattr(write, "RECIPES", tmp_path)

    def join(shared: str, own: str | None) -> list[str]:
        (tmp_path / "shared.yaml").write_text(shared)
        (tmp_path / "mars").mkdir()
        if own is not None:
            (tmp_path / "mars" / "shared.yaml").write_text(f"based_on: shared.yaml\n{own}")
        first, *lines = write.written("mars", "shared.yaml").splitlines()
        named = "shared.yaml" if own is None else "mars/shared.yaml"
        assert first == f"# Written by `make bundles` from bundles/recipes/{named}; change that."
        return lines

    return join


SHARED = """\
# For all
seed: 0 # of everything

# ---- the network
network:
  channels: [8, 8]
  depth: 2
handlers:
  - _target_: monai.handlers.StatsHandler
    name: loss
  - {_target_: types.SimpleNamespace, attach: null}
long: "$first(@seed,
  second)"
"""


def test_a_bundle_without_words_of_its_own_gets_the_recipe_as_it_is(join):
    assert join(SHARED, None) == SHARED.splitlines()


def test_what_takes_a_place_keeps_the_title_and_the_comments_above(join):
    own = 'network: "$None" # none\nlong: 1\n'
    *above, network, handlers, _, _, _, long = join(SHARED, own)
    assert above == ["# For all", "seed: 0 # of everything", "", "# ---- the network"]
    assert (network, handlers, long) == ('network: "$None" # none', "handlers:", "long: 1")


def test_the_comment_at_the_beginning_is_the_bundle_s(join):
    assert join(SHARED, "# For Mars\n")[:2] == ["# For Mars", "seed: 0 # of everything"]


def test_what_is_new_follows_what_is_before_it_or_named(join):
    lines = join(SHARED, "depth: 3\n# after seed\nfirst: 1\nsecond: 2\n+network:\n  # after channels\n  width: 4\n")
    assert lines[1:4] == ["seed: 0 # of everything", "first: 1", "second: 2"]
    assert lines[6:9] == ["network:", "  channels: [8, 8]", "  width: 4"]
    assert lines[-1] == "depth: 3"


def test_an_item_goes_by_the_name_of_its_class(join):
    own = "handlers#StatsHandler#name: score\n+handlers:\n  - _target_: monai.handlers.EarlyStop\n    patience: 3\n"
    assert yaml.safe_load("\n".join(join(SHARED, own)))["handlers"] == [
        {"_target_": "monai.handlers.StatsHandler", "name": "score"},
        {"_target_": "types.SimpleNamespace", "attach": None},
        {"_target_": "monai.handlers.EarlyStop", "patience": 3},
    ]


def test_what_is_left_out_leaves_the_title_of_its_section(join):
    lines = join(SHARED, "\nwithout: [network, handlers#SimpleNamespace,\n  handlers#StatsHandler#name]\n")
    assert lines == [*SHARED.splitlines()[:4], "handlers:", SHARED.splitlines()[8], *SHARED.splitlines()[-2:]]


def test_an_id_in_brackets_stands_for_its_value(join):
    assert join("stage: null\n<stage>_size: 3\n", "stage: first # of two\n") == [
        "stage: first # of two",
        "first_size: 3",
    ]


def test_a_name_that_is_not_there_is_named(join):
    with pytest.raises(KeyError, match="there is no width among channels, depth"):
        join(SHARED, "without: [network#width]\n")


def test_parts_without_lines_cannot_be_changed(join):
    with pytest.raises(ValueError, match="SimpleNamespace stands in one line"):
        join(SHARED, "handlers#SimpleNamespace#attach: 1\n")

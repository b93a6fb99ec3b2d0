"""A bundle's configuration for inference: values from outside stay what they are, and damage is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monai_segdiff import copy_bundle
from monai_segdiff.configuration import configuration_digest, naming_configuration, open_inference
from monai_segdiff.errors import UnreadableFileError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return copy_bundle("ct_organ", tmp_path / "ct_organ")


@pytest.mark.parametrize("text", ["$1 / 0", "@seed", "%missing.yaml", "a#b", "@##seed", "x::y", "$import os"])
def test_a_value_is_never_evaluated(bundle: Path, text: str) -> None:
    values = {"sampler": text, "clip": {"_target_": text}, "bundle_root": f"/{text}/bundle"}
    get = open_inference(bundle, values=values).get_parsed_content
    assert get("sampler") == get("record")["sampler"] == text
    assert get("clip") == {"_target_": text}
    assert get("weights") == f"/{text}/bundle/models/model.pt"


@pytest.mark.parametrize("name", ["samplr", "sampler#name", "record#nothing#here"])
def test_a_value_without_an_id_is_named(bundle: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' cannot be set: .*inference\.yaml has no such id"):
        open_inference(bundle, values={name: 1})


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"- 1\n", b"a: [\n", b"a: \xff\n", b"a: " + b"[" * 5000, b"1: 2\n", b"x: !!python/name:os.abort\n"],
)
@pytest.mark.parametrize("name", ["inference.yaml", "mine.yaml"])
def test_a_damaged_file_is_named(bundle: Path, name: str, content: bytes) -> None:
    (bundle / "configs" / name).write_bytes(content)
    with pytest.raises(UnreadableFileError, match=rf"{name} .*(copy the bundle's configs anew|save it as UTF-8 text)"):
        open_inference(bundle, ["mine.yaml"] if name == "mine.yaml" else [])


def test_a_configuration_of_an_earlier_version_does_not_run_without_the_card(bundle: Path) -> None:
    file = bundle / "configs" / "inference.yaml"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith(("card:", "weights:"))))
    with pytest.raises(UnreadableFileError, match=r"inference\.yaml has no id 'weights'.* earlier version"):
        open_inference(bundle)


def test_what_is_wrong_in_an_expression_is_named_with_the_file(bundle: Path) -> None:
    file = bundle / "configs" / "inference.yaml"
    for line, reason in (
        ("seed: $nowhere\n", "NameError|not defined"),
        ("seed: '@nowhere'\n", "nowhere"),
        ("seed: '@seed'\n", "circular"),
        ("seed: {_target_: monai.nowhere}\n", "Cannot locate"),
    ):
        whole = file.read_text()
        file.write_text(whole.replace("seed: 0\n", line))
        parser = open_inference(bundle)
        message = rf"inference\.yaml cannot be used \(.*({reason})"
        with pytest.raises(UnreadableFileError, match=message) as error, naming_configuration(file):
            parser.get_parsed_content("seed")
        assert len(str(error.value).splitlines()) == 1
        file.write_text(whole)


def test_the_digest_is_of_what_decides_a_sample(bundle: Path, tmp_path: Path) -> None:
    def digest(root: Path = bundle, **values) -> str:
        return configuration_digest(open_inference(root, values=values), values)

    first = digest()
    moved = shutil.copytree(bundle, tmp_path / "moved")
    assert digest(moved, bundle_root=str(moved), batch_size=3, device="cpu", seed=4) == first, "or is recorded"
    assert digest(**{"rescale#b_max": 5.0}) != first
    assert digest(**{"rescale#b_max": 5.0, "seed": 1}) == digest(**{"seed": 1, "rescale#b_max": 5.0})
    file = moved / "configs" / "inference.yaml"
    file.write_text(f"# a remark\n{file.read_text()}")
    assert digest(moved) == first
    file.write_text(file.read_text().replace("network_range: [-1.0, 1.0]", "network_range: [0.0, 1.0]"))
    assert digest(moved) != first

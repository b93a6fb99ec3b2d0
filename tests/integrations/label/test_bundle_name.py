"""A server whose bundle is named, and is no folder of the user."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import monai_segdiff
from monai_segdiff.generation import load_generator

from ..page import ROOT
from .server import pixels


@pytest.fixture
def installed(trained_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as it is installed, with a bundle beside it that was trained where it lies."""
    root = tmp_path / "installed"
    root.mkdir()
    (root / "monai_segdiff").symlink_to(Path(monai_segdiff.__file__).parent)
    shutil.copytree(
        trained_bundle.root, root / "bundles" / "ct_organ", ignore=shutil.ignore_patterns("phantoms*", "eval")
    )
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(tmp_path)
    return root / "bundles" / "ct_organ"


def test_a_bundle_that_comes_with_the_package_is_served_by_its_name(
    installed: Path, serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    server = serve(studies := make_studies(1), bundle="ct_organ")
    assert list(server.get("/info/")["models"]) == ["ct_organ"]
    (label,) = (studies / "labels" / "final").iterdir()
    study = label.name.removesuffix(".nii.gz")
    found = pixels(server.infer("ct_organ", image=study, params={"seed": 7}).content).squeeze()
    generator = load_generator(installed, overrides={"seed": 7})
    expected = generator.sample(generator.condition(label)[None], [0])[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    refused = server.infer("ct_organ", image=study, params={"sede": 7})
    assert refused.status_code == 400
    assert refused.text in (ROOT / "docs" / "bad_input.md").read_text()


def test_one_that_was_not_trained_ends_the_start(
    installed: Path, serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    (installed / "models" / "model.pt").unlink()
    with pytest.raises(RuntimeError, match=r"no weights at .*ct_organ/models/model\.pt: train the bundle first"):
        serve(make_studies(1), bundle="ct_organ")

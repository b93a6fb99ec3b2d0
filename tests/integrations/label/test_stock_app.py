"""Our bundles in MONAI Label's own application for bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_segdiff import copy_bundle
from monai_segdiff.data import load_image, read_dataset
from monai_segdiff.generation import load_generator
from monai_segdiff.integrations.label.stock import add_stock_bundle

from .server import Server, pixels

BUNDLES = ["trained_bundle", "trained_breast", "trained_knee", "trained_chest"]


@pytest.fixture
def stock_app(tmp_path: Path, app_folder: Path) -> Path:
    """As `monailabel apps --download` makes it."""
    tool = Path(sys.executable).with_name("monailabel")
    environment = {"PYTHONPATH": str(app_folder / "compat"), "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    command = [str(tool), "apps", "--download", "--name", "monaibundle", "--output", str(tmp_path / "apps")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    app = tmp_path / "apps" / "monaibundle"
    shutil.copytree(app_folder / "compat", app / "compat")
    return app


@pytest.fixture
def stop() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.stop()


@pytest.mark.parametrize("fixture", BUNDLES)
def test_the_stock_application_serves_our_bundle(
    fixture: str, stock_app: Path, tmp_path: Path, request: pytest.FixtureRequest, stop: list[Server]
) -> None:
    bundle: Any = request.getfixturevalue(fixture)
    before = {file: file.read_bytes() for file in sorted((bundle.root / "configs").iterdir())}
    added = add_stock_bundle(bundle.root, stock_app)
    studies = tmp_path / "studies"
    studies.mkdir()
    case = read_dataset(bundle.phantoms).splits["test"][0]
    shutil.copy(case.label, studies / "mask.nii.gz")  # what it takes as the image
    conf = {"models": added.name, "zoo_source": "github", "sam2": "false"}
    server = Server(stock_app, studies, conf, "--host", "127.0.0.1").start()
    stop.append(server)
    model = server.get("/info/")["models"][added.name]
    assert model["dimension"] == 2
    answer = server.infer(added.name, image="mask", params={"device": "cpu"})
    assert answer.status_code == 200, server.log.read_text()[-3000:]
    found = pixels(answer.content).squeeze()
    generator = load_generator(bundle.root)
    condition = generator.condition(case.label)
    expected = generator.sample(condition[None], [0])[0, 0].numpy()
    low, high = generator.intensity_range
    assert found.shape == expected.shape == load_image(case.label).shape[1:3]
    # The result is stored as the type that label maps have there, or as it is.
    np.testing.assert_allclose(found, expected, atol=max(1.0, 0.01 * (high - low)))
    assert {file: file.read_bytes() for file in before} == before


@pytest.fixture
def empty_app(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").touch()
    return tmp_path / "app"


def test_a_bundle_that_was_not_trained_is_refused(empty_app: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*model\.pt: train the bundle first"):
        add_stock_bundle(copy_bundle("ct_organ", empty_app.with_name("untrained")), empty_app)
    assert not (empty_app / "model").exists()


@pytest.mark.parametrize("missing", ["model.pt", "model.yaml"])
def test_weights_and_card_belong_together(missing: str, empty_app: Path, trained_bundle: Any) -> None:
    bundle = empty_app.with_name("my_ct")
    shutil.copytree(trained_bundle.root, bundle, ignore=shutil.ignore_patterns("eval", "phantoms*"))
    (bundle / "models" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=rf"there is no .*{missing}: train the bundle first"):
        add_stock_bundle(bundle, empty_app)
    assert not (empty_app / "model").exists()


def test_weights_that_do_not_fit_are_refused(empty_app: Path, trained_bundle: Any) -> None:
    bundle = empty_app.with_name("my_ct")
    shutil.copytree(trained_bundle.root, bundle, ignore=shutil.ignore_patterns("eval", "phantoms*"))
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save(dict(list(weights.items())[1:]), bundle / "models" / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds the weights of another architecture"):
        add_stock_bundle(bundle, empty_app)
    assert not (empty_app / "model").exists()


def test_a_bundle_is_added_whole_or_not_at_all(
    empty_app: Path, trained_bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree

    def full(*args: Any, **kw: Any) -> None:
        copy(*args, **kw)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("monai_segdiff.bundle.shutil.copytree", full)
        with pytest.raises(OSError, match="No space left"):
            add_stock_bundle(trained_bundle.root, empty_app)
    assert not list((empty_app / "model").iterdir())
    added = add_stock_bundle(trained_bundle.root, empty_app)
    assert (added / "models" / "model.pt").read_bytes() == (trained_bundle.root / "models" / "model.pt").read_bytes()
    assert {one.name for one in added.iterdir()}.isdisjoint({"eval", "phantoms_16"})
    with pytest.raises(FileExistsError, match=r"ct_organ exists: remove it to add the bundle anew"):
        add_stock_bundle(trained_bundle.root, empty_app)
    with pytest.raises(FileNotFoundError, match="is no MONAI Label application: make it by monailabel apps"):
        add_stock_bundle(trained_bundle.root, empty_app / "model")

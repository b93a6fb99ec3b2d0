from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from monai_segdiff import bundle_path

ROOT = Path(__file__).parents[1]


def test_a_bundle_is_found_by_name_and_by_folder(make_bundle, tmp_path, monkeypatch):
    for name in ("ct_organ", "knee_drr"):
        assert bundle_path(name) == ROOT / "bundles" / name
    bundle = make_bundle(tmp_path)
    assert bundle_path(bundle.root) == bundle.root
    monkeypatch.chdir(tmp_path)
    assert bundle_path("./ct_organ") == bundle.root


def test_an_unknown_bundle_names_the_known_ones(tmp_path):
    known = "breast_mri, chest_xray, ct_organ, knee_drr"
    with pytest.raises(FileNotFoundError, match=rf"no bundle 'mars': give one of {known}, .*configs/metadata\.json"):
        bundle_path("mars")
    with pytest.raises(FileNotFoundError, match="no bundle 'recipes'"):
        bundle_path("recipes")
    with pytest.raises(FileNotFoundError, match="no bundle"):
        bundle_path(tmp_path)


@pytest.mark.slow
def test_an_installed_wheel_carries_the_bundles(tmp_path):
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--quiet"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, ROOT], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = [name for name in archive.namelist() if "/bundles/" in name]
        assert "monai_segdiff/py.typed" in archive.namelist()
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "bundles").rglob("*") if path.is_file()}
    shipped = {name for name in shipped if not re.match(r".*/(models|eval|phantoms\w*|recipes)/", name)}
    assert shipped <= {name.removeprefix("monai_segdiff/") for name in names}
    assert not [name for name in names if "/recipes/" in name]
    program = "import monai_segdiff as m; print(m.__file__); print(m.bundle_path('knee_drr'))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    module, bundle = done.stdout.splitlines()
    assert Path(module).is_relative_to(installed)
    assert Path(bundle) == installed / "monai_segdiff" / "bundles" / "knee_drr"
    assert (Path(bundle) / "configs" / "train.yaml").read_text() == (
        ROOT / "bundles" / "knee_drr" / "configs" / "train.yaml"
    ).read_text()

"""The commands of docs/monai_deploy.md, and the folder that a container would be built from."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from holoscan_cli.__main__ import main as monai_deploy
from holoscan_cli.packager.container_builder import BuilderBase
from holoscan_cli.packager.parameters import PlatformBuildResults

from monai_segdiff.data import read_dicom_seg, read_dicom_series

from ..page import ROOT, check_install, page_commands
from .conftest import write_study

COMMANDS = page_commands("monai_deploy.md")
RUN = "python -m monai_segdiff.integrations.deploy"
INSTALL = 'python -m pip install "monai-segdiff[deploy]"'
#: Commands that are not run here, and why.
NOT_RUN = {
    "make test-deploy": "runs these tests",
    INSTALL: "downloads; that it is what these tests run in is checked instead",
}
RUNS = [command for command in COMMANDS if command.startswith((RUN, "SEGDIFF_SEED"))]
PACKAGE = [command for command in COMMANDS if command not in NOT_RUN and command not in RUNS]


@pytest.fixture
def session(tmp_path: Path, liver_bundle: Any) -> Path:
    """What the page starts from: `study`, with a segmentation in it, and the trained bundle `my_ct`."""
    shutil.copytree(liver_bundle.root, tmp_path / "my_ct", ignore=shutil.ignore_patterns("eval"))
    write_study(tmp_path / "study", "Liver")
    return tmp_path


def shell(command: str, folder: Path, **variables: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def check(folder: Path, study: Path) -> np.ndarray:
    labels, _ = read_dicom_seg(study / "seg.dcm")
    image = read_dicom_series(folder / "synthetic" / "image")
    again, _ = read_dicom_seg(folder / "synthetic" / "seg" / "seg.dcm")
    np.testing.assert_array_equal(np.asarray(again), np.asarray(labels))
    np.testing.assert_allclose(np.asarray(image.affine), np.asarray(labels.affine), atol=1e-4)
    return np.asarray(image)


def test_every_command_of_the_page_is_run_or_accounted_for() -> None:
    assert [*NOT_RUN, *RUNS, *PACKAGE] == COMMANDS
    assert len(RUNS) == 2  # by test_runs
    assert [command.split()[0] for command in PACKAGE] == ["python", "mkdir", "cp", "monai-deploy"]  # by the last test
    check_install(INSTALL, "deploy")


def test_runs(session: Path) -> None:
    for command in RUNS:
        shell(command, session)
    first, second = (check(session / name, session / "study") for name in ("result", "result_7"))
    assert not np.array_equal(first, second)


def test_a_run_that_fails_says_why_and_exits_with_2(session: Path) -> None:
    (session / "study" / "seg.dcm").unlink()
    command = f"{RUN} -i study -o result -m my_ct || echo code $?"
    said = shell(command, session)
    assert "code 2" in said
    assert said.rstrip().splitlines()[-1].startswith("error: ")
    assert "study holds no DICOM segmentation (SEG)" in said


# Facts of a release that the packager would download; the image is never pulled.
RELEASES = {
    "4.2.0": {
        "holoscan": {
            "debian-version": "4.2.0",
            "wheel-version": "4.2.0",
            "base-images": {"igpu": "base", "dgpu": "base"},
            "build-images": {"igpu": {}, "dgpu": {}, "cpu": {}},
        },
        "health-probes": {},
    }
}


def test_what_would_be_packaged_runs(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the packager does but for Docker; then the application as the image would run it."""
    context = session / "context"

    def stop(self: Any, dockerfile: str, platform: Any) -> PlatformBuildResults:
        shutil.copytree(self._temp_dir, context)
        result = PlatformBuildResults(platform)
        result.succeeded = True
        return result

    install, *before, package = PACKAGE
    shell(install.replace("monai-segdiff", f"--no-build-isolation {ROOT}"), session)
    for command in before:
        shell(command, session)
    (session / "releases.json").write_text(json.dumps(RELEASES))
    words = shlex.split(shell(f"printf '%q ' {package}", session))
    monkeypatch.setattr(BuilderBase, "_build_internal", stop)
    monkeypatch.setattr(sys, "argv", words)  # the packager looks there for its name
    monkeypatch.chdir(session)
    monai_deploy([*words, "--source", str(session / "releases.json")])

    dockerfile = (context / "Dockerfile").read_text()
    assert "pip install monai-deploy-app-sdk==4.0.0" in dockerfile
    assert "holoscan-cu13==4.2.0" in (context / "pip" / "requirements.txt").read_text()
    manifest = json.loads((context / "map" / "app.json").read_text())
    assert json.loads(manifest["command"]) == ["python3", "/opt/holoscan/app"]
    assert manifest["version"] == "0.2.0"
    assert list(json.loads((context / "map" / "pkg.json").read_text())["models"]) == ["my_ct"]

    lib = context / "lib"
    path = ":".join(map(str, [*(folder for folder in lib.rglob("*") if folder.is_dir()), lib]))  # as the image sets it
    where = shell("python -c 'import monai_segdiff; print(monai_segdiff.__file__)'", context, PYTHONPATH=path)
    assert str(lib) in where
    (context / "output").mkdir()
    shell(
        "python app",
        context,
        PYTHONPATH=path,
        HOLOSCAN_INPUT_PATH=str(session / "study"),
        HOLOSCAN_OUTPUT_PATH=str(context / "output"),
        HOLOSCAN_MODEL_PATH=str(context / "models"),
        HOLOSCAN_CONFIG_PATH=str(context / "app.config"),
    )
    check(context / "output", session / "study")

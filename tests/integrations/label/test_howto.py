"""The session of docs/monai_label.md, command by command, against the real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import requests
from packaging.requirements import Requirement

from monai_segdiff.data import read_dataset

from ..page import check_install, page_commands
from .server import PATIENCE, free_port, pixels, wait_until

COMMANDS = page_commands("monai_label.md")
MINUTES = 5  # for all of it, but for the installation
INSTALL = 'PIP_CONSTRAINT="$PWD/torch.txt" SAM2_BUILD_CUDA=0 python -m pip install "monai-segdiff[label]"'
#: Commands that are not run here, and why.
NOT_RUN = {
    "make test-label": "runs these tests",
    INSTALL: "downloads, and builds for minutes; that it is what these tests run in is checked instead",
}


class Shell:
    """The user's terminal, and another in which one server after the other runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self.address = f"127.0.0.1:{free_port()}"
        self.server: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
            "OMP_NUM_THREADS": "1",
        }

    def enter(self, command: str) -> str:
        """Run a command of the page; returns what it prints."""
        if command.startswith("export "):  # for all that follow
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value
            return ""
        if command.startswith("monailabel start_server "):
            self.start(command)
            return ""
        command = command.replace("127.0.0.1:8000", self.address)
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{self.said()}"
        if "/train/my_ct" in command:
            self.wait_for_training()
        return done.stdout

    def start(self, command: str) -> None:
        self.stop()
        with open(self.log, "ab") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec {command} --port {self.address.partition(':')[2]}"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        assert wait_until(self._answers, every=0.2), self.said()

    def _answers(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.said()
        try:
            requests.get(f"http://{self.address}/info/", timeout=PATIENCE).raise_for_status()
        except (requests.ConnectionError, requests.Timeout):
            return False
        return True

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(PATIENCE)

    def said(self) -> str:
        return self.log.read_text()[-3000:] if self.log.is_file() else ""

    def wait_for_training(self) -> None:
        def task() -> dict[str, Any]:
            return dict(requests.get(f"http://{self.address}/train/", timeout=PATIENCE).json())

        assert wait_until(lambda: task()["status"] not in ("SUBMITTED", "RUNNING"), every=0.2)
        assert task()["status"] == "DONE", "\n".join(task()["details"])


@pytest.fixture
def shell(trained_bundle: Any, tmp_path: Path) -> Iterator[Shell]:
    """In a folder with what the page starts from: a trained bundle `my_ct`, and studies of five patients."""
    shutil.copytree(trained_bundle.root, tmp_path / "my_ct", ignore=shutil.ignore_patterns("phantoms*", "eval"))
    final = tmp_path / "studies" / "labels" / "final"
    final.mkdir(parents=True)
    cases = {c.patient: c for cases in read_dataset(trained_bundle.phantoms).splits.values() for c in cases}
    for number, case in enumerate(list(cases.values())[:5], start=1):
        shutil.copy(case.image, tmp_path / "studies" / f"p{number:03d}.nii.gz")
        shutil.copy(case.label, final / f"p{number:03d}.nii.gz")
    shell = Shell(tmp_path)
    yield shell
    shell.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl: install it to run its commands")
def test_the_session_of_the_page(shell: Shell) -> None:
    began = time.monotonic()
    answers = {command: shell.enter(command) for command in COMMANDS if command not in NOT_RUN}
    took = time.monotonic() - began
    print(f"the session took {took:.0f} s")

    def answer(part: str) -> Any:
        (found,) = (json.loads(text) for command, text in answers.items() if part in f"{command} ")
        return found

    torch = Requirement((shell.folder / "torch.txt").read_text().strip())
    assert torch.name == "torch"
    assert torch.specifier.contains(metadata.version("torch"))
    files = {name: (shell.folder / f"{name}.nii.gz").read_bytes() for name in ("image", "sent", "stock")}
    assert {pixels(content).squeeze().shape for content in files.values()} == {(16, 16)}
    assert files["sent"] != files["image"]
    assert len(answer("/batch/infer")["made"]) == 10
    assert len(answer("output=all")["objects"]) == 15
    dice = answer("/train/segmenter")["dice"]
    assert 0 < dice["real"] <= 1
    assert 0 < dice["both"] <= 1
    assert answer("/train/ ")["status"] == "DONE"
    assert took < 60 * MINUTES


def test_every_command_of_the_page_is_run_or_accounted_for() -> None:
    assert [command for command in COMMANDS if command in NOT_RUN] == list(NOT_RUN)
    check_install(INSTALL, "label")

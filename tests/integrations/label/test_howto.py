"""The session of docs/monai_label.md, command by command, against the real server."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from monai_segdiff.data import read_dataset

PAGE = Path(__file__).parents[3] / "docs" / "monai_label.md"
MINUTES = 5


def _commands() -> list[str]:
    text = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture
def session(trained_bundle: Any, tmp_path: Path) -> Path:
    """What the page starts from: a trained bundle `my_ct`, and studies of ten patients called p001 and so on."""
    shutil.copytree(trained_bundle.root, tmp_path / "my_ct", ignore=shutil.ignore_patterns("phantoms*", "eval"))
    final = tmp_path / "studies" / "labels" / "final"
    final.mkdir(parents=True)
    cases = {c.patient: c for cases in read_dataset(trained_bundle.phantoms).splits.values() for c in cases}
    for number, case in enumerate(list(cases.values())[:5], start=1):
        shutil.copy(case.image, tmp_path / "studies" / f"p{number:03d}.nii.gz")
        shutil.copy(case.label, final / f"p{number:03d}.nii.gz")
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl: install it to run its commands")
def test_the_session_of_the_page(session: Path) -> None:
    commands = _commands()
    port = "18743"
    start = next(command for command in commands if command.startswith("monailabel start_server --app label_app"))
    bin_folder = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "MONAI_LABEL_SESSION_PATH": str(session / "sessions"),
        "OMP_NUM_THREADS": "1",
    }
    began = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = used.ru_utime + used.ru_stime

    def shell(line: str) -> str:
        done = subprocess.run(["bash", "-c", line], cwd=session, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    shell(next(command for command in commands if "label-app" in command))
    assert next(command for command in commands if command.startswith("export")) == "export PYTHONPATH=label_app/compat"
    environment["PYTHONPATH"] = str(session / "label_app" / "compat")
    with open(session / "server.log", "wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {start} --port {port}"], cwd=session, env=environment, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _until_it_answers(url, server, session / "server.log")
        answers = {}
        for command in commands:
            if command.startswith("curl"):
                answers[command] = shell(command.replace(":8000", f":{port}"))
                if "/train/my_ct" in command:
                    _until_done(url)
        took = time.monotonic() - began
    finally:
        server.terminate()
        server.wait(60)
    # One thread at a time does all of it, so this is what it takes on a machine without other work.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = used.ru_utime + used.ru_stime - before
    assert (session / "image.nii.gz").stat().st_size > 300
    assert (session / "sent.nii.gz").read_bytes() != (session / "image.nii.gz").read_bytes()
    batch = json.loads(next(answer for command, answer in answers.items() if "/batch/infer" in command))
    assert len(batch["made"]) == 10
    listed = json.loads(next(answer for command, answer in answers.items() if "output=all" in command))["objects"]
    assert len(listed) == 15
    dice = json.loads(next(answer for command, answer in answers.items() if "/train/segmenter" in command))["dice"]
    assert 0 < dice["real"] <= 1
    assert 0 < dice["both"] <= 1
    assert json.loads(list(answers.values())[-1])["status"] == "DONE"
    print(f"the session took {took:.0f} s, {busy:.0f} s of a processor's time")
    assert busy < 60 * MINUTES


def _until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        try:
            requests.get(f"{url}/info/", timeout=30)
            return
        except requests.ConnectionError:
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.2)


def _until_done(url: str) -> None:
    while (task := requests.get(f"{url}/train/", timeout=30).json())["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(0.2)
    assert task["status"] == "DONE", "\n".join(task["details"])

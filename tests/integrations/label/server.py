"""A MONAI Label server in a process of its own, and a client."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import requests

PATIENCE = 900.0  # of a machine with other work


class Server:
    def __init__(self, app: Path, studies: Path, conf: Mapping[str, Any], *options: str) -> None:
        self.app, self.studies, self.conf, self.options = app, studies, conf, options
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def log(self) -> Path:
        return self.app / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(self.app)]
        command += ["--studies", str(self.studies), "--port", str(self.port), *self.options]
        for name, value in self.conf.items():
            command += ["--conf", name, str(value)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(self.app / "compat")])),
            "MONAI_LABEL_SESSION_PATH": str(self.app / "sessions"),
            "MONAI_LABEL_TRACKING_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
        }
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._wait()
        return self

    def _wait(self) -> None:
        assert self.process is not None
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log.read_text()[-3000:]}")
            try:
                if requests.get(f"{self.url}/info/", timeout=30).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise RuntimeError(f"the server does not answer: {self.log.read_text()[-3000:]}")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def megabytes(self) -> float:
        """Memory that is resident."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def get(self, path: str, **query: Any) -> Any:
        answer = requests.get(self.url + path, params=query, timeout=300)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        answer = requests.post(self.url + path, json=body, params=query, timeout=600)
        assert answer.ok, answer.text
        return answer.json()

    def infer(
        self, model: str, *, files: Mapping[str, Any] | None = None, output: str = "image", **query: Any
    ) -> requests.Response:
        """POST /infer with parameters in `params` and a study in `image`."""
        params = query.pop("params", {})
        form = {"params": params if isinstance(params, str) else json.dumps(params)}
        query = {key: value for key, value in {**query, "output": output}.items() if value}
        return requests.post(f"{self.url}/infer/{model}", params=query, data=form, files=files, timeout=300)

    def finished(self, what: str) -> dict[str, Any]:
        """Wait for a background task."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            task = self.get(what)
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task
            time.sleep(0.5)
        raise RuntimeError(f"{what} does not end")


def pixels(content: bytes) -> np.ndarray:
    """Voxels of a compressed NIfTI file."""
    import gzip

    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)


def nifti(array: np.ndarray) -> io.BytesIO:
    """A compressed NIfTI file."""
    import gzip

    return io.BytesIO(gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes()))

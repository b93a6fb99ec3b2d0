"""A MONAI Label server in a process of its own, and a client."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import requests

PATIENCE = 900.0  # of a machine with other work


class Server:
    def __init__(
        self, app: Path, studies: Path, conf: Mapping[str, Any], *options: str, environment: Mapping[str, str] = {}
    ) -> None:
        self.app, self.studies, self.conf, self.options = app, studies, conf, options
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def log(self) -> Path:
        return self.app / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.environment.get('MONAI_LABEL_API_STR', '')}"

    @property
    def temporary(self) -> Path:
        """Its folder for temporary files."""
        return self.app / "tmp"

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
            "TMPDIR": str(self.temporary),
            **self.environment,
        }
        self.temporary.mkdir(exist_ok=True)
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
        """Memory that is resident, with that of the tasks it started."""
        return sum(resident(process) for process in [psutil.Process(self._pid), *self.tasks])

    @property
    def tasks(self) -> list[psutil.Process]:
        """Processes that it started."""
        return psutil.Process(self._pid).children(recursive=True)

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def leaves(self, before: set[Path]) -> set[Path]:
        """Temporary files that stay; those of a request go when its answer has been sent."""
        until = time.monotonic() + 10
        while (found := set(self.temporary.rglob("*")) - before) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def raw(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> tuple[int, str]:
        """A request as it is written here: no path is mended, and headers may come twice."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host="Host" in dict(headers), skip_accept_encoding=True)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

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


def resident(process: psutil.Process) -> float:
    """Memory of a process in megabytes; none once it has ended."""
    try:
        return process.memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def pixels(content: bytes) -> np.ndarray:
    """Voxels of a compressed NIfTI file."""
    import gzip

    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)


def nifti(array: np.ndarray) -> io.BytesIO:
    """A compressed NIfTI file."""
    import gzip

    return io.BytesIO(gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes()))

"""A MONAI Label server in a process of its own, and a client."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import requests

PATIENCE = 900.0  # seconds, of a machine with other work


def wait_until(happened: Callable[[], object], every: float = 0.1) -> bool:
    """Whether something happens while patience lasts."""
    until = time.monotonic() + PATIENCE
    while not (found := happened()) and time.monotonic() < until:
        time.sleep(every)
    return bool(found)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [child.pid for child in psutil.Process(pid).children()]


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
        for _ in range(2):  # another process may take the port before the server does
            try:
                return self._start()
            except RuntimeError as error:
                if "address already in use" not in str(error):
                    raise
        return self._start()

    def _start(self) -> Server:
        self.port = free_port()
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
        if not wait_until(lambda: self._answers() or not self._lives, every=0.2):
            raise RuntimeError(f"the server does not answer: {self.log.read_text()[-3000:]}")
        if not self._lives:
            raise RuntimeError(f"the server ended: {self.log.read_text()[-3000:]}")
        return self

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/info/", timeout=PATIENCE).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    @property
    def _lives(self) -> bool:
        assert self.process is not None
        return self.process.poll() is None

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
        """Memory of its own, with that of the tasks it started."""
        return sum(own_megabytes(pid) for pid in [self._pid, *(task.pid for task in self.tasks)])

    @property
    def tasks(self) -> list[psutil.Process]:
        """Processes that it started, and theirs."""
        return psutil.Process(self._pid).children(recursive=True)

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def leaves(self, before: set[Path]) -> set[Path]:
        """Temporary files that stay; those of a request go when its answer has been sent."""
        wait_until(lambda: not self.temporary_files - before)
        return self.temporary_files - before

    @property
    def temporary_files(self) -> set[Path]:
        """All that is in its folder for temporary files; what goes meanwhile is no error."""
        walk = os.walk(self.temporary)
        return {Path(root, name) for root, folders, files in walk for name in (*folders, *files)}

    def raw(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> tuple[int, str]:
        """A request as it is written here: no path is mended, and headers may come twice."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.putrequest(method, path, skip_host="Host" in dict(headers), skip_accept_encoding=True)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def get(self, path: str, **query: Any) -> Any:
        answer = requests.get(self.url + path, params=query, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        answer = requests.post(self.url + path, json=body, params=query, timeout=PATIENCE)
        assert answer.ok, answer.text
        return answer.json()

    def infer(
        self, model: str, *, files: Mapping[str, Any] | None = None, output: str = "image", **query: Any
    ) -> requests.Response:
        """POST /infer with parameters in `params` and a study in `image`."""
        params = query.pop("params", {})
        form = {"params": params if isinstance(params, str) else json.dumps(params)}
        query = {key: value for key, value in {**query, "output": output}.items() if value}
        return requests.post(f"{self.url}/infer/{model}", params=query, data=form, files=files, timeout=PATIENCE)

    def finished(self, what: str) -> dict[str, Any]:
        """Wait for a background task."""
        if not wait_until(lambda: self.get(what)["status"] not in ("SUBMITTED", "RUNNING"), every=0.5):
            raise RuntimeError(f"{what} does not end")
        return dict(self.get(what))


def own_megabytes(pid: int) -> float:
    """Memory of a process's own, none once it has ended.

    Without the files that it maps, of which the system keeps in memory as much as it likes.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(kilobytes) for kilobytes in re.findall(r"^(?:RssAnon|VmSwap):\s+(\d+) kB", status, re.M)) / 2**10


def pixels(content: bytes) -> np.ndarray:
    """Voxels of a compressed NIfTI file."""
    import gzip

    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)


def nifti(array: np.ndarray) -> io.BytesIO:
    """A compressed NIfTI file."""
    import gzip

    return io.BytesIO(gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes()))

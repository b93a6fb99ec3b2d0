"""Many clients at once, good and bad requests mixed, while batches run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from .server import Server, nifti, own_megabytes, pixels, wait_until

REQUESTS, CLIENTS, SEEDS, PAIRS = 90, 4, 3, 4


class Clients:
    """What clients ask, and what is wrong with the answers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.studies = sorted(server.get("/datastore/", output="all")["objects"])
        self.labels = {
            study: (server.studies / "labels" / "final" / f"{study}.nii.gz").read_bytes() for study in self.studies
        }
        self.expected = {
            (study, seed): pixels(server.infer("ct_organ", image=study, params={"seed": seed}).content)
            for study in self.studies
            for seed in range(SEEDS)
        }

    def ask(self, jobs: list[tuple[int, int, int, int]]) -> list[str]:
        with ThreadPoolExecutor(CLIENTS) as clients:
            return [wrong for wrong in clients.map(self._one, jobs) if wrong is not None]

    def _one(self, job: tuple[int, int, int, int]) -> str | None:
        kind, which, seed, number = job
        study = self.studies[which]
        kinds = [self._image, self._image_of_a_file, self._image_of_a_session, self._draw, self._look, self._add]
        if kind < len(kinds):
            wrong = kinds[kind](study, seed, number)
        else:
            answer = self._bad(study, number)
            wrong = None if 400 <= answer.status_code < 500 and answer.json()["detail"] else f"{answer.status_code}"
        return wrong and f"{job}: {wrong}"

    def _same(self, answer: requests.Response, study: str, seed: int) -> str | None:
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text}"
        return None if np.array_equal(pixels(answer.content), self.expected[study, seed]) else "another image"

    def _image(self, study: str, seed: int, number: int) -> str | None:
        return self._same(self.server.infer("ct_organ", image=study, params={"seed": seed}), study, seed)

    def _image_of_a_file(self, study: str, seed: int, number: int) -> str | None:
        files = {"file": ("m.nii.gz", self.labels[study])}
        return self._same(self.server.infer("ct_organ", files=files, params={"seed": seed}), study, seed)

    def _image_of_a_session(self, study: str, seed: int, number: int) -> str | None:
        url, files = f"{self.server.url}/session/", {"files": ("m.nii.gz", self.labels[study])}
        name = requests.put(url, files=files, timeout=900).json()["session_id"]
        answer = self.server.infer("ct_organ", session_id=name, params={"seed": seed})
        assert requests.delete(url + name, timeout=900).ok
        return self._same(answer, study, seed)

    def _draw(self, study: str, seed: int, number: int) -> str | None:
        files = {"label": ("m.nii.gz", self.labels[study])}
        query = {"image": study, "tag": "final"}
        answer = requests.put(f"{self.server.url}/datastore/label", params=query, files=files, timeout=900)
        if not answer.ok:
            return answer.text
        query = {"label": study, "tag": "final"}
        found = requests.get(f"{self.server.url}/datastore/label", params=query, timeout=900)
        return None if found.content == self.labels[study] else "another label map"

    def _look(self, study: str, seed: int, number: int) -> str | None:
        objects = self.server.get("/datastore/", output="all")["objects"]
        info = self.server.get("/datastore/image/info", image=study)
        self.server.post("/activelearning/random", {"client_id": f"client-{number}"})
        return None if set(self.studies) <= set(objects) and info["name"] and self.server.get("/info/") else "no study"

    def _add(self, study: str, seed: int, number: int) -> str | None:
        url, query = f"{self.server.url}/datastore/image", {"image": f"added_{number}"}
        added = requests.put(url, params=query, files={"file": ("a.nii.gz", self.labels[study])}, timeout=900)
        if not added.ok:
            return added.text
        found = requests.get(url, params=query, timeout=900)
        removed = requests.delete(url, params={"id": f"added_{number}"}, timeout=900)
        return None if found.ok and removed.ok else f"{found.status_code} {removed.status_code} {removed.text}"

    def _bad(self, study: str, number: int) -> requests.Response:
        noise = np.random.default_rng(number).integers(0, 255, 2000, np.uint8).tobytes()
        server, url = self.server, self.server.url
        bad: list[Callable[[], requests.Response]] = [
            lambda: server.infer("ct_organ", files={"file": ("m.nii.gz", noise)}),
            lambda: server.infer("ct_organ", image=study, params=noise[:20].hex()),
            lambda: server.infer("ct_organ", files={"file": ("m.nii.gz", nifti(np.full((16, 16), 77, np.uint8)))}),
            lambda: server.infer("ct_organ", image=f"../{study}"),
            lambda: requests.post(f"{url}/train/segmenter", data=noise, timeout=900),
            lambda: requests.put(f"{url}/datastore/image?image=bad", files={"file": ("a.py", noise)}, timeout=900),
            lambda: requests.put(f"{url}/datastore/label?image=no", files={"label": ("a.nii", noise)}, timeout=900),
            lambda: requests.delete(f"{url}/datastore/image?id=nobody", timeout=900),
            lambda: requests.post(f"{url}/reload", timeout=900),
        ]
        return bad[number % len(bad)]()


@contextmanager
def peak_of_tasks(server: Server, every: float = 0.05) -> Iterator[Callable[[], float]]:
    """Most megabytes that a task process holds from now on until the end, however long a client waits meanwhile."""
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            peak[0] = max([peak[0], *(own_megabytes(task.pid) for task in server.tasks if _has_begun(task))])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak[0]
    finally:
        ended.set()
        watcher.join()


def _has_begun(task: psutil.Process) -> bool:
    """Whether it is a program of its own by now: until then its memory is the server's."""
    try:
        return "monailabel.interfaces.utils.app" in task.cmdline()
    except psutil.NoSuchProcess:
        return False


def test_clients_get_what_is_theirs_while_batches_run(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    server = serve(make_studies(3))
    clients = Clients(server)
    before = server.temporary_files
    rng = np.random.default_rng(0)
    jobs = [
        (int(rng.integers(9)), int(rng.integers(len(clients.studies))), int(rng.integers(SEEDS)), number)
        for number in range(REQUESTS)
    ]
    at_rest: list[float] = []
    peaks: list[float] = []
    grows = True
    for seed in (100, 200, 300):  # what the first round keeps is no leak; a leak grows in each that follows
        with peak_of_tasks(server) as peak:
            server.post("/batch/infer/ct_organ", {"number": PAIRS, "seed": seed, "gpus": 1, "images": clients.studies})
            assert clients.ask(jobs) == []
            assert server.finished("/batch/infer")["status"] == "DONE"
        assert server.tasks == []
        at_rest.append(server.megabytes)
        peaks.append(peak())
        grows = len(peaks) == 1 or at_rest[-1] > at_rest[-2] + 20 or peaks[-1] > peaks[-2] + 100
        if not grows:
            break
    print(f"megabytes at rest {at_rest}, of tasks {peaks}")
    assert min(peaks) > 0
    assert not grows, f"memory of the server or of its batches grows: {at_rest}, {peaks}"
    total = len(clients.studies) * (1 + len(peaks) * PAIRS)
    assert wait_until(lambda: server.get("/info/")["datastore"]["total"] == total)
    assert server.leaves(before) == set()
    assert server.process.poll() is None

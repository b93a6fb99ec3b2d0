"""Many clients at once, good and bad requests mixed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from .server import nifti, pixels

REQUESTS, CLIENTS, SEEDS = 100, 4, 5


def test_a_hundred_requests_of_four_clients(serve: Callable[..., Any], make_studies: Callable[..., Path]) -> None:
    server = serve(make_studies(3))
    studies = sorted(server.get("/datastore/", output="all")["objects"])
    expected = {
        (study, seed): pixels(server.infer("ct_organ", image=study, params={"seed": seed}).content)
        for study in studies
        for seed in range(SEEDS)
    }
    rng = np.random.default_rng(0)
    jobs = [
        (int(rng.integers(8)), int(rng.integers(len(studies))), int(rng.integers(SEEDS)), i) for i in range(REQUESTS)
    ]

    def one(job: tuple[int, int, int, int]) -> str | None:
        """What is wrong with an answer, if anything."""
        kind, which, seed, number = job
        study = studies[which]
        if kind < 4:  # good ones, half of them with a label map that is sent
            files, query = None, {"image": study}
            if kind >= 2:
                files, query = (
                    {"file": ("m.nii.gz", (server.studies / "labels" / "final" / f"{study}.nii.gz").read_bytes())},
                    {},
                )
            answer = server.infer("ct_organ", files=files, params={"seed": seed}, **query)
            if answer.status_code != 200:
                return f"{job}: {answer.status_code} {answer.text}"
            return None if np.array_equal(pixels(answer.content), expected[study, seed]) else f"{job}: another image"
        noise = np.random.default_rng(number).integers(0, 255, 2000, np.uint8).tobytes()
        bad: list[Callable[[], requests.Response]] = [
            lambda: server.infer("ct_organ", files={"file": ("m.nii.gz", noise)}),
            lambda: server.infer("ct_organ", image=study, params=noise[:20].hex()),
            lambda: server.infer("ct_organ", files={"file": ("m.nii.gz", nifti(np.zeros((16, 17), np.uint8)))}),
            lambda: server.infer("ct_organ", image=f"../{study}", params={"seed": seed}),
        ]
        answer = bad[kind - 4]()
        return None if 400 <= answer.status_code < 500 and answer.json()["detail"] else f"{job}: {answer.status_code}"

    def all_at_once() -> list[str]:
        with ThreadPoolExecutor(CLIENTS) as clients:
            return [wrong for wrong in clients.map(one, jobs) if wrong is not None]

    assert all_at_once() == []
    first = server.megabytes
    assert all_at_once() == []
    assert server.megabytes < first + 20, "memory grows"
    assert server.get("/info/")["datastore"]["total"] == len(studies)
    assert server.process.poll() is None

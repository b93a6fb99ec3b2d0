"""What a reader's workplace does: an archive (Orthanc), MONAI Label before it, and OHIF in a browser.

Run in a network namespace of its own, as Orthanc listens on every network:
``python -m tests.integrations.label.orthanc_session ARCHIVE SERIES BUNDLE FOLDER``; writes ``FOLDER/answers.json``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from monai_segdiff.integrations import make_label_app

from .server import PATIENCE, Server, pixels, wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = "http://127.0.0.1:8042"


def main() -> None:
    archive, series, bundle, folder = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
    with open(folder / "orthanc.log", "wb") as log:
        orthanc = subprocess.Popen(["Orthanc", str(_configuration(folder))], stdout=log, stderr=log)
        server = Server(make_label_app(folder / "label_app"), f"{ORTHANC}/dicom-web", {"bundle": bundle})
        try:
            _fill(archive)
            server.start()
            answers = _ask(server, series)
            answers["page"] = _page(f"{server.url}/ohif/", folder)
            (folder / "answers.json").write_text(json.dumps(answers))
        finally:
            server.stop()
            orthanc.terminate()
            try:
                orthanc.wait(60)
            except subprocess.TimeoutExpired:
                orthanc.kill()
                orthanc.wait()


def _configuration(folder: Path) -> Path:
    file = folder / "orthanc.json"
    file.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "HttpPort": int(ORTHANC.rpartition(":")[2]),
                "DicomServerEnabled": False,
                "Plugins": [str(PLUGIN)],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )
    return file


def _fill(archive: Path) -> None:
    if not wait_until(_archive_answers):
        raise RuntimeError("the archive does not answer")
    for file in sorted(archive.rglob("*.dcm")):
        requests.post(f"{ORTHANC}/instances", data=file.read_bytes(), timeout=PATIENCE).raise_for_status()


def _archive_answers() -> bool:
    try:
        return requests.get(f"{ORTHANC}/system", timeout=PATIENCE).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def _ask(server: Server, series: str) -> dict[str, Any]:
    answer = server.infer("ct_organ", image=series, params={"seed": 3})
    image = pixels(answer.content) if answer.ok else None
    other = server.infer("ct_organ", image="1.2.3")
    return {
        "status": answer.status_code,
        "text": "" if answer.ok else answer.text,
        "image": None if image is None else image.tolist(),
        "unknown": other.status_code,
    }


def _page(url: str, folder: Path) -> str | None:
    """What OHIF shows once it has asked for the studies; None where there is no browser."""
    browser = shutil.which("chromium")
    if browser is None:
        return None
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}"]
    command += ["--virtual-time-budget=60000", "--dump-dom", url]
    pages = []

    def shows_the_study() -> bool:  # on a slow machine the browser's time is over before the list is drawn
        with suppress(subprocess.TimeoutExpired):
            pages.append(subprocess.run(command, capture_output=True, text=True, timeout=300).stdout)
        return any("CT\\SEG" in page for page in pages)

    wait_until(shows_the_study)
    return pages[-1] if pages else ""


if __name__ == "__main__":
    main()

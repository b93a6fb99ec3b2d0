"""An archive's own studies: Orthanc, MONAI Label before it, and OHIF in a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .orthanc_session import PLUGIN
from .server import pixels

ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def _missing() -> str | None:
    if shutil.which("Orthanc") is None or not PLUGIN.is_file():
        return "needs an archive: apt-get install orthanc orthanc-dicomweb (and chromium, to look at OHIF)"
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        return "needs a network namespace of its own (unshare --map-root-user --net), which this machine does not give"
    return None


@pytest.mark.skipif(_missing() is not None, reason=str(_missing()))
def test_a_series_of_an_archive_gives_an_image_and_a_browser_shows_its_study(
    archive: tuple[Path, Any, str],
    serve: Callable[..., Any],
    trained_bundle: Any,
    tmp_path: Path,
) -> None:
    folder, _, series = archive
    (tmp_path / "session").mkdir()
    session = [sys.executable, "-m", "tests.integrations.label.orthanc_session"]
    session += [str(folder), series, str(trained_bundle.root), str(tmp_path / "session")]
    # The server keeps what it has fetched under the archive's address, from one run to the next.
    environment = {**os.environ, "MONAI_LABEL_DATASTORE_CACHE_PATH": str(tmp_path / "session" / "cache")}
    done = subprocess.run([*ALONE, *session], env=environment, capture_output=True, text=True, timeout=3600)
    log = tmp_path / "session" / "label_app" / "server.log"
    assert done.returncode == 0, done.stderr[-3000:] + (log.read_text()[-3000:] if log.is_file() else "")
    answers = json.loads((tmp_path / "session" / "answers.json").read_text())
    assert answers["status"] == 200, answers["text"] + log.read_text()[-3000:]
    assert answers["unknown"] == 404
    # The same series without an archive gives the same image.
    alone = serve(tmp_path / "cache", dicom_folder=folder).infer("ct_organ", image=series, params={"seed": 3})
    np.testing.assert_array_equal(np.array(answers["image"]), pixels(alone.content))
    if answers["page"] is not None:  # there is a browser
        assert "Study List" in answers["page"]
        assert "CT\\SEG" in answers["page"]  # the study's modalities, as OHIF has them from the server

"""The client that 3D Slicer's module uses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monailabel.client.client import MONAILabelClient

from .server import pixels


@pytest.fixture
def client(server: Any, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="user-xyz")


def test_images_are_asked_for_in_every_way(server: Any, client: MONAILabelClient, study: str) -> None:
    label = str(server.studies / "labels" / "final" / f"{study}.nii.gz")
    config = client.info()["models"]["ct_organ"]["config"]
    session = client.create_session(label)["session_id"]
    assert client.get_session(session)
    expected = pixels(server.infer("ct_organ", image=study).content)
    for query in (
        {"image_id": study},
        {"image_id": study, "label_in": label},
        {"image_id": "", "file": label},
        {"image_id": "", "session_id": session},
    ):
        image, params = client.infer("ct_organ", params={**config, "result_extension": ".nrrd"}, **query)
        assert params["synthetic"] is True
        np.testing.assert_array_equal(np.asarray(nib.load(image).dataobj), expected)
    assert client.remove_session(session)


def test_a_study_is_added_drawn_and_fetched(server: Any, client: MONAILabelClient, study: str, tmp_path: Path) -> None:
    image, label = (
        Path(shutil.copy(server.studies / part / f"{study}.nii.gz", tmp_path / name))
        for part, name in ((".", "Volume.nii.gz"), ("labels/final", "Segmentation.nii.gz"))
    )
    assert client.upload_image(str(image), "drawn")["image"] == "drawn"
    try:
        assert client.next_sample("random", {})["id"] == "drawn"
        assert client.save_label("drawn", str(label), params={"label_info": [{"name": "liver"}]})["label"] == "drawn"
        assert client.datastore()["objects"]["drawn"]["labels"]["final"]["info"]["label_info"] == [{"name": "liver"}]
        assert Path(client.download_label("drawn", "final")).read_bytes() == label.read_bytes()
    finally:
        import requests

        requests.delete(f"{server.url}/datastore/image", params={"id": "drawn"}, timeout=60).raise_for_status()


def test_trainings_are_asked_for(client: MONAILabelClient) -> None:
    assert client.train_status(check_if_running=True) is False
    assert client.train_stop() is None
    assert client.auth_enabled() is False

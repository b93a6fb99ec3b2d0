from __future__ import annotations

import pytest

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.routes import Router

SERVED = [
    ("GET", "/info/", {}),
    ("GET", "/info", {}),
    ("POST", "/infer/ct_organ", {"model": "ct_organ"}),
    ("POST", "/batch/infer/ct_organ", {"model": "ct_organ"}),
    ("DELETE", "/train/", {}),
    ("GET", "/session/0a-1", {"session_id": "0a-1"}),
    ("POST", "/proxy/dicom/wado/studies/1.2/series", {"path": "wado/studies/1.2/series"}),
    ("HEAD", "/static/a/b.css", {"path": "a/b.css"}),
    ("GET", "/ohif/", {"path": ""}),
    ("GET", "/ohif/a\nb", {"path": "a\nb"}),
]
REFUSED = [
    ("POST", "/train/", "POST /train/{model}"),
    ("POST", "/train", "POST /train/{model}"),
    ("POST", "/scoring/dice", "/activelearning"),
    ("POST", "/reload", "/info"),
    ("GET", "/datastore/dataset", "GET /datastore/image"),
    ("POST", "/infer/wsi/ct_organ", "POST /infer/{model}"),
    ("POST", "/infer/ct_organ/", "POST /infer/{model}"),
    ("POST", "//infer/ct_organ", "is not served"),
    ("POST", "/infer/ct_organ\n", "without blanks"),
    ("PATCH", "/info/", "GET /info/"),
    ("get", "/info/", "GET /info/"),
    ("GET", "/static/../main.py", "plain names"),
    ("GET", "/ohif/a\x00b", "plain names"),
    ("GET", "", "is not served"),
    ("GET", "/model/ct_organ", "is not served"),
    ("PUT", "/model/ct_organ", "weights"),
    ("GET", "/logs/gpu", "GET /logs/"),
]


@pytest.mark.parametrize(("method", "path", "parts"), SERVED)
def test_what_viewers_ask_for_is_served(method: str, path: str, parts: dict[str, str]) -> None:
    assert Router().find(method, path)[1] == parts


@pytest.mark.parametrize(("method", "path", "message"), REFUSED)
def test_all_else_is_refused_with_what_there_is(method: str, path: str, message: str) -> None:
    with pytest.raises(RequestError, match=message.replace("{", r"\{")) as refusal:
        Router().find(method, path)
    assert refusal.value.status in (400, 403, 404)


def test_a_prefix_belongs_to_every_path_but_those_of_pages() -> None:
    router = Router("/api/v1/")
    assert router.find("POST", "/api/v1/infer/a")[0].task == "infer"
    assert router.find("GET", "/docs")[0].page
    for method, path in (("POST", "/infer/a"), ("GET", "/api/v1/docs"), ("POST", "/api/v1/train/")):
        with pytest.raises(RequestError, match=r"is not served: there are (GET )?/api/v1/"):
            router.find(method, path)

"""What the real server refuses, and that nothing is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from ..server import nifti, pixels

MASK = np.zeros((16, 16), np.uint8)
JSON = ("Content-Type", "application/json")

NOT_SERVED = [
    ("POST", "/train/"),
    ("POST", "/train%2F"),
    ("POST", "/%74rain/"),
    ("POST", "/scoring/x"),
    ("POST", "/scoring%2Fx"),
    ("POST", "//batch/infer/ct_organ"),
    ("POST", "/infer/wsi/ct_organ"),
    ("POST", "/infer/wsi_v2/ct_organ"),
    ("POST", "/infer/%2e%2e/train/"),
    ("POST", "/reload"),
    ("POST", "/%72eload"),
    ("GET", "/datastore/dataset"),
    ("GET", "/model/ct_organ"),
    ("GET", "/session/..%2F..%2Fetc"),
    ("GET", "/static/..%2f..%2fapp.py"),
    ("OPTIONS", "/info/"),
]


@pytest.mark.parametrize(("method", "path"), NOT_SERVED)
def test_what_no_viewer_needs_is_not_served(server: Any, method: str, path: str) -> None:
    status, text = server.raw(method, path, b'{"bundle_path": "/tmp"}' if method == "POST" else b"", [JSON])
    assert status == 404, text
    assert "is not served" in text or "plain names" in text


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/favicon.ico", "/logs/", "/ohif/", "/info", "/%69nfo/"]
)
def test_pages_are_served(server: Any, path: str) -> None:
    assert requests.get(server.url + path, timeout=900).status_code == 200 or path == "/ohif/"


def test_no_weights_come_over_the_network(server: Any) -> None:
    answer = requests.put(f"{server.url}/model/ct_organ", files={"file": ("model.pt", b"cos\nsystem\n")}, timeout=900)
    assert answer.status_code == 403
    assert requests.delete(f"{server.url}/model/ct_organ", timeout=900).status_code == 403


@pytest.mark.parametrize(
    ("query", "names"),
    [({"uncompress": "true"}, ["a.tar"]), ({}, ["argparse.py"]), ({}, ["a.nii.gz", "argparse.py"]), ({}, ["..", "a"])],
)
def test_a_session_holds_one_label_map(server: Any, query: dict[str, str], names: list[str]) -> None:
    files = [("files", (name, b"x")) for name in names]
    assert requests.put(f"{server.url}/session/", params=query, files=files, timeout=900).status_code == 400


HEADERS: list[tuple[list[tuple[str, str]], int, str]] = [
    (
        [JSON, ("Content-Type", "application/x-www-form-urlencoded")],
        400,
        "content-type is repeated: send it once",
    ),
    ([("Content-Type", "application/x-www-form-urlencoded")], 400, "not sent as JSON"),
    ([("Content-Type", "multipart/form-data; boundary=x")], 400, "not sent as JSON"),
    ([JSON, ("Host", "evil.example")], 403, "refused: use 127.0.0.1"),
    ([JSON, ("Origin", "http://evil.example")], 403, "refused: allow it with --conf origins"),
    ([JSON, ("Origin", "null")], 403, "refused: allow it with --conf origins"),
]


@pytest.mark.parametrize(("headers", "status", "message"), HEADERS)
def test_headers_are_no_way_around(server: Any, headers: list[tuple[str, str]], status: int, message: str) -> None:
    found, text = server.raw("POST", "/train/segmenter", b'{"label": "/etc/passwd"}', headers)
    assert found == status, text
    assert message in text


def test_other_pages_are_told_nothing_and_own_ones_what_they_ask(server: Any) -> None:
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    assert requests.options(f"{server.url}/datastore/image", headers=preflight, timeout=900).status_code == 403
    answer = requests.get(f"{server.url}/info/", headers={"Origin": server.url}, timeout=900)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


BAD_JSON = [
    ("POST", "/train/segmenter", b'{"seed": "--5"}', "seed"),
    ("POST", "/train/segmenter", b"[1]", "JSON object"),
    ("POST", "/train/segmenter", b"\xff", "not JSON"),
    ("POST", "/train/segmenter", b'{"bundle_path": "/tmp"}', "unknown parameter"),
    ("POST", "/batch/infer/ct_organ", b'{"images": ["\\ud800"]}', "Unicode"),
    ("POST", "/batch/infer/ct_organ?images=unlabeled", b"{}", "images"),
    (
        "POST",
        "/batch/infer/ct_organ?run_sync=true&run_sync=false",
        b"{}",
        "'run_sync' is repeated: give it once",
    ),
    ("POST", "/batch/infer/ct_organ", json.dumps({"images": ["a" * 50] * 3000}).encode(), "send less"),
    ("POST", "/activelearning/random", b'{"client_id": NaN}', "NaN"),
    ("POST", "/activelearning/random", b'{"client_id": "a/b"}', "client_id"),
    ("POST", "/activelearning/random", b'{"strategy": "x"}', "unknown parameter"),
]


@pytest.mark.parametrize("number", range(len(BAD_JSON)))
def test_bad_json_is_refused(server: Any, number: int) -> None:
    method, path, body, message = BAD_JSON[number]
    status, text = server.raw(method, path, body, [JSON])
    assert status == 400, text
    assert message in text
    for tasks in ("/train/", "/batch/infer"):
        assert requests.get(server.url + tasks, timeout=900).status_code == 404, "a task was started"


@pytest.mark.parametrize("content", [JSON, ("Content-Type", "text/plain"), ("Accept", "*/*")])
def test_parameters_without_files_are_a_megabyte_at_most(server: Any, content: tuple[str, str]) -> None:
    for path in ("/train/segmenter", "/infer/ct_organ"):
        assert server.raw("POST", path, b" " * 1_100_000, [content])[0] == 413


@pytest.mark.parametrize(
    "info", ['{"x": NaN}', '{"x": 1e999}', "[" * 30 + "]" * 30, '{"x": "\\ud800"}', '{"strategy": {"random": 1}}', "[]"]
)
def test_what_is_known_of_a_study_can_be_listed(server: Any, study: str, info: str) -> None:
    for path, query in (("image", {"image": study}), ("label", {"label": study, "tag": "final"})):
        url = f"{server.url}/datastore/{path}/info"
        assert requests.put(url, params=query, data={"info": info}, timeout=900).status_code == 400
    assert study in server.get("/datastore/", output="all")["objects"]
    assert server.post("/activelearning/random", {"client_id": "me"}) == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [({"drop_classes": ["\ud800"]}, "Unicode"), ({"seed": "²"}, "seed"), ({"label": "/etc/passwd"}, "unknown")],
)
def test_parameters_that_are_none_are_refused_in_a_form(
    server: Any, study: str, params: dict[str, Any], message: str
) -> None:
    answer = server.infer("ct_organ", image=study, params=params)
    assert answer.status_code == 400, answer.text
    assert message in answer.text
    plain = requests.post(f"{server.url}/infer/ct_organ", params={"image": study}, json=params, timeout=900)
    assert plain.status_code == 400
    assert "send a form with the field params" in plain.text


def test_nothing_is_left_of_requests_that_are_refused(server: Any, study: str) -> None:
    def put(path: str, name: str, field: str, **query: str) -> int:
        files = {field: (name, nifti(MASK))}
        return requests.put(f"{server.url}/datastore/{path}", params=query, files=files, timeout=900).status_code

    before = server.temporary_files
    assert put("image", "a.py", "file", image="new") == 400
    assert put("image", "a.nii.gz", "label", image="new") == 400
    assert put("label", "a.nii.gz", "label", image="nobody", tag="final") == 404
    assert put("label", "a.py", "label", image=study, tag="final") == 400
    assert put("label", ".a.nii.gz", "label", image=study, tag="final") == 400
    assert server.infer("ct_organ", image=study, files={"label": ("a.nii.gz", b"x")}).status_code == 400
    assert server.infer("ct_organ", image=study).status_code == 200
    assert server.leaves(before) == set()


def test_studies_and_label_maps_are_removed_by_their_names_only(server: Any, study: str) -> None:
    known = server.get("/datastore/", output="all")["objects"]
    files = {"file": ("a.nii.gz", nifti(MASK))}
    assert requests.put(f"{server.url}/datastore/image", params={"image": "new"}, files=files, timeout=900).ok
    label = {"label": ("a.nii.gz", nifti(MASK))}
    assert requests.put(f"{server.url}/datastore/label?image=new&tag=draft", files=label, timeout=900).ok
    for path, status in (
        ("image?id=nobody", 404),
        ("image?id=..%2Fserver.log", 400),
        ("image", 422),
        ("label?id=new&tag=..%2Ffinal", 400),
        ("label?id=nobody&tag=final", 404),
        (f"image?id={study}&id=new", 400),
    ):
        answer = requests.delete(f"{server.url}/datastore/{path}", timeout=900)
        assert answer.status_code == status, (path, answer.text)
    assert requests.delete(f"{server.url}/datastore/label?id=new&tag=draft", timeout=900).status_code == 200
    assert requests.head(f"{server.url}/datastore/label?image=new&tag=draft", timeout=900).status_code == 404
    assert requests.delete(f"{server.url}/datastore/image?id=new", timeout=900).status_code == 200
    assert server.get("/datastore/", output="all")["objects"].keys() == known.keys()


def test_another_prefix_and_path_are_guarded_alike(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    conf = {"origins": "https://viewer.example", "max_upload_mb": 0.25}
    server = serve(make_studies(2), "--root_path", "/x", environment={"MONAI_LABEL_API_STR": "/api"}, **conf)
    study = sorted(server.get("/datastore/", output="all")["objects"])[0]
    assert server.infer("ct_organ", image=study, params={"seed": 1}).status_code == 200
    assert server.infer("ct_organ", image=study, params={"label": "/etc/passwd"}).status_code == 400
    for path in ("/api/train/", "/api/reload", "/reload", "/infer/ct_organ", "/x/train/", "/api/scoring/x"):
        assert server.raw("POST", path, b'{"bundle_path": "/tmp"}', [JSON])[0] == 404
    assert server.raw("PUT", "/api/model/ct_organ")[0] == 403
    asking = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    answer = requests.options(f"{server.url}/infer/ct_organ", headers=asking, timeout=900)
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"

    noise = np.random.default_rng(0).integers(0, 255, 300_000, np.uint8).tobytes()
    refused = server.infer("ct_organ", files={"file": ("mask.nii.gz", noise)})
    assert refused.status_code == 413
    assert "0.25 MB" in refused.text

    def pieces() -> Any:  # of no declared length
        for _ in range(20):
            yield noise[:65536]

    assert requests.put(f"{server.url}/datastore/image?image=a", data=pieces(), timeout=900).status_code == 413


def test_a_session_stays_whatever_a_request_for_it_asks(server: Any, study: str) -> None:
    unknown = server.infer("ct_organ", session_id="nobody")
    assert unknown.status_code == 404
    assert "session 'nobody'" in unknown.text
    content = (server.studies / "labels" / "final" / f"{study}.nii.gz").read_bytes()
    before = server.temporary_files
    session = requests.put(f"{server.url}/session/", files={"files": ("m.nii.gz", content)}, timeout=900).json()
    name = session["session_id"]
    assert server.infer("ct_organ", session_id=name, params={"drop_classes": "heart"}).status_code == 400
    expected = pixels(server.infer("ct_organ", image=study).content)
    for files in (None, {"file": ("m.nii.gz", nifti(MASK))}):
        answer = server.infer("ct_organ", session_id=name, files=files)
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(pixels(answer.content), expected)
    assert server.leaves(before) == set()
    assert requests.delete(f"{server.url}/session/{name}", timeout=900).status_code == 200
    assert server.infer("ct_organ", session_id=name).status_code == 404

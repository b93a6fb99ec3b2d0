from __future__ import annotations

import json
from typing import Any

import pytest

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.content import check_file, check_text, read_json
from monai_segdiff.integrations.label.routes import Route, Router

INFER = Router().find("POST", "/infer/a")[0]
BATCH = Router().find("POST", "/batch/infer/a")[0]
INFO = Router().find("PUT", "/datastore/image/info")[0]
LABEL = Router().find("PUT", "/datastore/label")[0]
SESSION = Router().find("PUT", "/session/")[0]

BAD_JSON = {
    "open": ("{", "not JSON"),
    "NaN": ('{"a": NaN}', "NaN"),
    "infinity": ("[-Infinity]", "Infinity"),
    "large number": ("[1e999]", "too large"),
    "large integer": (f"[{10**30}]", "64 bits"),
    "digits": (f"[{'9' * 5000}]", "not JSON"),
    "deep": ("[" * 30 + "]" * 30, "levels deep"),
    "very deep": ("[" * 90_000 + "]" * 90_000, "not JSON|levels deep"),
    "deep names": ('{"a":' * 30 + "1" + "}" * 30, "levels deep"),
    "surrogate": ('["\\ud800"]', "Unicode"),
    "surrogate name": ('{"\\udfff": 1}', "Unicode"),
    "a name twice": ('{"seed": 1, "seed": 2}', "'seed' occurs twice"),
    "no UTF-8": (b'["\xff"]', "not JSON"),
    "long": (json.dumps(["a" * 50] * 2000), "send less"),
    "long once it is escaped": (json.dumps(["é" * 50] * 400, ensure_ascii=False), "send less"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_what_breaks_an_answer_or_a_task_is_refused(name: str) -> None:
    text, message = BAD_JSON[name]
    with pytest.raises(RequestError, match=message):
        read_json(text)


@pytest.mark.parametrize("text", ["", b"", "null"])
def test_nothing_is_no_parameters(text: str | bytes) -> None:
    assert check_text(BATCH, text) == {}


def test_only_what_means_something_is_handed_on() -> None:
    sent = {"seed": 3, "gpus": 1, "device": "cuda", "images": ["a"], "client_id": "me"}
    assert check_text(BATCH, json.dumps(sent)) == {"seed": 3, "images": ["a"]}


@pytest.mark.parametrize("text", ["[1]", '{"strategy": {"random": 1}}', '"text"'])
def test_what_is_known_of_a_study_is_an_object_without_what_the_server_keeps(text: str) -> None:
    with pytest.raises(RequestError):
        check_text(INFO, text)
    assert check_text(INFO, '{"patient": "p1"}') == {"patient": "p1"}


@pytest.mark.parametrize("name", ["m.nii.gz", "/tmp/Slicer/m.nii.gz", r"C:\Users\me\m.nii.gz", "m.PNG"])
def test_clients_send_the_path_of_a_file(name: str) -> None:
    check_file(INFER, "label", name)
    check_file(SESSION, "files", name)


BAD_FILES: list[tuple[Route, str, Any, str]] = [
    (INFER, "file", "m.py", "end in one of"),
    (SESSION, "files", "argparse.py", "end in one of"),
    (INFER, "file", "a/..", "plain name"),
    (INFER, "file", "", "file name"),
    (INFER, "file", None, "file name"),
    (LABEL, "label", ".hidden.nii", "plain name"),
    (LABEL, "file", "m.nii.gz", "takes no file: send it in the field label"),
    (INFO, "file", "m.nii.gz", "takes no file: send no files to this route"),
]


@pytest.mark.parametrize(("route", "field", "name", "message"), BAD_FILES)
def test_other_files_are_refused(route: Route, field: str, name: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_file(route, field, name)

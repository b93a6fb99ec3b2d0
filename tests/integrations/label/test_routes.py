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
    ("POST", "/proxy/dicom/wado/studies/1.2", {"path": "wado/studies/1.2"}),
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
    ("GET", "/static//etc/passwd", "plain names"),
    ("GET", "/static/a//b", "plain names"),
    ("GET", "/static/%2e%2e/main.py", "plain names"),
    ("GET", "/ohif/..\\main.py", "plain names"),
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
        with pytest.raises(RequestError, match=r"is not served: use one of (GET )?/api/v1/"):
            router.find(method, path)


STUDY = "studies/1.2.840"
INSTANCE = f"{STUDY}/series/1.3/instances/1.4"
OF_DICOMWEB = [
    ("GET", "qido/studies"),
    ("GET", "qido/series"),
    ("GET", f"qido/{STUDY}/series"),
    ("GET", f"qido/{STUDY}/series/1.3/instances"),
    ("GET", f"qido/{STUDY}/series/1.3/metadata"),  # OHIF asks for these by the root of searches
    ("GET", f"wado/{STUDY}"),
    ("GET", f"wado/{STUDY}/metadata"),
    ("GET", f"wado/{STUDY}/series/1.3/thumbnail"),
    ("GET", f"wado/{INSTANCE}"),
    ("GET", f"wado/{INSTANCE}/rendered"),
    ("GET", f"wado/{INSTANCE}/frames/1"),
    ("GET", f"wado/{INSTANCE}/frames/1,2,30"),
    ("GET", f"wado/{INSTANCE}/frames/1/rendered"),
    ("GET", f"wado/{INSTANCE}/bulk/00420011"),
    ("GET", f"wado/{INSTANCE}/bulkdata/52009230/1/00289145"),
    ("GET", "studies"),
    ("POST", "stow/studies"),
    ("POST", "wado/studies"),  # OHIF stores by the root of retrievals
    ("POST", f"stow/{STUDY}"),
]
NOT_OF_DICOMWEB = [
    ("GET", ""),
    ("GET", "qido/"),
    ("GET", "wado"),
    ("GET", "other/studies"),
    ("GET", "system"),
    ("GET", "wado/tools/execute-script"),
    ("GET", "qido/%2e%2e/instances"),
    ("GET", "qido/%252e%252e/instances"),
    ("GET", "wado/..%2f..%2fsystem"),
    ("GET", "wado/studies/..%2f..%2fsystem"),
    ("GET", "wado/studies/1.2%2f..%2fsystem"),
    ("GET", "wado/studies/1..2"),
    ("GET", "wado/studies/.1"),
    ("GET", f"wado/studies/{'1' * 65}"),
    ("GET", "wado/studies/1.2 "),
    ("GET", "wado/studies/1.2\n"),
    ("GET", "wado/studies/1.2?x=/system"),
    ("GET", "wado/studies/1.2#x"),
    ("GET", "wado/studies/1.2;x"),
    ("GET", "wado/studies/\u0661.2"),
    ("GET", "wado/studies//1.2"),
    ("GET", "/studies"),
    ("GET", "wado/http://elsewhere/studies"),
    ("GET", f"wado/{INSTANCE}/frames/-1"),
    ("GET", f"wado/{INSTANCE}/bulk/.hidden"),
    ("GET", f"wado/{INSTANCE}/bulk/a%2fb"),
    ("GET", f"wado/{INSTANCE}/file"),
    ("POST", "stow/instances"),
    ("POST", f"stow/{STUDY}/series"),
    ("POST", f"wado/{STUDY}/series/1.3/reject/113039^DCM"),
    ("POST", "stow/%2e%2e/tools/execute-script"),
]


@pytest.mark.parametrize(("method", "path"), OF_DICOMWEB)
def test_the_proxy_hands_on_what_dicomweb_knows(method: str, path: str) -> None:
    assert Router("/api").find(method, f"/api/proxy/dicom/{path}")[1] == {"path": path}


@pytest.mark.parametrize(("method", "path"), NOT_OF_DICOMWEB)
def test_the_proxy_leaves_no_archive(method: str, path: str) -> None:
    """However an archive, or what stands before it, would decode it once more."""
    with pytest.raises(RequestError) as refusal:
        Router().find(method, f"/proxy/dicom/{path}")
    assert refusal.value.status == 404

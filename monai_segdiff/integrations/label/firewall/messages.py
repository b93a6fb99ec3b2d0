"""Requests in ASGI: read whole, checked, and replayed to MONAI Label."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.content import check_file, check_text
from monai_segdiff.integrations.label.routes import Route

__all__ = ["FORMS", "MEGABYTE", "check_form", "read_body", "read_headers", "read_query", "replay", "with_json"]

MEGABYTE = 2**20
#: Media types of forms.
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_ONCE = ("content-type", "content-length", "transfer-encoding", "host", "origin")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def read_headers(scope: Message) -> Headers:
    """The headers of a request.

    Args:
        scope: of the request.

    Raises:
        RequestError: if a header that is checked is repeated. Servers differ in which of two they use.
    """
    headers = Headers(scope=scope)
    _once("header {} is repeated: send it once", [name for name in headers if name in _ONCE])
    return headers


def read_query(scope: Message) -> QueryParams:
    """The query of a request.

    Args:
        scope: of the request.

    Raises:
        RequestError: if a parameter is repeated.
    """
    query = QueryParams(scope["query_string"])
    _once("query parameter {!r:.80} is repeated: give it once", [name for name, _ in query.multi_items()])
    return query


async def read_body(headers: Headers, receive: Receive, body: Any, limit: int) -> None:
    """Read the body of a request, up to its largest size.

    Args:
        headers: of the request.
        receive: where it comes from.
        body: file to write it to.
        limit: its largest size in bytes.

    Raises:
        RequestError: if it is larger, or ends early.
    """
    too_large = RequestError(
        f"the request is larger than {limit / MEGABYTE:g} MB: send less, send files as a form, or start the server "
        "with --conf max_upload_mb",
        413,
    )
    declared = headers.get("content-length", "0")
    if not re.fullmatch("[0-9]+", declared) or len(declared) > 15 or int(declared) > limit:
        raise too_large
    try:
        async for block in Request({"type": "http"}, receive).stream():
            if body.tell() + len(block) > limit:
                raise too_large
            body.write(block)
    except ClientDisconnect as error:
        raise RequestError("the request ended before its body was complete: send it again") from error
    body.seek(0)


async def check_form(route: Route, scope: Message, body: Any) -> set[str]:
    """Check a form with files and parameters.

    Args:
        route: of the request.
        scope: of the request.
        body: file with its body.

    Returns:
        Names of the files that it has.

    Raises:
        RequestError: if it is not possible.
        HTTPException: if it is no form.
    """
    request = Request(scope, replay(body, _nothing))
    async with request.form(max_files=len(route.files) + 1, max_fields=100) as form:
        _once("form field {!r:.80} is repeated: send it once", [name for name, _ in form.multi_items()])
        for name, value in form.multi_items():
            if not isinstance(value, str):
                check_file(route, name, value.filename)
            elif name in route.texts:
                check_text(route, value)
        return {name for name in form if name in route.files}


def with_json(scope: Message, parameters: Mapping[str, Any]) -> tuple[Message, Any]:
    """Replace the parameters of a request.

    Args:
        scope: of the request as it came.
        parameters: the new ones.

    Returns:
        Its scope and its body.
    """
    content = json.dumps(parameters).encode()
    headers = Headers(scope=scope).mutablecopy()
    for name in ("content-length", "transfer-encoding"):
        del headers[name]
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(content))
    return {**scope, "headers": headers.raw}, io.BytesIO(content)


def replay(body: Any, afterwards: Receive) -> Receive:
    """Replay a body from its beginning.

    Args:
        body: file with it.
        afterwards: receives what follows the body.
    """
    body.seek(0)
    done = False

    async def receive() -> Message:
        nonlocal done
        if done:
            return await afterwards()
        block = body.read(MEGABYTE)
        done = len(block) < MEGABYTE
        return {"type": "http.request", "body": block, "more_body": not done}

    return receive


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _once(refusal: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise RequestError(refusal.format(name))

"""What stands between the network and MONAI Label: limits, names, parameters, and answers that say what was wrong."""

from __future__ import annotations

import gc
import json
import logging
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import JSONResponse
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from starlette.exceptions import HTTPException

from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.label.headers import LABEL_ENDINGS
from monai_segdiff.integrations.label.parameters import known_keys

__all__ = ["Guard", "protect_server"]

logger = logging.getLogger(__name__)

_MEGABYTE = 2**20
_LARGEST_MB = 256.0
_NAMES = ("image", "id", "label", "tag", "session_id", "model")  # parts of a query that become names of files
_CLIENT_ERRORS = {MONAILabelError.INVALID_INPUT, MONAILabelError.APP_INIT_ERROR}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def protect_server(application: Any) -> None:
    """Put the guard in front of MONAI Label's server, and keep the server to this machine unless told otherwise.

    Called while the server starts, before it listens. Where MONAI Label's server is not loaded, nothing is done.

    Args:
        application: the application that is served.

    Raises:
        RuntimeError: if several processes are to serve, which would not know of each other's tasks.
    """
    options = {word.split("=")[0] for word in sys.argv}
    if "--workers" in options:
        raise RuntimeError("this application is served by one process: start without --workers")
    if "start_server" in options and not {"-i", "--host"} & options:
        _listen_on_loopback()
    module = sys.modules.get("monailabel.app")
    server = getattr(module, "app", None)
    if server is None or getattr(server.state, "guarded", False):
        return
    server.state.guarded = True
    limit = float(application.conf.get("max_upload_mb", _LARGEST_MB))
    server.add_exception_handler(RequestError, _refused)
    server.add_exception_handler(MONAILabelException, _label_error)
    server.add_exception_handler(json.JSONDecodeError, _no_json)
    # The stack that handles this start was built before; requests get one with the guard.
    server.middleware_stack = Guard(server.build_middleware_stack(), application, int(limit * _MEGABYTE))


def _listen_on_loopback() -> None:
    """MONAI Label's own default is every network; the address is read after the application has started."""
    import uvicorn

    for config in gc.get_objects():
        if type(config) is uvicorn.Config and config.host == "0.0.0.0":
            config.host = "127.0.0.1"
            logger.warning("listening on 127.0.0.1 only; give --host to be reached from other machines")


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return JSONResponse({"detail": str(error)}, error.status)


def _label_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MONAILabelException)
    if isinstance(error, (ImageNotFoundException, LabelNotFoundException)):
        return JSONResponse({"detail": error.msg}, 404)
    return JSONResponse({"detail": error.msg}, 400 if error.error in _CLIENT_ERRORS else 500)


def _no_json(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"not JSON: {error}"}, 400)


class Guard:
    """ASGI middleware that reads a request whole before MONAI Label sees it, and refuses what it must not see.

    Args:
        app: what answers.
        application: the application that is served.
        limit: largest body in bytes.
    """

    def __init__(self, app: Any, application: Any, limit: int) -> None:
        self.app = app
        self.application = application
        self.limit = limit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 4xx and a message."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with tempfile.SpooledTemporaryFile(max_size=_MEGABYTE) as body:
            try:
                self._check_path(scope)
                await self._read(scope, receive, body)
                await self._check_body(scope, body)
            except (RequestError, HTTPException) as error:
                status = getattr(error, "status", None) or getattr(error, "status_code", 400)
                refusal = JSONResponse({"detail": getattr(error, "detail", None) or str(error)}, status)
                await refusal(scope, receive, send)
                return
            await self.app(scope, _replay(body, receive), send)

    def _check_path(self, scope: Message) -> None:
        """Path and query."""
        parts = [part for part in scope["path"].split("/") if part]
        method, first = scope["method"], parts[0] if parts else ""
        if any(part in (".", "..") or "\x00" in part for part in parts):
            raise RequestError("a path is made of plain names", 404)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        for name in _NAMES:
            if query.get(name):
                check_name(query[name], name)
        if first == "model" and method in ("PUT", "DELETE"):
            raise RequestError("weights are not changed over the network: train on the server, or restart it", 403)
        if first == "proxy" and not self.application.studies.startswith("http"):
            raise RequestError("there is no DICOMweb server behind this one", 404)
        if first == "session" and query.get("uncompress", "false").lower() not in ("false", "0", "no", "off"):
            raise RequestError("archives are not unpacked: send the files themselves")
        kind = _kind(parts, method)
        if kind is not None:
            self._check_model(kind, parts[-1])
        if kind == "infer":
            if query.get("output") == "dicom_seg":
                raise RequestError("the result is an image and no segmentation: ask for output image, json or all")
            if query.get("image"):
                self._check_study(query["image"])

    def _check_model(self, kind: str, name: str) -> None:
        tasks = self.application._trainers if kind == "train" else self.application._infers
        if name not in tasks:
            raise RequestError(
                f"there is no model {name[:80]!r} for {kind}: the known ones are {', '.join(tasks)}", 404
            )

    def _check_study(self, image: str) -> None:
        datastore = self.application.datastore()
        if not isinstance(datastore, DICOMWebDatastore) and image not in datastore.list_images():
            raise RequestError(f"there is no study {image!r}: GET /datastore/?output=all lists them", 404)

    async def _read(self, scope: Message, receive: Receive, body: Any) -> None:
        """The body, as far as it may go."""
        too_large = RequestError(
            f"a request may hold {self.limit / _MEGABYTE:g} MB: send less, or start with --conf max_upload_mb", 413
        )
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not re.fullmatch(rb"\d+", declared) or int(declared) > self.limit:
            raise too_large
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("the request ended early")
            size += len(message.get("body", b""))
            if size > self.limit:
                raise too_large
            body.write(message.get("body", b""))
            if not message.get("more_body", False):
                body.seek(0)
                return

    async def _check_body(self, scope: Message, body: Any) -> None:
        """Forms with files, and parameters."""
        parts = [part for part in scope["path"].split("/") if part]
        kind = _kind(parts, scope["method"])
        content = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if content in ("multipart/form-data", "application/x-www-form-urlencoded"):
            async with Request(scope, _replay(body, _nothing)).form(max_files=1000, max_fields=100) as form:
                for name, value in form.multi_items():
                    if isinstance(value, str):
                        if name in ("params", "info"):
                            _check_parameters(kind, value)
                    else:
                        _check_file(value.filename, kind)
                if kind == "infer":
                    _check_source(scope, {name for name, value in form.multi_items() if not isinstance(value, str)})
        elif kind == "infer":
            _check_source(scope, set())
        elif kind is not None:
            _check_parameters(kind, body.read() or b"null")
        body.seek(0)


def _kind(parts: list[str], method: str) -> str | None:
    """Which kind of task a request runs."""
    if method != "POST":
        return None
    if parts[:2] == ["batch", "infer"] and len(parts) == 3:
        return "batch"
    if len(parts) == 2 and parts[0] in ("infer", "train"):
        return parts[0]
    return None


def _check_parameters(kind: str | None, text: str | bytes) -> None:
    try:
        parameters = json.loads(text or "null")
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the parameters are not JSON: {error}") from error
    if kind is not None:
        known_keys(kind, parameters)
    elif not isinstance(parameters, dict):
        raise RequestError(f"what is known of a study must be a JSON object, got {parameters!r:.80}")


def _check_file(name: str | None, kind: str | None) -> None:
    check_name(name, "file name")
    if kind == "infer" and not str(name).lower().endswith(LABEL_ENDINGS):
        raise RequestError(f"label maps end in one of {', '.join(LABEL_ENDINGS)}, got {str(name)[-20:]!r}")


def _check_source(scope: Message, files: set[str]) -> None:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    if "file" not in files and not query.get("image") and not query.get("session_id"):
        raise RequestError("nothing to generate for: name a study with ?image=, or send a label map as file")


def _replay(body: Any, afterwards: Receive) -> Receive:
    """The body once more, from its beginning."""
    body.seek(0)
    done = False

    async def receive() -> Message:
        nonlocal done
        if done:
            return await afterwards()
        block = body.read(_MEGABYTE)
        done = len(block) < _MEGABYTE
        return {"type": "http.request", "body": block, "more_body": not done}

    return receive


async def _nothing() -> Message:
    return {"type": "http.disconnect"}

"""The guard between the network and MONAI Label: it checks sizes, names and parameters, and explains refusals."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from starlette.exceptions import HTTPException

from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.label.firewall.content import check_text
from monai_segdiff.integrations.label.firewall.messages import (
    FORMS,
    MEGABYTE,
    Message,
    Receive,
    Send,
    check_form,
    read_body,
    read_headers,
    read_query,
    replay,
    with_json,
)
from monai_segdiff.integrations.label.firewall.network import check_origin, listen_on_loopback, one_process
from monai_segdiff.integrations.label.firewall.parameters import known_keys
from monai_segdiff.integrations.label.firewall.uploads import current_folder, request_folder
from monai_segdiff.integrations.label.private_names import (
    get_route_path,
    protect,
    redirect_uploads,
    running_server,
    tasks_of,
)
from monai_segdiff.integrations.label.routes import Route, Router

__all__ = ["Guard", "protect_server"]

_LARGEST_MB = 256.0
_NAMES = ("image", "id", "label", "tag", "session_id", "model")  # parts of a query that become names of files
_CLIENT_ERRORS = {MONAILabelError.INVALID_INPUT, MONAILabelError.APP_INIT_ERROR}


def protect_server(application: Any) -> None:
    """Put the guard in front of MONAI Label's server, and bind the server to this machine unless --host is given.

    Called while the server starts, before it listens. Without a loaded MONAI Label server it does nothing.

    Args:
        application: the application that is served.

    Raises:
        RuntimeError: if several server processes are configured, or the address of the server is unknown.
    """
    server = running_server()
    one_process(server)
    local = listen_on_loopback(server)
    named = [*settings.MONAI_LABEL_CORS_ORIGINS, *application.conf.get("origins", "").split(",")]
    origins = [str(origin).strip().rstrip("/") for origin in named if origin]
    limit = int(float(application.conf.get("max_upload_mb", _LARGEST_MB)) * MEGABYTE)
    redirect_uploads(current_folder)
    handlers = {RequestError: _refused, MONAILabelException: _label_error}
    protect(origins, handlers, lambda app: Guard(app, application, limit, origins, local=local))


def _refused(request: Request | None, error: Exception) -> JSONResponse:
    """The answer to a refused request; it quotes what the client sent, which may be invalid Unicode."""
    detail = getattr(error, "detail", None) or str(error)
    status = getattr(error, "status", getattr(error, "status_code", 400))
    return JSONResponse({"detail": str(detail).encode(errors="backslashreplace").decode()}, status)


def _label_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MONAILabelException)
    if isinstance(error, (ImageNotFoundException, LabelNotFoundException)):
        return JSONResponse({"detail": error.msg}, 404)
    return JSONResponse({"detail": error.msg}, 400 if error.error in _CLIENT_ERRORS else 500)


class Guard:
    """ASGI middleware that reads and checks a whole request before MONAI Label gets it.

    Args:
        app: what answers.
        application: the application that is served.
        limit: largest body in bytes; that of one without files is a megabyte at most.
        origins: further origins whose pages may send requests.
        local: whether Host must be a name of this machine.
    """

    def __init__(
        self, app: Any, application: Any, limit: int, origins: Collection[str] = (), *, local: bool = False
    ) -> None:
        self.app = app
        self.application = application
        self.limit = limit
        self.origins = origins
        self.local = local
        self.router = Router(settings.MONAI_LABEL_API_STR)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 4xx and a message."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        with tempfile.SpooledTemporaryFile(max_size=MEGABYTE) as body, request_folder():
            try:
                scope, content = await self._check(scope, receive, body)
            except (RequestError, HTTPException, UnicodeError) as error:
                await _refused(None, error)(scope, receive, send)
                return
            await self.app(scope, replay(content, receive), send)

    async def _check(self, scope: Message, receive: Receive, body: Any) -> tuple[Message, Any]:
        """Check a request; the scope and the body for MONAI Label."""
        headers = read_headers(scope)
        check_origin(headers, self.origins, local=self.local)
        if scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers:
            return scope, body  # preflight request of a browser
        route, parts = self.router.find(scope["method"], get_route_path(scope))
        query = read_query(scope)
        self._check_names(route, parts, query)
        content = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_files = content.startswith("multipart/") and (route.files or route.dicom)
        limit = self.limit if has_files else min(self.limit, MEGABYTE)
        await read_body(headers, receive, body, limit)
        files: set[str] = set()
        if route.has_json:
            if content in FORMS:
                raise RequestError("the parameters are not sent as JSON: use the header Content-Type: application/json")
            scope, body = with_json(scope, check_text(route, body.read()))
        elif content in FORMS:
            files = await check_form(route, scope, body)
        elif route.has_form and body.read(1):
            raise RequestError(
                f"the request is not a form: send a form with the field {' or '.join(route.texts + route.files)}"
            )
        if route.task == "infer" and "file" not in files and not query.get("image") and not query.get("session_id"):
            raise RequestError("nothing to generate for: name a study with ?image=, or send a label map as file")
        return scope, body

    def _check_names(self, route: Route, parts: Mapping[str, str], query: Mapping[str, str]) -> None:
        """Check the names in path and query."""
        for name in _NAMES:
            if query.get(name):
                check_name(query[name], name)
        if route.dicom and not self.application.studies.startswith("http"):
            raise RequestError("the server has no DICOMweb archive: start it with --studies and an address", 404)
        if query.get("uncompress", "false").lower() not in ("false", "0", "no", "off"):
            raise RequestError("uncompress is not supported: send the files themselves, not an archive")
        for part, what in (("model", f"model for {route.task}"), ("strategy", "strategy")):
            if part in parts and parts[part] not in (known := tasks_of(self.application, route.task)):
                raise RequestError(f"unknown {what} {parts[part][:80]!r}: the known ones are {', '.join(known)}", 404)
        if route.study in query:
            self._check_study(query[route.study])
        if not re.fullmatch(r"((SHA256|SHA512|MD5):)?[0-9a-fA-F]*", query.get("check_sum", "")):
            raise RequestError("check_sum must be SHA256:, SHA512: or MD5: and the sum in hexadecimal digits")
        if route.task == "batch" and "images" in query:
            known_keys("batch", {"images": query["images"]})
        if route.task == "infer":
            if query.get("output") == "dicom_seg":
                raise RequestError("the result is an image, not a segmentation: ask for output image, json or all")
            if query.get("image"):
                self._check_study(query["image"])
        if session := parts.get("session_id") or query.get("session_id"):
            self._check_session(session)

    def _check_study(self, image: str) -> None:
        datastore = self.application.datastore()
        if not isinstance(datastore, DICOMWebDatastore) and image not in datastore.list_images():
            raise RequestError(f"study {image!r} does not exist: GET /datastore/?output=all lists the studies", 404)

    def _check_session(self, name: str) -> None:
        sessions = self.application.sessions()
        if sessions is None or not sessions.get_session(name, update_ts=False):
            raise RequestError(f"session {name[:80]!r} does not exist or has expired: PUT /session/ makes one", 404)

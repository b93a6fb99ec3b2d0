"""The routes that the server answers; any other is refused before MONAI Label sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from monai_segdiff.integrations.label.dicomweb_paths import check_dicomweb_path
from monai_segdiff.integrations.label.errors import RequestError, check_name

__all__ = ["ROUTES", "Route", "Router"]


@dataclass(frozen=True)
class Route:
    """A request that is answered, and what is checked of it.

    Args:
        methods: HTTP methods, separated by blanks.
        path: its path; ``{name}`` stands for one part of it, ``{path}`` for all that follow.
        task: whose parameters it takes: "infer", "batch", "train" or "sample".
        study: name in the query of a study that must be there.
        texts: fields of its form that hold a JSON object.
        files: fields of its form that hold a file.
        page: it lies at the server's root, wherever the other routes are.
        dicom: it needs a DICOMweb server behind this one.
    """

    methods: str
    path: str
    task: str = ""
    study: str = ""
    texts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    page: bool = False
    dicom: bool = False

    @property
    def has_form(self) -> bool:
        """Whether what it takes is sent as a form."""
        return bool(self.texts or self.files)

    @property
    def has_json(self) -> bool:
        """Whether what it takes is sent as JSON."""
        return bool(self.task) and not self.has_form


#: What viewers and the commands of the documentation ask for.
ROUTES = (
    Route("GET", "/info/"),
    Route("GET", "/datastore/"),
    Route("GET HEAD", "/datastore/image", study="image"),
    Route("GET", "/datastore/image/info", study="image"),
    Route("GET", "/datastore/label", study="label"),
    Route("HEAD", "/datastore/label", study="image"),
    Route("GET", "/datastore/label/info", study="label"),
    Route("PUT", "/datastore/", texts=("params",), files=("file",)),  # how 3D Slicer adds an image
    Route("PUT", "/datastore/image", texts=("params",), files=("file",)),
    Route("PUT", "/datastore/image/info", study="image", texts=("info",)),
    Route("PUT", "/datastore/label", study="image", texts=("params",), files=("label",)),
    Route("PUT", "/datastore/label/info", study="label", texts=("info",)),
    Route("PUT", "/datastore/updatelabelinfo", study="label", texts=("params",)),  # 3D Slicer's module for reviewers
    Route("DELETE", "/datastore/image", study="id"),
    Route("DELETE", "/datastore/label", study="id"),
    Route("POST", "/infer/{model}", task="infer", texts=("params",), files=("file", "label")),
    Route("GET DELETE", "/batch/infer"),
    Route("POST", "/batch/infer/{model}", task="batch"),
    Route("GET DELETE", "/train/"),
    Route("POST", "/train/{model}", task="train"),
    Route("POST", "/activelearning/{strategy}", task="sample"),
    Route("PUT", "/session/", files=("files",)),
    Route("GET DELETE", "/session/{session_id}"),
    Route("GET", "/logs/"),
    Route("GET", "/ohif/{path}"),
    Route("GET POST", "/proxy/dicom/{path}", dicom=True),
    Route("GET", "/auth/"),
    Route("POST", "/auth/token"),
    Route("GET", "/auth/token/valid"),
    Route("GET HEAD", "/", page=True),
    Route("GET HEAD", "/docs", page=True),
    Route("GET HEAD", "/openapi.json", page=True),
    Route("GET HEAD", "/favicon.ico", page=True),
    Route("GET HEAD", "/static/{path}", page=True),
)
_WEIGHTS = "weights cannot be changed over the network: train on the server, or restart it"
_PLAIN = "the path must consist of plain names: leave out empty parts, dots, backslashes and escapes"


class Router:
    """Finds the route of a request.

    Args:
        prefix: what stands before the paths, but those of pages.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix.rstrip("/")
        self._patterns = [
            (method, re.compile(_expression("" if route.page else self.prefix, route.path, method)), route)
            for route in ROUTES
            for method in route.methods.split()
        ]

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Find a route.

        Args:
            method: of the request.
            path: of the request, decoded, below the server's root.

        Returns:
            The route, and the parts of the path that it names.

        Raises:
            RequestError: if there is no such route; the message lists those nearby.
        """
        if any(part in (".", "..") for part in path.split("/")) or "\x00" in path:
            raise RequestError(_PLAIN, 404)
        for known, pattern, route in self._patterns:
            if known == method and (match := pattern.fullmatch(path)):
                parts = match.groupdict()
                for name in parts.keys() - {"path"}:
                    check_name(parts[name], name)
                if route.dicom:
                    check_dicomweb_path(method, parts["path"])
                elif re.search(r"^/|//|[\\%]", parts.get("path", "")):
                    raise RequestError(_PLAIN, 404)
                return route, parts
        if method in ("PUT", "DELETE") and path.startswith(f"{self.prefix}/model/"):
            raise RequestError(_WEIGHTS, 403)
        raise RequestError(f"{method} {path[:80]} is not served: use one of {self._near(path)}", 404)

    def _near(self, path: str) -> str:
        """Routes with the same first part, or else the first parts of all routes."""
        listed = [(f"{self.prefix}{route.path}", route.methods.split()) for route in ROUTES if not route.page]
        first = len(self.prefix.split("/"))
        begin = path.split("/")[: first + 1]
        near = [
            f"{method} {known}"
            for known, methods in listed
            if known.split("/")[: first + 1] == begin
            for method in methods
        ]
        return ", ".join(near or dict.fromkeys("/".join(known.split("/")[: first + 1]) for known, _ in listed))


def _expression(prefix: str, path: str, method: str) -> str:
    parts = (
        f"(?P<{part[1:-1]}>{'.*' if part == '{path}' else '[^/]+'})" if part[0] == "{" else re.escape(part)
        for part in re.split(r"(\{\w+\})", path)
        if part
    )
    found = re.escape(prefix) + "".join(parts)
    # MONAI Label redirects requests that lack the last slash.
    return f"(?s:{found}?)" if path.endswith("/") and path != "/" and method == "GET" else f"(?s:{found})"

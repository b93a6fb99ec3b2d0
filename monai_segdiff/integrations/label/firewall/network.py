"""The address that the server listens on, and the web pages that may send it requests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monai_segdiff.integrations.label.errors import RequestError

if TYPE_CHECKING:
    import uvicorn

__all__ = ["check_origin", "listen_on_loopback", "one_process"]

logger = logging.getLogger(__name__)

_EVERY_NETWORK = ("0.0.0.0", "::", "")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def one_process(server: uvicorn.Config | None) -> None:
    """Refuse several processes, which would not know of each other's tasks.

    Args:
        server: the configuration of the server, where it is known.

    Raises:
        RuntimeError: if several are to serve.
    """
    if (server and server.workers > 1) or any(word.split("=")[0] == "--workers" for word in sys.argv):
        raise RuntimeError(
            "several server processes are configured, but this application needs one: start without --workers, and "
            "unset WEB_CONCURRENCY"
        )


def listen_on_loopback(server: uvicorn.Config | None) -> bool:
    """Bind the server to this machine unless --host is given; called before it listens.

    MONAI Label listens on every network by default.

    Args:
        server: the configuration of the server, where it is known.

    Returns:
        Whether that was done, so that only host names of this machine are accepted.

    Raises:
        RuntimeError: if the address of the server is unknown.
    """
    words = {word.split("=")[0] for word in sys.argv}
    if "start_server" not in words or {"-i", "--host"} & words:
        return False
    if server is None:
        raise RuntimeError("the address of the server is unknown: give --host, such as 127.0.0.1 for this machine only")
    if server.host in _EVERY_NETWORK:
        server.host = "127.0.0.1"
        logger.warning("listening on 127.0.0.1 only: give --host to serve other machines")
    return server.host in _LOOPBACK


def check_origin(headers: Mapping[str, str], origins: Collection[str], *, local: bool) -> None:
    """Refuse requests of foreign web pages, sent by a browser that can reach the server.

    Starlette's middleware does less: ``CORSMiddleware`` keeps answers from foreign pages but answers their requests,
    and ``TrustedHostMiddleware`` refuses without saying what to do, and refuses requests without Host.

    Args:
        headers: of the request, with names in lower case.
        origins: further origins that are allowed, beside the server's own.
        local: whether Host must be a name of this machine. A page can point its own name to this machine (DNS
            rebinding).

    Raises:
        RequestError: if Host or Origin is not allowed.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname
        asking = None if origin is None else urlsplit(origin).netloc.lower()
    except ValueError as error:
        raise RequestError("the headers Host and Origin cannot be read: send valid host names") from error
    if local and name is not None and name not in _LOOPBACK:
        raise RequestError(f"Host {host[:80]!r} refused: use 127.0.0.1, or start the server with --host", 403)
    if origin is not None and (not asking or asking != host.lower()) and origin.rstrip("/") not in origins:
        raise RequestError(f"Origin {origin[:80]!r} refused: allow it with --conf origins", 403)

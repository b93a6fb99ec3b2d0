"""Where the server listens, and whose pages may ask it."""

from __future__ import annotations

import gc
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


def one_process() -> None:
    """Refuse several processes, which would not know of each other's tasks.

    Raises:
        RuntimeError: if several are to serve.
    """
    several = any(config.workers > 1 for config in _servers())
    if several or any(word.split("=")[0] == "--workers" for word in sys.argv):
        raise RuntimeError("this application is served by one process: start without --workers, unset WEB_CONCURRENCY")


def listen_on_loopback() -> bool:
    """Keep the server to this machine unless it was told otherwise; called before it listens.

    MONAI Label's own default is every network.

    Returns:
        Whether that was done here, so that only this machine's names are to be answered.

    Raises:
        RuntimeError: if it is not known where the server will listen.
    """
    words = {word.split("=")[0] for word in sys.argv}
    if "start_server" not in words or {"-i", "--host"} & words:
        return False
    servers = _servers()
    if not servers:
        raise RuntimeError("it is not known where this server listens: give --host, 127.0.0.1 for this machine only")
    for config in servers:
        if config.host in _EVERY_NETWORK:
            config.host = "127.0.0.1"
            logger.warning("listening on 127.0.0.1 only; give --host to be reached from other machines")
    return all(config.host in _LOOPBACK for config in servers)


def check_origin(headers: Mapping[str, str], origins: Collection[str], *, local: bool) -> None:
    """Refuse what a page of somebody else asks, in a browser that can reach the server.

    Args:
        headers: of the request, with names in lower case.
        origins: of pages that may ask beside the server's own.
        local: whether the server is asked under a name of this machine only. A page can have its own name stand for
            this machine.

    Raises:
        RequestError: if it does not come from here.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname
        asking = None if origin is None else urlsplit(origin).netloc.lower()
    except ValueError as error:
        raise RequestError("the names of host and origin cannot be read") from error
    if local and name is not None and name not in _LOOPBACK:
        raise RequestError(f"this server is asked as 127.0.0.1, and not as {host[:80]!r}: or start it with --host", 403)
    if origin is not None and (not asking or asking != host.lower()) and origin.rstrip("/") not in origins:
        raise RequestError(f"pages of {origin[:80]!r} may not ask this server: name it by --conf origins", 403)


def _servers() -> list[uvicorn.Config]:
    """The configurations of servers; the address is read after the application has started."""
    if "uvicorn" not in sys.modules:
        return []
    import uvicorn

    return [found for found in gc.get_objects() if issubclass(type(found), uvicorn.Config)]

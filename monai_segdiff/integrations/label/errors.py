"""Refused requests, with the HTTP status for the client."""

from __future__ import annotations

import re

__all__ = ["RequestError", "check_name"]

_LONGEST = 200  # characters; MONAI Label adds extensions, and file systems end at 255 bytes
_REFUSED = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


class RequestError(ValueError):
    """A request that the client must correct.

    Args:
        message: what is wrong, and what to do.
        status: HTTP status, 4xx.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def check_name(name: object, what: str) -> str:
    """Refuse a name that could lead out of the folder that its file is in.

    Args:
        name: an id, tag or file name as the client gave it.
        what: what it names, for the message.

    Returns:
        The name.

    Raises:
        RequestError: if it is empty, too long, begins with a dot, or holds a separator, a control
            character or invalid Unicode.
    """
    if not isinstance(name, str) or not name or name != name.strip():
        raise RequestError(f"{what} must be a name without blanks around it, got {name!r:.80}")
    # A lone surrogate is counted here and refused by the expression.
    if len(name.encode(errors="replace")) > _LONGEST or name.startswith(".") or _REFUSED.search(name):
        raise RequestError(
            f"{what} {name[:80]!r} is no plain name: use {_LONGEST} bytes at most, no slashes and no leading dot"
        )
    return name

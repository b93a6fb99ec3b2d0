"""What a request carries: JSON that can be stored and handed on, and files with names."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from monai_segdiff.documents import parse_json
from monai_segdiff.errors import one_line
from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.label.firewall.headers import LABEL_ENDINGS
from monai_segdiff.integrations.label.firewall.parameters import known_keys
from monai_segdiff.integrations.label.routes import Route

__all__ = ["check_file", "check_text", "read_json"]

_LONGEST = 100_000  # bytes; a task gets its request as one word of its command, which may have 128 KiB
_DEEPEST = 20
_LARGEST_INTEGER = 2**63
_RESERVED = ("strategy",)  # MONAI Label notes there which client got a study; its strategies fail on anything else


def read_json(text: str | bytes) -> Any:
    """Read JSON, and refuse what would break an answer, the list of studies or a task later on.

    Args:
        text: as it was sent; nothing at all is None.

    Raises:
        RequestError: if it is not JSON, is too long or nested too deeply, repeats a key, or holds NaN, infinite
            numbers or invalid Unicode.
    """
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = parse_json(plain or "null")
    except ValueError as error:
        raise RequestError(f"the parameters are not JSON: {one_line(error)}") from error
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > _DEEPEST:
            raise RequestError(f"the parameters are more than {_DEEPEST} levels deep")
        if isinstance(item, dict):
            pending += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            pending += [(part, depth + 1) for part in item]
        else:
            _check_scalar(item)
    size = len(json.dumps(value))
    if size > _LONGEST:
        raise RequestError(f"the parameters have {size} bytes as JSON, {_LONGEST} at most: send less at once")
    return value


def check_text(route: Route, text: str | bytes) -> dict[str, Any]:
    """Check the parameters of a request, or the information on a study.

    Args:
        route: of the request.
        text: JSON as it was sent.

    Returns:
        The known parameters.

    Raises:
        RequestError: if it is not possible.
    """
    value = read_json(text)
    if route.task:
        return known_keys(route.task, value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(f"the information on a study must be a JSON object, got {value!r:.80}")
    for name in _RESERVED:
        if name in value:
            raise RequestError(f"{name} is reserved for the server: leave it out of the information on a study")
    return value


def check_file(route: Route, field: str, name: str | None) -> None:
    """Check a file of a form by its names.

    Args:
        route: of the request.
        field: of the form.
        name: of the file; its folder, which some clients send, is ignored.

    Raises:
        RequestError: if it is not possible.
    """
    if field not in route.files:
        remedy = f"send it in the field {' or '.join(route.files)}" if route.files else "send no files to this route"
        raise RequestError(f"form field {field[:80]!r} takes no file: {remedy}")
    plain = check_name(re.split(r"[/\\]", name or "")[-1], "file name")
    if (route.task or field == "files") and not plain.lower().endswith(LABEL_ENDINGS):
        raise RequestError(f"label maps end in one of {', '.join(LABEL_ENDINGS)}, got {plain[-20:]!r}")


def _check_scalar(value: object) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"the text {value[:80]!a} is invalid Unicode: a surrogate pair is incomplete") from error
    elif isinstance(value, float) and not math.isfinite(value):
        raise RequestError("a number is too large: send finite numbers")
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise RequestError("a whole number is too large: send at most 64 bits")

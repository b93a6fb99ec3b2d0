"""Names that are fit for files."""

from __future__ import annotations

import re

__all__ = ["safe_name"]


def safe_name(name: str, default: str) -> str:
    """Letters, digits and ``._+-`` of a name, with ``_`` for anything else.

    Args:
        name: any text.
        default: the name where nothing is left.
    """
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip("._+-") or default

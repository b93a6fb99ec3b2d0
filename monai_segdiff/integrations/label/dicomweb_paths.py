"""The DICOMweb paths (PS3.18) that the server's proxy forwards to the archive, with the archive's password."""

from __future__ import annotations

import re

from monai_segdiff.integrations.label.errors import RequestError

__all__ = ["check_dicomweb_path"]

_UID = r"(?=[0-9.]{1,64}(?:/|$))[0-9]+(?:\.[0-9]+)*"
_STUDY = f"studies/{_UID}"
_SERIES = f"{_STUDY}/series/{_UID}"
_INSTANCE = f"{_SERIES}/instances/{_UID}"
_SEARCHES = ("studies", "series", "instances", f"{_STUDY}/series", f"{_STUDY}/instances", f"{_SERIES}/instances")
_RETRIEVALS = (
    f"(?:{_STUDY}|{_SERIES}|{_INSTANCE})(?:/(?:metadata|rendered|thumbnail|pixeldata|bulkdata))?",
    f"{_INSTANCE}/frames/[0-9]+(?:,[0-9]+)*(?:/(?:rendered|thumbnail))?",
    # Where an archive keeps large values is its own choice (10.4.1.1.5): Orthanc has /bulk/00420011.
    rf"{_INSTANCE}/bulk(?:data)?(?:/[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*)+",
)
_STORE = f"studies(?:/{_UID})?"
_SERVED = {
    method: re.compile(rf"(?:(?:qido|wado|stow)/)?(?:{'|'.join(paths)})")
    for method, paths in {"GET": (*_SEARCHES, *_RETRIEVALS), "POST": (_STORE,)}.items()
}


def check_dicomweb_path(method: str, path: str) -> None:
    """Refuse paths that are not a DICOMweb search, retrieval or storage.

    Args:
        method: of the request.
        path: as forwarded to the archive, without the proxy's prefix.

    Raises:
        RequestError: if the whole path does not match one of them.
    """
    known = _SERVED.get(method)
    if known is None or not known.fullmatch(path):
        raise RequestError(
            f"{method} {path[:80]!r} is not a DICOMweb request: search and retrieve (GET) or store (POST) studies, "
            "series and instances by their UIDs",
            404,
        )

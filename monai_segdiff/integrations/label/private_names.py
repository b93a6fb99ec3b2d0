"""What this application needs of MONAI Label, Starlette and uvicorn beyond what they document, all in this file.

Tested with MONAI Label 0.8.5, FastAPI 0.165, Starlette 1.10 and uvicorn 0.54. Where another version lacks one of the
names, ``tests/integrations/label/test_private_names.py`` says which.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import uvicorn
from monailabel.datastore.local import LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.app import MONAILabelApp
from starlette._utils import get_route_path
from starlette.middleware.cors import CORSMiddleware

__all__ = ["FolderDatastore", "QuietApp", "archive_of", "cache_of", "fetches_frames", "get_route_path"]
__all__ += ["protect", "redirect_uploads", "running_server", "tasks_of"]

_TASKS = {"infer": "_infers", "batch": "_infers", "train": "_trainers", "sample": "_strategies"}
_UPLOADERS = (
    "monailabel.endpoints.infer",
    "monailabel.endpoints.datastore",
    "monailabel.endpoints.session",
    "monailabel.datastore.utils.convert",
)


class QuietApp(MONAILabelApp):
    """MONAI Label's application, which downloads nothing: no label map is written as DICOM here."""

    def _download_dcmqi_tools(self) -> None:
        pass


def tasks_of(application: MONAILabelApp, kind: str) -> Mapping[str, Any]:
    """The tasks of an application by name: "infer" or "batch" for its models, "train", or "sample" for strategies."""
    return getattr(application, _TASKS[kind])


#: The client of a DICOMweb datastore, whether it fetches frame by frame, and its folder for what was fetched.
archive_of, fetches_frames, cache_of = map(attrgetter, ("_client", "_fetch_by_frame", "_datastore_path"))


class FolderDatastore(LocalDatastore):
    """MONAI Label's folder of studies, whose own methods for its list of studies have public names here.

    MONAI Label calls them, too, from a thread of its own, so a subclass that overrides them is asked in any case.
    """

    id_and_ending = LocalDatastore._to_id
    read_list = LocalDatastore._init_from_datastore_file
    write_list = LocalDatastore._update_datastore_file
    rebuild_list = LocalDatastore._reconcile_datastore

    @property
    def listed(self) -> LocalDatastoreModel:
        """The list of studies."""
        return self._datastore

    @property
    def endings(self) -> list[str]:
        """What names of files end in."""
        return [pattern.removeprefix("*") for pattern in self._extensions]

    @property
    def list_file(self) -> Path:
        """The file of the list."""
        return Path(self._datastore_config_path)

    def list_is_of(self, time: float) -> None:
        """Tell from when the list is; it is read anew where its file is from another time."""
        self._config_ts = time

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        self.read_list(throw_exception)

    def _update_datastore_file(self, lock: bool = True) -> None:
        self.write_list(lock)

    def _reconcile_datastore(self) -> None:
        self.rebuild_list()


def running_server() -> uvicorn.Config | None:
    """The configuration of the uvicorn server in this process, which reads its address after the application started.

    uvicorn hands it to nobody, but while the application starts, a method of the server handles Ctrl-C.
    """
    server = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    return server.config if isinstance(server, uvicorn.Server) else None


def protect(origins: Sequence[str], handlers: Mapping[Any, Any], guard: Callable[[Any], Any]) -> None:
    """Put a guard in front of MONAI Label's server while it starts; where none is loaded, or it has one, do nothing.

    Starlette refuses further middleware then, as the stack that handles the start was built before. Requests get
    another one.

    Args:
        origins: whose pages may read answers; MONAI Label's own default is every page.
        handlers: what answers to an exception, by its class.
        guard: makes the guard of an application.
    """
    server = getattr(sys.modules.get("monailabel.app"), "app", None)
    if server is None or getattr(server.state, "guarded", False):
        return
    server.state.guarded = True
    for middleware in server.user_middleware:
        if middleware.cls is CORSMiddleware:
            middleware.kwargs["allow_origins"] = list(origins)
    server.exception_handlers.update(handlers)
    server.middleware_stack = guard(server.build_middleware_stack())


def redirect_uploads(folder: Callable[[], Path | None]) -> None:
    """Make MONAI Label write uploads into a folder, as it removes them only after an answer without an error.

    Args:
        folder: gives that of the current request.
    """
    for name in _UPLOADERS:
        if name in sys.modules:
            sys.modules[name].tempfile = _Tempfile(folder)  # type: ignore[attr-defined]


class _Tempfile:
    """Python's ``tempfile`` in another folder."""

    def __init__(self, folder: Callable[[], Path | None]) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        found = getattr(tempfile, name)
        if name in ("NamedTemporaryFile", "TemporaryDirectory"):
            return lambda *args, **options: found(*args, **{"dir": self._folder(), **options})
        return found

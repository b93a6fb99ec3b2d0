"""That MONAI Label, Starlette and uvicorn have the names of theirs that are used, and that these mean what they did."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn

from monai_segdiff.integrations.label.firewall.uploads import current_folder, request_folder
from monai_segdiff.integrations.label.private_names import get_route_path, redirect_uploads, running_server

# Of a module, or of a class: what it has, or what its __init__ gives an object.
NAMES = [
    ("monailabel.interfaces.app:MONAILabelApp", "_download_dcmqi_tools"),
    ("monailabel.interfaces.app:MONAILabelApp", "_infers"),
    ("monailabel.interfaces.app:MONAILabelApp", "_trainers"),
    ("monailabel.interfaces.app:MONAILabelApp", "_strategies"),
    ("monailabel.utils.sessions:Sessions", "store_path"),
    ("monailabel.datastore.dicom:DICOMWebDatastore", "_client"),
    ("monailabel.datastore.dicom:DICOMWebDatastore", "_fetch_by_frame"),
    ("monailabel.datastore.local:LocalDatastore", "_datastore_path"),
    ("monailabel.datastore.local:LocalDatastore", "_datastore"),
    ("monailabel.datastore.local:LocalDatastore", "_datastore_config_path"),
    ("monailabel.datastore.local:LocalDatastore", "_config_ts"),
    ("monailabel.datastore.local:LocalDatastore", "_extensions"),
    ("monailabel.datastore.local:LocalDatastore", "_to_id"),
    ("monailabel.datastore.local:LocalDatastore", "_init_from_datastore_file"),
    ("monailabel.datastore.local:LocalDatastore", "_update_datastore_file"),
    ("monailabel.datastore.local:LocalDatastore", "_reconcile_datastore"),
    ("monailabel.endpoints.infer", "tempfile"),
    ("monailabel.endpoints.datastore", "tempfile"),
    ("monailabel.endpoints.session", "tempfile"),
    ("monailabel.datastore.utils.convert", "tempfile"),
    ("starlette._utils", "get_route_path"),
    ("starlette.applications:Starlette", "build_middleware_stack"),
    ("starlette.applications:Starlette", "middleware_stack"),
    ("starlette.applications:Starlette", "user_middleware"),
    ("starlette.applications:Starlette", "exception_handlers"),
    ("uvicorn:Server", "handle_exit"),
    ("uvicorn:Server", "config"),
    ("uvicorn:Config", "host"),
    ("uvicorn:Config", "workers"),
]


@pytest.mark.parametrize(("where", "name"), NAMES)
def test_the_installed_version_has_the_name(where: str, name: str) -> None:
    module, _, of = where.partition(":")
    installed = ", ".join(f"{one} {version(one)}" for one in ("monailabel", "fastapi", "starlette", "uvicorn"))
    remedy = f"{installed}: change what uses it in integrations/label/private_names.py, or the versions in pyproject"
    try:
        owner = importlib.import_module(module)
    except ImportError as error:
        pytest.fail(f"there is no {module} ({error}) in {remedy}")
    if of:
        owner = getattr(owner, of, None)
        assert owner is not None, f"{module} has no {of} in {remedy}"
    made = owner.__init__.__code__.co_names if isinstance(owner, type) else ()
    assert hasattr(owner, name) or name in made, f"{where} has no {name} in {remedy}"


def test_a_path_below_the_root_is_what_routes_see() -> None:
    assert get_route_path({"path": "/x/train/", "root_path": "/x"}) == "/train/"
    assert get_route_path({"path": "/xtrain/", "root_path": "/x"}) == "/xtrain/"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_server_is_known_while_its_application_starts(workers: int) -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        seen.append(running_server())
        await send({"type": "lifespan.startup.failed"})

    before = signal.getsignal(signal.SIGINT)
    config = uvicorn.Config(application, workers=workers, lifespan="on")
    with pytest.raises(SystemExit):
        asyncio.run(uvicorn.Server(config).serve())
    assert seen == [config]
    assert seen[0].workers == workers
    assert running_server() is None
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_written_by_name_goes_with_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = ModuleType("monailabel.endpoints.session")
    endpoint.tempfile = tempfile  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, endpoint.__name__, endpoint)
    redirect_uploads(current_folder)
    with request_folder() as folder:
        name = Path(endpoint.tempfile.NamedTemporaryFile(suffix=".nii").name)
        name.write_text("sent")
        with endpoint.tempfile.TemporaryDirectory() as inner:
            assert Path(inner).parent == folder
        assert (name.parent, name.suffix) == (folder, ".nii")
    assert not name.exists()
    assert endpoint.tempfile.gettempdir() == tempfile.gettempdir()
    with endpoint.tempfile.NamedTemporaryFile() as outside:
        assert Path(outside.name).parent == Path(tempfile.gettempdir())

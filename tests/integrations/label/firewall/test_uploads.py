from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from monai_segdiff.integrations.label.firewall.uploads import current_folder, redirect_uploads, request_folder


def test_a_request_has_a_folder_while_it_is_answered() -> None:
    assert current_folder() is None
    seen: list[Path] = []

    def answer() -> None:
        with request_folder() as folder:
            seen.append(folder)
            assert current_folder() == folder
            (folder / "sent").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        answer()
    assert current_folder() is None
    assert not seen[0].exists()


def test_what_is_written_by_name_goes_with_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = ModuleType("monailabel.endpoints.session")
    endpoint.tempfile = tempfile  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, endpoint.__name__, endpoint)
    redirect_uploads()
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

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import read_dataset
from monai_segdiff.integrations import make_label_app

# MONAI Label has an environment of its own, which `make test-label` makes; elsewhere what does without it is tested.
HAS_LABEL = importlib.util.find_spec("monailabel") is not None
WITHOUT_LABEL = {
    f"test_{name}.py"
    for name in ("content", "folder", "headers", "network", "pairs", "parameters", "routes", "task_process", "uploads")
}
HERE = Path(__file__).parent
collect_ignore = (
    [] if HAS_LABEL else [str(f.relative_to(HERE)) for f in HERE.rglob("test_*.py") if f.name not in WITHOUT_LABEL]
)


def pytest_report_header() -> str | None:
    return None if HAS_LABEL else "MONAI Label is not installed: make test-label runs the tests of its application"


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_label_app(tmp_path_factory.mktemp("app") / "label_app")


@pytest.fixture
def make_studies(trained_bundle: Any, tmp_path: Path) -> Callable[..., Path]:
    """A folder of studies with finished label maps, one slice a patient."""

    def make(number: int = 4, folder: str = "studies") -> Path:
        return fill_studies(tmp_path / folder, trained_bundle, number)

    return make


def fill_studies(root: Path, bundle: Any, number: int) -> Path:
    (root / "labels" / "final").mkdir(parents=True)
    cases = [case for cases in read_dataset(bundle.phantoms).splits.values() for case in cases]
    patients: dict[str, Any] = {}
    for case in cases:
        patients.setdefault(case.patient, case)
    for case in list(patients.values())[:number]:
        shutil.copy(case.image, root / f"{case.id}.nii.gz")
        shutil.copy(case.label, root / "labels" / "final" / f"{case.id}.nii.gz")
    return root


@pytest.fixture
def archive(trained_bundle: Any, tmp_path: Path) -> tuple[Path, Any, str]:
    """A folder of DICOM with the case that it was made of and the UID of its series.

    The segments are in another order than the label ids, as they are numbered as readers draw them.
    """
    from .dicom_archive import write_archive

    dataset = read_dataset(trained_bundle.phantoms)
    case = dataset.splits["test"][0]
    classes = dict(reversed(dataset.classes.items()))
    return tmp_path / "archive", case, write_archive(case, classes, tmp_path / "archive")


@pytest.fixture
def serve(trained_bundle: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start the real server; it is stopped in the end."""
    from .server import Server

    started: list[Any] = []

    def start(
        studies: Path,
        *options: str,
        app: Path | None = None,
        bundle: Path | None = None,
        environment: Mapping[str, str] | None = None,
        **conf: Any,
    ) -> Any:
        folder = make_label_app(tmp_path / "label_app") if app is None else app
        conf = {"bundle": bundle or trained_bundle.root, **conf}
        server = Server(folder, studies, conf, *options, environment=environment or {})
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(trained_bundle: Any, app_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The real server with four studies, for tests that leave them as they are."""
    from .server import Server

    studies = fill_studies(tmp_path_factory.mktemp("server") / "studies", trained_bundle, 4)
    found = Server(app_folder, studies, {"bundle": trained_bundle.root}).start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def study(server: Any) -> str:
    """The first of its studies."""
    return sorted(server.get("/datastore/", output="all")["objects"])[0]

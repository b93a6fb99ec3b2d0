"""`--tracking mlflow`, MONAI's own switch, with every training, and the overlay of Weights & Biases.

MLflow and wandb are stood in for, but for the last tests, which run where they are installed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import monai.handlers.mlflow_handler as mlflow_handler
import pytest

from .conftest import BUNDLES, TRAINED


class Client:
    """Records what MONAI's handler logs, and refuses what MLflow would: a metric is a number."""

    logged: dict[str, list[tuple[int, float]]]
    artifacts: list[str]
    runs: dict[str, SimpleNamespace]

    def __init__(self, tracking_uri: str | None = None) -> None:
        self.tracking_uri = "memory"

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id="1", lifecycle_stage="active")

    def search_runs(self, experiment: str) -> list[SimpleNamespace]:
        return list(self.runs.values())

    def create_run(self, experiment_id: str, run_name: str) -> SimpleNamespace:
        info = SimpleNamespace(run_id=str(len(self.runs)), run_name=run_name, status="RUNNING")
        self.runs[info.run_id] = SimpleNamespace(info=info, data=SimpleNamespace(params={}))
        return self.runs[info.run_id]

    def get_run(self, run_id: str) -> SimpleNamespace:
        return self.runs[run_id]

    def log_batch(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        for key, value, _, step in metrics:
            self.logged.setdefault(key, []).append((step, float(value)))

    def log_artifact(self, run_id: str, file: str) -> None:
        self.artifacts.append(file)

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    recorded = type("Recorded", (Client,), {"logged": {}, "artifacts": [], "runs": {}})
    entities = SimpleNamespace(
        Metric=lambda *values: values,
        Param=lambda *values: values,
        LifecycleStage=SimpleNamespace(ACTIVE="active"),
        RunStatus=SimpleNamespace(to_string=str, FINISHED="FINISHED"),
    )
    fake = SimpleNamespace(
        tracking=SimpleNamespace(MlflowClient=recorded), MlflowClient=recorded, entities=entities, __version__="3.0"
    )
    monkeypatch.setattr(mlflow_handler, "mlflow", fake)
    return recorded


def check(client: type[Client], root: Any, iterations: int) -> None:
    losses = client.logged["train_loss"]
    assert [step for step, _ in losses] == list(range(1, 1 + iterations))
    assert all(0 < loss < 10 for _, loss in losses)
    assert len({loss for _, loss in losses}) == iterations
    assert len(client.logged["lr_group_0"]) == iterations
    validated = [name for name in client.logged if name.startswith("val_")]
    assert len(validated) >= 1
    assert {run.info.status for run in client.runs.values()} == {"FINISHED"}
    assert len(list(root.rglob("config_*.json"))) == 1


@pytest.mark.parametrize("name", BUNDLES)
def test_losses_and_validation_are_tracked(
    name: str, client: type[Client], make_bundle: Any, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    bundle = make_bundle(tmp_path, name, dataset_dir=str(request.getfixturevalue(TRAINED[name]).phantoms))
    bundle.run(tracking="mlflow")
    check(client, bundle.root, 4)


@pytest.mark.parametrize("stage", ["autoencoder", "anatomy", "diffusion"])
def test_every_stage_is_tracked(
    stage: str, client: type[Client], make_bundle: Any, trained_chest: Any, tmp_path: Any
) -> None:
    bundle = make_bundle(tmp_path, "chest_xray")
    bundle.training = f"train_{stage}.yaml"
    bundle.overrides = {**trained_chest.stages[stage], "dataset_dir": str(trained_chest.phantoms)}
    for name in ("autoencoder.pt", "autoencoder.yaml"):
        (bundle.root / "models").mkdir(exist_ok=True)
        if stage == "diffusion":
            shutil.copy(trained_chest.root / "models" / name, bundle.root / "models")
    bundle.run(tracking="mlflow")
    check(client, bundle.root, 4)


def test_inference_is_tracked(client: type[Client], trained_bundle: Any, tmp_path: Any, own_logging: Any) -> None:
    from monai.bundle import run

    with own_logging():
        values = {"bundle_root": str(trained_bundle.root), "output_dir": str(tmp_path), "amp_dtype": "float32"}
        run(config_file=trained_bundle.config("inference.yaml"), tracking="mlflow", **values)
    assert {one.info.status for one in client.runs.values()} == {"FINISHED"}
    assert len(list(tmp_path.glob("*.nii.gz"))) == 4


@pytest.mark.parametrize("rank", ["0", "1"])
def test_weights_and_biases_is_called_before_anything_is_written(
    rank: str, make_bundle: Any, trained_bundle: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the calls: what wandb makes of them is for the test below."""
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms), max_images=8)
    calls: list[Any] = []

    def init(**options: Any) -> None:
        assert Path(options["dir"]).is_dir()
        calls.append((options, (bundle.root / "eval" / "tensorboard").exists()))

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, finish=lambda: calls.append("finished")))
    bundle.run("training", "wandb.yaml")
    options = {"dir": f"{bundle.root}/eval", "sync_tensorboard": True, "project": "monai_segdiff", "mode": "offline"}
    assert calls == ([(options, False)] if rank == "0" else []) + ["finished"]


@pytest.mark.slow
def test_mlflow_itself_records_a_training(
    make_bundle: Any, trained_bundle: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms))
    bundle.run(tracking="mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{bundle.root}/eval/mlruns.db")
    experiment = client.get_experiment_by_name("monai_experiment")
    (run,) = client.search_runs(experiment.experiment_id, filter_string="attributes.status = 'FINISHED'")
    losses = client.get_metric_history(run.info.run_id, "train_loss")
    assert [one.step for one in losses] == [1, 2, 3, 4]
    assert len({one.value for one in losses}) == 4
    assert "val_mse" in {name for found in client.search_runs(experiment.experiment_id) for name in found.data.metrics}


@pytest.mark.slow
def test_wandb_itself_records_a_training(
    make_bundle: Any, trained_bundle: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms))
    bundle.run("training", "wandb.yaml")
    (record,) = (bundle.root / "eval" / "wandb").glob("offline-run-*/run-*.wandb")
    content = record.read_bytes()
    assert all(name in content for name in (b"train_loss", b"val_mse"))
    assert list(record.parent.rglob("media/images/*.png"))

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff import copy_bundle


def pytest_configure() -> None:
    """Let processes that tests start be interrupted: in the background a shell has them ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def segdiff_data() -> Path:
    """Folder of real sample data."""
    folder = os.environ.get("SEGDIFF_DATA")
    if not folder:
        pytest.skip("set SEGDIFF_DATA to the folder of real sample data to run this test")
    if not Path(folder).is_dir():
        pytest.skip(f"SEGDIFF_DATA={folder} is not a folder")
    return Path(folder).resolve()


# A network of a few thousand weights that after four iterations does not give zeros any more.
TINY = {
    "image_size": [16, 16],
    "channels": [8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "norm_num_groups": 4,
    "num_steps": 4,
    "batch_size": 4,
    "images_per_epoch": 8,
    "max_images": 16,
    "learning_rate": 0.01,
    "warmup_steps": 1,
    "cooldown": 0.0,  # so that a longer training begins as a shorter one
    "checkpoint_interval": 1,
    "amp_dtype": "float32",
    "val_interval": 1,
    "preview_interval": 2,
    "preview_images": 2,
    "phantom_patients": 10,
    "phantoms#fractions": [0.6, 0.2, 0.2],
    "phantoms#progress": False,
}
_STAGE = {"batch_size": 4, "images_per_epoch": 8, "max_images": 16, "learning_rate": 0.01, "val_interval": 1}
_AUTOENCODER = {"channels": [8, 8, 8], "num_res_blocks": 1, "middle_attention": False, "norm_num_groups": 4}
_DISCRIMINATOR = {"spatial_dims": 2, "in_channels": 1, "channels": 4, "num_layers_d": 1, "norm": "INSTANCE"}
_CHEST = {
    **{name: TINY[name] for name in ("image_size", "warmup_steps", "cooldown", "amp_dtype", "checkpoint_interval")},
    **{name: TINY[name] for name in ("preview_interval", "preview_images", "phantoms#fractions", "phantoms#progress")},
    "phantom_patients": 20,
}
CHEST_STAGES = {
    **{
        stage: {
            **_CHEST,
            f"{stage}_size": _AUTOENCODER,
            f"{stage}_training": {**_STAGE, "adversarial_start": 8},
            "discriminator_options": _DISCRIMINATOR,
        }
        for stage in ("autoencoder", "anatomy")
    },
    "diffusion": {
        **_CHEST,
        "num_steps": 4,
        "diffusion_size": {
            "channels": [8, 8],
            "num_res_blocks": 1,
            "attention_levels": [False, True],
            "num_head_channels": 4,
            "norm_num_groups": 4,
        },
        "context_dim": 8,
        "diffusion_training": _STAGE,
    },
}
TINY_OF = {
    "breast_mri": {**TINY, "num_head_channels": 4, "phantom_slices": 2},
    "ct_organ": {**TINY, "num_head_channels": 4, "phantom_slices": 2},
    "knee_drr": {**TINY, "phantom_views": 2},
    "chest_xray": CHEST_STAGES["diffusion"],
}


@contextmanager
def _own_logging() -> Iterator[None]:
    """A bundle configures logging and the report of exceptions for its process; here it is one of many."""
    root, hook = logging.getLogger(), sys.excepthook
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        sys.excepthook = hook
        root.setLevel(level)
        root.handlers[:] = handlers


@dataclass
class TinyBundle:
    """A copy of a bundle that trains in two seconds."""

    root: Path
    overrides: dict[str, Any]
    training: str = "train.yaml"
    stages: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # overrides of every training where there are several

    def config(self, *names: str) -> list[str]:
        return [str(self.root / "configs" / name) for name in names]

    def run(self, run_id: str | None = "training", *overlays: str, **overrides: Any) -> None:
        from monai.bundle import run

        values = {"bundle_root": str(self.root), **self.overrides, **overrides}
        with _own_logging():
            run(run_id, config_file=self.config(self.training, *overlays), **values)

    @property
    def weights(self) -> Path:
        return self.root / "models" / "model.pt"

    @property
    def phantoms(self) -> Path:
        size = "x".join(map(str, self.overrides["image_size"]))
        return self.root / f"phantoms_{size}"


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., TinyBundle]:
    """Copy a bundle to a folder; nothing in it is trained."""

    def make(folder: Path, name: str = "ct_organ", **overrides: Any) -> TinyBundle:
        return TinyBundle(copy_bundle(name, folder / name), {**TINY_OF[name], **overrides})

    return make


@pytest.fixture(scope="session")
def trained_bundle(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., TinyBundle]) -> TinyBundle:
    """``ct_organ`` after a training on phantoms: not to be changed."""
    bundle = make_bundle(tmp_path_factory.mktemp("trained"))
    bundle.run()
    return bundle


@pytest.fixture(scope="session")
def trained_breast(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., TinyBundle]) -> TinyBundle:
    """``breast_mri`` after a training on phantoms: not to be changed."""
    bundle = make_bundle(tmp_path_factory.mktemp("trained"), "breast_mri")
    bundle.run()
    return bundle


@pytest.fixture(scope="session")
def trained_knee(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., TinyBundle]) -> TinyBundle:
    """``knee_drr`` after a training on phantoms: not to be changed."""
    bundle = make_bundle(tmp_path_factory.mktemp("trained"), "knee_drr")
    bundle.run()
    return bundle


@pytest.fixture(scope="session")
def trained_chest(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., TinyBundle]) -> TinyBundle:
    """``chest_xray`` after its three trainings on phantoms: not to be changed."""
    bundle = make_bundle(tmp_path_factory.mktemp("trained"), "chest_xray")
    for stage, overrides in CHEST_STAGES.items():
        TinyBundle(bundle.root, overrides, f"train_{stage}.yaml").run()
    bundle.training, bundle.stages = "train_diffusion.yaml", CHEST_STAGES
    return bundle


@pytest.fixture(scope="session")
def own_logging() -> Callable[[], Any]:
    """Context that undoes what a bundle sets for its process."""
    return _own_logging


@pytest.fixture
def figures() -> Any:
    """What a trial of a plan may have shown: round figures, of which expected times follow."""
    from monai_segdiff.workflows.plan.estimate import Measured
    from monai_segdiff.workflows.plan.trial import Trial

    return Measured(
        prepare_seconds=2.0,
        report_seconds=10.0,
        report_images=100,
        report_image=0.1,
        trial=Trial(
            step_seconds=0.5,
            batch_size=16,
            network_seconds=0.25,
            sampled_at_once=16,
            read_seconds=0.001,
            validate_seconds=0.2,
            start_seconds=5.0,
            peak_bytes=2**29,
            gpu_bytes=0,
            segmenter_seconds=0.1,
            segmenter_batch=16,
        ),
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, figures: Any) -> list[dict[str, Any]]:
    """These figures in place of what a trial measures; the list holds the plans that it was asked for."""
    from monai_segdiff.workflows.plan import make

    asked = []

    def measure(source: Any, values: dict[str, Any], folder: Path) -> Any:
        asked.append(dict(values))
        return figures

    monkeypatch.setattr(make, "measure", measure)
    return asked


@pytest.fixture(scope="session")
def aging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes about as bright as their patients are old, under one mask, prepared; every fourth age is unknown."""
    import nibabel as nib
    import numpy as np

    from monai_segdiff.__main__ import main

    root = tmp_path_factory.mktemp("aging")
    label = np.zeros((16, 16), dtype=np.uint8)
    label[4:12, 4:12] = 1
    lines = ["id,age,sex"]
    for number, age in enumerate(range(20, 84, 2)):
        image = np.full((16, 16), age, dtype=np.float32) + np.where(np.arange(16) % 2, 3, -3).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            (root / "raw" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / "raw" / part / f"p{number}.nii.gz")
        lines.append(f"p{number},{'' if number % 4 == 3 else age},{'FM'[number % 2]}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    arguments = ["--classes", "block=1", "--size", str(16), "--intensity-range", "0", "100"]
    arguments += ["--covariates", "age", "sex", "--covariates-table", str(root / "table.csv")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["prepare", str(root / "raw"), str(root / "set"), *arguments]) == 0
    return root / "set"


@pytest.fixture(scope="session")
def aging_bundle(
    tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., TinyBundle], aging: Path
) -> TinyBundle:
    """A bundle that was trained on these for four iterations."""
    tiny = make_bundle(tmp_path_factory.mktemp("aging_bundle"), dataset_dir=str(aging))
    tiny.run()
    return tiny

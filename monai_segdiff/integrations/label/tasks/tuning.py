"""Fine-tuning the generator on the studies at hand, by the bundle's own training."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from monailabel.interfaces.tasks.train import TrainTask

from monai_segdiff.data import Case
from monai_segdiff.files import atomic_file
from monai_segdiff.generation.folder import copy_file
from monai_segdiff.integrations.label.firewall.parameters import TrainingParameters
from monai_segdiff.integrations.label.store.json_store import read_notes, write_notes
from monai_segdiff.integrations.label.store.slices import as_slice
from monai_segdiff.integrations.label.store.studies import real_cases
from monai_segdiff.integrations.label.store.training_data import check_studies, split_studies, write_studies
from monai_segdiff.integrations.label.store.training_patients import note_seen
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.integrations.label.tasks.task_process import one_at_a_time, remember_server
from monai_segdiff.networks import read_card, save_weights, weights_hash
from monai_segdiff.networks.weights import HASHES, read_weights

__all__ = ["TuneGenerator", "can_be_tuned"]

_IMAGES, _EPOCHS = 2000, 10
_LEARNING_RATE = 5e-5
_LAST_LINES = 5
# The training must end with its parent process, even if that is killed.
_WATCHED = (
    "import runpy, sys; from monai_segdiff.integrations.label.tasks.task_process import end_with; "
    "end_with(int(sys.argv.pop(1))); runpy.run_module('monai.bundle', run_name='__main__', alter_sys=True)"
)


def can_be_tuned(bundle: Path) -> bool:
    """Whether a bundle has one training, which starts from a label map and an image.

    Args:
        bundle: its folder.
    """
    return (bundle / "configs" / "train.yaml").is_file()


class TuneGenerator(TrainTask):
    """Go on training the generator, from its weights, with the real studies.

    The bundle's ``train.yaml`` runs in a process of its own, with an overlay for data, weights and length. The network
    is the one in the card of the weights. A killed training continues when it is requested again; one with other
    studies or parameters begins anew. Further images use the result until it is removed.

    Args:
        pairs: what generates; its folder holds data set, checkpoints, weights and figures.
    """

    def __init__(self, pairs: PairGenerator) -> None:
        super().__init__("fine-tune the generator on the real studies")
        self.pairs = pairs
        self.work = pairs.work
        remember_server()

    def config(self) -> dict[str, Any]:
        """Parameters with their defaults; ``images`` is the length in images seen."""
        return {"images": _IMAGES, "seed": 0, "held_out": 0.25, "learning_rate": _LEARNING_RATE}

    def stats(self) -> dict[str, Any]:
        """What the last training was."""
        return read_notes(self.work / "figures.json") or {}

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Fine-tune.

        Args:
            request: as :class:`~monai_segdiff.integrations.label.firewall.parameters.TrainingParameters` says.
            datastore: the studies.

        Returns:
            Number of studies and images seen, and the hash of the new weights.

        Raises:
            RequestError: if there are too few studies, one does not fit the generator, or another training is at work.
            RuntimeError: if the training fails, with its last words.
        """
        parameters = TrainingParameters.read(request)
        with one_at_a_time(self.work, "training"):
            return self._tune(parameters, datastore)

    def _tune(self, parameters: TrainingParameters, datastore: Any) -> dict[str, Any]:
        cases = real_cases(datastore)
        check_studies(cases, self.pairs.generator)
        splits = split_studies(cases, parameters.held_out, parameters.seed, "validation")
        weights = self.pairs.weights
        run = self.work / f"run-{self._digest(cases, parameters, weights)}"
        for other in self.work.glob("run-*"):
            if other != run:
                shutil.rmtree(other)
        start, made = run / "start.pt", run / "models" / "model.pt"
        if not start.is_file():  # the training may replace what it starts from
            for ending in (".yaml", ".pt"):
                copy_file(weights.with_suffix(ending), start.with_suffix(ending))
        _train(self._configuration(run, start, splits, parameters))
        seen = {case.patient for case in splits["training"]}
        note_seen(self.work / "seen.json", weights_hash(made), seen, weights_hash(start))
        save_weights(read_weights(made), self.pairs.tuned, read_card(made))
        shutil.rmtree(run)
        found = {
            "studies": {name: len(members) for name, members in splits.items()},
            "images": parameters.images or _IMAGES,
            "weights_sha256": self.pairs.weights_hash(),
        }
        write_notes(self.work / "figures.json", found)
        return found

    def _digest(self, cases: Sequence[Case], parameters: TrainingParameters, weights: Path) -> str:
        digest = hashlib.sha256(repr((parameters, weights.stat().st_mtime_ns)).encode())
        for case in cases:
            for file in (case.image, case.label):
                assert file is not None
                digest.update(case.id.encode() + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()[:16]

    def _configuration(
        self, run: Path, start: Path, splits: dict[str, list[Case]], parameters: TrainingParameters
    ) -> list[Path]:
        images = parameters.images or _IMAGES
        dims = len(self.pairs.generator.image_size)
        slices = {name: [_sliced(case, dims, run / "slices") for case in members] for name, members in splits.items()}
        data = write_studies(run / "data", slices, self.pairs.generator)
        # Nothing of a path or a card may be evaluated: paths are absolute, so that none begins as an expression does,
        # and what the card says, such as names of classes, is looked up by expressions of ours.
        folders = {
            "bundle_root": self.pairs.bundle,
            "ckpt_dir": run / "models",
            "output_dir": run / "eval",
            "dataset_dir": data,
            "start": start,
        }
        values = {
            **{name: str(folder.absolute()) for name, folder in folders.items()},
            "start_card": "$monai_segdiff.networks.cards.opened(monai_segdiff.networks.read_card(@start))",
            **{name: f"$@start_card[{name!r}]" for name in read_card(start) if name != HASHES},
            "network": "$monai_segdiff.networks.load_weights(@network_def.to(@device), @start, @start_card)",
            "seed": parameters.seed,
            "learning_rate": parameters.learning_rate or _LEARNING_RATE,
            "max_images": images,
            "images_per_epoch": f"$max(@batch_size, {images // _EPOCHS})",
            # A short training must not end before the learning rate is up, or the average follows.
            "warmup_steps": "$max(1, @total_steps // 10)",
            "ema_momentum": "$max(0.0005, min(0.5, 10 / @total_steps))",
            "val_interval": _EPOCHS,
            "preview_interval": _EPOCHS,
        }
        overlay = run / "tune.yaml"
        with atomic_file(overlay) as temporary:
            temporary.write_text(yaml.safe_dump(values))
        return [self.pairs.bundle / "configs" / "train.yaml", overlay]


def _sliced(case: Case, dims: int, folder: Path) -> Case:
    """A study with the axes that the bundle's training takes."""
    assert case.image is not None
    assert case.label is not None
    image, label = as_slice(case.image, dims, folder / "images"), as_slice(case.label, dims, folder / "labels")
    return replace(case, image=image, label=label)


def _train(files: Sequence[Path]) -> None:
    """Run a bundle's training in a process of its own, which it configures as it likes."""
    command = [sys.executable, "-c", _WATCHED, str(os.getpid()), "run", "training"]
    command += ["--config_file", str([str(file) for file in files])]
    command += ["--logging_file", str(files[0].with_name("logging.conf"))]
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                last.append(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RuntimeError(f"the training ended with code {process.returncode}: {' | '.join(filter(None, last))}")

"""Training a segmenter on real studies, with and without synthetic pairs, and its Dice on real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.tasks.train import TrainTask

from monai_segdiff.evaluation.measure.inputs import Inputs, read_inputs
from monai_segdiff.evaluation.measure.origins import HELD_OUT, TRAINING
from monai_segdiff.evaluation.report.report import Section
from monai_segdiff.evaluation.sections.utility import Utility
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.parameters import TrainingParameters
from monai_segdiff.integrations.label.store.json_store import read_notes, write_notes
from monai_segdiff.integrations.label.store.studies import real_cases, synthetic_cases
from monai_segdiff.integrations.label.store.training_data import check_studies, split_studies, write_studies
from monai_segdiff.integrations.label.store.training_patients import warn_of_seen
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.integrations.label.tasks.task_process import one_at_a_time, remember_server
from monai_segdiff.metrics import Estimate

__all__ = ["TrainSegmenter"]


class TrainSegmenter(TrainTask):
    """Segmenters trained on real studies, on synthetic ones and on both, and tested on real ones that are held out.

    A pair whose source is held out is left out of the trainings, as are pairs whose label maps lack classes. Where a
    pair is of a generator that was fine-tuned on patients that are tested on, the answer warns of it.

    Args:
        pairs: what generated the synthetic studies; its classes are learned.
        work: folder for data sets, segmenters and figures.
    """

    def __init__(self, pairs: PairGenerator, work: Path) -> None:
        super().__init__("segmenter on real studies, with and without synthetic ones; Dice on held-out real ones")
        self.pairs = pairs
        self.work = work
        remember_server()

    def config(self) -> dict[str, Any]:
        """Parameters with their defaults; ``images`` is the length of each training in images seen."""
        return {"images": "", "seed": 0, "seeds": 1, "held_out": 0.25}

    def stats(self) -> dict[str, Any]:
        """Figures of the last training."""
        return read_notes(self.work / "figures.json") or {}

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Train and test.

        Args:
            request: as :class:`~monai_segdiff.integrations.label.firewall.parameters.TrainingParameters` says.
            datastore: the studies.

        Returns:
            ``dice``, ``interval`` and number of training ``images`` by kind, their differences, and remarks.

        Raises:
            RequestError: if there are too few studies, no synthetic ones, one of another size than the generator's, or
                another training is at work.
        """
        parameters = TrainingParameters.read(request)
        with one_at_a_time(self.work, "training"):
            try:
                found = _figures(self._section(parameters, datastore))
            except RequestError:
                raise
            except (ValueError, FileNotFoundError) as error:  # of studies that do not fit each other
                raise RequestError(str(error)) from error
            write_notes(self.work / "figures.json", found)
            return found

    def _section(self, parameters: TrainingParameters, datastore: Any) -> Section:
        inputs, origins, records = self._inputs(parameters, datastore)
        finite = torch.tensor([bool(inputs.synthetic_reader(case).image.isfinite().all()) for case in inputs.generated])
        cache = self.work / "segmenters"
        section = Utility(cache, parameters.seeds, parameters.images).of(inputs, finite, origins, parameters.seed)
        section.warnings += warn_of_seen(self.pairs.work / "seen.json", records, {c.patient for c in inputs.held_out})
        return section

    def _inputs(self, parameters: TrainingParameters, datastore: Any) -> tuple[Inputs, list[str], list[dict[str, Any]]]:
        """Both data sets, where each synthetic case comes from, and the records of all."""
        real = real_cases(datastore)
        splits = split_studies(real, parameters.held_out, parameters.seed, "test")
        whole = [
            (case, record)
            for case, record in synthetic_cases(datastore)
            if not record["parameters"].get("drop_classes")
        ]
        if not whole:
            raise RequestError("no synthetic study has a whole label map: run a batch without drop_classes first")
        generator = self.pairs.generator
        check_studies([*real, *(case for case, _ in whole)], generator)
        made = {"training": [case for case, _ in whole]}
        inputs = read_inputs(
            write_studies(self.work / "real", splits, generator),
            write_studies(self.work / "synthetic", made, generator, synthetic=True),
        )
        held_out = {case.id for case in inputs.held_out}
        source = {case.id: record["source"] for case, record in whole}
        origins = [HELD_OUT if source[case.id] in held_out else TRAINING for case in inputs.generated]
        return inputs, origins, [record for _, record in whole]


def _figures(section: Section) -> dict[str, Any]:
    dice: dict[str, Any] = {}
    interval: dict[str, Any] = {}
    images: dict[str, Any] = {}
    for row in section.rows:
        mean = row.cells["mean"]
        assert isinstance(mean, Estimate)
        dice[row.key], interval[row.key] = mean.value, [mean.low, mean.high]
        if row.cells.get("images") is not None:
            images[row.key] = row.cells["images"]
    return {
        "dice": dice,
        "interval": interval,
        "images": images,
        "notes": section.notes,
        "warnings": section.warnings,
    }

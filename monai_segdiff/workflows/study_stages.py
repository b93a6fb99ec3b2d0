"""The stages of a study: what each depends on, does, and leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from monai_segdiff.data import check_dataset, prepare_dataset
from monai_segdiff.data.issues import Issue
from monai_segdiff.digests import digest_of
from monai_segdiff.evaluation import evaluate
from monai_segdiff.evenly import evenly
from monai_segdiff.files import atomic_file
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.generation.default_weights import default_weights
from monai_segdiff.metrics import Estimate
from monai_segdiff.workflows.plan.document import read_plan, write_plan
from monai_segdiff.workflows.plan.estimate import planned_splits, prepare_arguments
from monai_segdiff.workflows.plan.fingerprint import Fingerprint, read_fingerprint, take_fingerprint, write_fingerprint
from monai_segdiff.workflows.plan.machine import this_machine
from monai_segdiff.workflows.plan.make import Wish, in_words, plan_study
from monai_segdiff.workflows.plan.picture import overview
from monai_segdiff.workflows.study_data import PLANNED, choices_of, planned_of, prepare_options
from monai_segdiff.workflows.study_folder import Study
from monai_segdiff.workflows.study_stage import Stage, guidance_of, prepared_digest, section_of
from monai_segdiff.workflows.study_state import plain
from monai_segdiff.workflows.study_training import Guide, Train, Tune

__all__ = ["STAGES"]

_SHOWN = 5  # warnings
_OPTION = {"patients": "patients-csv"}  # that are not called as the argument is


class _Check(Stage):
    doing = "reading every file of the data"

    def inputs(self, study: Study) -> dict[str, Any]:
        return {"data": study.source.fingerprint, **_of_data(study)}

    def result(self, study: Study) -> Path:
        return study.root / "check.txt"

    def run(self, study: Study, result: dict[str, Any]) -> None:
        issues = _issues(study)
        errors = [issue for issue in issues if issue.severity == "error"]
        lines = [*map(str, issues), f"{len(errors)} errors, {len(issues) - len(errors)} warnings"]
        with atomic_file(self.result(study)) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for line in lines[: min(_SHOWN, len(issues))]:
            study.say(f"  {line}")
        if errors:
            raise ValueError(
                f"the data have {len(errors)} errors, all in {self.result(study)}; the first: {errors[0].file}: "
                f"{errors[0].message}; {errors[0].remedy}"
            )
        result["said"] = lines[-1]
        for remark in study.source.remarks:
            study.say(f"  {remark}")

    def said(self, study: Study) -> str:
        return f"{study.state.stages['check'].result['said']}, in {self.result(study)}"


class _Plan(Stage):
    doing = "measuring the data, and a few real steps"

    def inputs(self, study: Study) -> dict[str, Any]:
        return {"data": study.source.fingerprint, **study.given, **asdict(self._wish(study))}

    def result(self, study: Study) -> Path:
        return study.plan

    def is_there(self, study: Study) -> bool:
        files = (study.plan, study.overview, study.root / "fingerprint.json")
        return all(file.is_file() for file in files) and digest_of(study.plan) == self._before(study).get("plan")

    def remove(self, study: Study) -> None:
        """Nothing: what the user has edited in a plan stays."""

    def run(self, study: Study, result: dict[str, Any]) -> None:
        fingerprint, known = self._fingerprint(study), result
        before = dict(self._before(study))
        values = read_plan(study.plan) if study.plan.is_file() else {}
        planned = before.get("planned", {})
        edited = {key: value for key, value in values.items() if key not in planned or planned[key] != value}
        if before.get("wish", asdict(self._wish(study))) != asdict(self._wish(study)):
            edited.pop("max_images", None)
        asked = plain(planned_of(study.given))
        for key in asked:
            if before.get("asked", {}).get(key) != asked[key]:
                edited.pop(key, None)
        _check_said_once(study, edited)
        for key, value in edited.items():
            study.say(f"  {study.plan.name}: {key} is yours, {json.dumps(value, default=str)}")
        choices, times, found = plan_study(
            study.source,
            fingerprint,
            this_machine(),
            self._wish(study),
            edited,
            study.root / "trial",
            known=before.get("trial"),
            asked=asked,
        )
        write_plan(study.plan, choices)
        splits = planned_splits(study.source, prepare_arguments(read_plan(study.plan)))
        _write_picture(study.overview, overview(study.source, splits, fingerprint, choices))
        known["planned"], known["plan"] = choices.planned(), digest_of(study.plan)
        known["asked"] = asked
        known["wish"], known["expected"], known["trial"] = asdict(self._wish(study)), asdict(times), found
        known["said"] = f"expected {in_words(times)}"

    def said(self, study: Study) -> str:
        return f"{self._before(study)['said']}; look at {study.overview}, and edit {study.plan}"

    def _before(self, study: Study) -> dict[str, Any]:
        record = study.state.stages.get("plan")
        return {} if record is None else record.result

    def _wish(self, study: Study) -> Wish:
        """What is asked for now, or else was before."""
        if study.wish != Wish() or "wish" not in self._before(study):
            return study.wish
        return Wish(**self._before(study)["wish"])

    def _fingerprint(self, study: Study) -> Fingerprint:
        file = study.root / "fingerprint.json"
        if file.is_file():
            found = read_fingerprint(file)
            if found.source == study.source.fingerprint and set(found.classes) == set(study.source.classes):
                return found
        found = take_fingerprint(study.source, progress=study.progress)
        write_fingerprint(file, found)
        return found


class _Prepare(Stage):
    doing = "bringing all cases onto one grid and one scale"

    def inputs(self, study: Study) -> dict[str, Any]:
        arguments = prepare_arguments(read_plan(study.plan))
        arguments.pop("workers", None)  # how many are at work changes nothing
        return {"data": study.source.fingerprint, **_of_data(study), **arguments}

    def result(self, study: Study) -> Path:
        return study.prepared

    def run(self, study: Study, result: dict[str, Any]) -> None:
        arguments = prepare_arguments(read_plan(study.plan))
        where: Any = study.given["scans"] if study.given["labels"] is None else study.source.cases
        options = {**prepare_options(study.given), **arguments, "progress": study.progress}
        dataset = prepare_dataset(where, study.prepared, **options)
        counts = ", ".join(f"{len(cases)} {split}" for split, cases in dataset.splits.items())
        result["said"] = f"{counts}; split {dataset.split_kind}; classes {', '.join(dataset.classes)}"

    def said(self, study: Study) -> str:
        return str(study.state.stages["prepare"].result["said"])


class _Generate(Stage):
    doing = "generating images for held-out label maps"

    def inputs(self, study: Study) -> dict[str, Any]:
        return {
            "weights": digest_of(default_weights(study.bundle)),
            "guidance": guidance_of(study),
            "prepared data": prepared_digest(study),
            **section_of(study, "generate"),
        }

    def result(self, study: Study) -> Path:
        return study.synthetic

    def run(self, study: Study, result: dict[str, Any]) -> None:
        wanted = section_of(study, "generate")
        masks = evenly(collect_masks(study.prepared, wanted["split"]), wanted["most_masks"])
        dataset = generate_dataset(
            load_generator(study.bundle),
            masks,
            study.synthetic,
            per_mask=wanted["per_mask"],
            batch_size=wanted["batch_size"],
            progress=study.progress,
        )
        result["pairs"] = len(dataset.splits["training"])

    def said(self, study: Study) -> str:
        return f"{study.state.stages['generate'].result['pairs']} pairs in {study.synthetic}"


class _Evaluate(Stage):
    doing = "training a segmenter on real images, and writing the report"

    def inputs(self, study: Study) -> dict[str, Any]:
        pairs = digest_of(study.synthetic / "manifest.json")
        return {"pairs": pairs, "prepared data": prepared_digest(study), **section_of(study, "evaluate")}

    def result(self, study: Study) -> Path:
        return study.report

    def is_there(self, study: Study) -> bool:
        return (study.report / "report.html").is_file()

    def run(self, study: Study, result: dict[str, Any]) -> None:
        options = {"cache_dir": study.segmenter, **section_of(study, "evaluate")}
        report = evaluate(study.prepared, study.synthetic, study.report, progress=study.progress, **options)
        for name, place in _FIGURES.items():
            cell = report.cell(*place)
            result[name] = cell.value if isinstance(cell, Estimate) else cell

    def said(self, study: Study) -> str:
        return f"{study.report / 'report.html'}"


STAGES: dict[str, Stage] = {
    "check": _Check(),
    "plan": _Plan(),
    "prepare": _Prepare(),
    "train": Train(),
    "guide": Guide(),
    "tune": Tune(),
    "generate": _Generate(),
    "evaluate": _Evaluate(),
}
"""The stages by name, in their order."""

_FIGURES = {
    "dice": ("faithfulness", "mean", "dice"),
    "ceiling": ("faithfulness", "mean", "ceiling"),
    "failed": ("failed", "any", "rate"),
    "failed_real": ("failed", "any", "real"),
}


def _issues(study: Study) -> list[Issue]:
    """What is wrong with the data."""
    given = study.given
    return check_dataset(
        given["scans"],
        given["classes"],
        workers=this_machine().cores,
        progress=study.progress,
        choices=choices_of(given),
        labels=given["labels"],
        patients=given["patients"],
    )


def _of_data(study: Study) -> dict[str, Any]:
    """What was said of the data; what was said of the plan stands there."""
    return {name: value for name, value in study.given.items() if name not in PLANNED}


def _check_said_once(study: Study, edited: Mapping[str, Any]) -> None:
    """Refuse a plan that says otherwise of the data than the options do."""
    for name, said in prepare_options(study.given).items():
        in_plan = edited.get(f"prepare.{name}", said)
        if said and plain({name: in_plan}) != plain({name: said}):
            option = _OPTION.get(name, name.replace("_", "-"))
            raise ValueError(
                f"{study.plan}: prepare: {name} is {in_plan!r}, and --{option} was given as {said!r}: take the line "
                f"out, or give --{option} as it is there"
            )


def _write_picture(file: Path, pixels: np.ndarray) -> None:
    with atomic_file(file) as temporary:
        Image.fromarray(pixels).save(temporary)

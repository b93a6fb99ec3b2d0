"""A study: from a folder of scans to pairs and a report, each stage done once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data import pair_folders
from monai_segdiff.data.preparation.source import Asked, Source
from monai_segdiff.files import claim_folder
from monai_segdiff.workflows.plan.make import Wish
from monai_segdiff.workflows.study_folder import Study
from monai_segdiff.workflows.study_stages import STAGES, Stage
from monai_segdiff.workflows.study_state import StudyState

__all__ = ["STAGE_NAMES", "make_plan", "run_study"]

STAGE_NAMES = tuple(STAGES)
"""Names of the stages, in their order."""


def run_study(
    scans: str | Path,
    output: str | Path,
    *,
    hours: float | None = None,
    images: int | None = None,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    labels: str | Path | None = None,
    patients: str | Path | None = None,
    until: str = "evaluate",
    progress: bool = True,
) -> Study:
    """Check, plan, prepare, train, generate for held-out masks, and evaluate.

    A stage whose result is there, made from what there is now, is not done again. The plan, ``plan.yaml`` in the
    output folder, can be edited between two runs: what depends on it is then done again, and nothing else.

    Args:
        scans: folder of the data, as :func:`~monai_segdiff.data.prepare_dataset` takes it.
        output: folder of the study; holds ``check.txt``, ``plan.yaml``, ``overview.png``, ``fingerprint.json``,
            ``prepared``, ``bundle``, ``synthetic``, ``report`` and ``study.json``.
        hours: time for everything.
        images: that the training sees, instead. With neither, the plan that is there holds, or the default length.
        classes: class name to label id or ids; by default as the data say.
        labels: folder of label maps, where `scans` is a plain folder of images of the same names.
        patients: CSV file that says whose each case is.
        until: the last stage: "check", "plan", "prepare", "train", "generate" or "evaluate".
        progress: whether to show progress bars and say what is done.

    Returns:
        The study.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if the data have errors, an argument or a line of the plan is not possible, or the folder is that
            of a study of other data; says what to do.
        FileExistsError: if another run is writing to the folder, or something else is in the way.
        OSError: if a file cannot be written.
    """
    if until not in STAGE_NAMES:
        raise ValueError(f"until (--until) must be one of {', '.join(STAGE_NAMES)}, not {until!r}")
    wish = Wish(hours, images)
    given = {
        "scans": str(Path(scans).expanduser().resolve()),
        "labels": labels and str(Path(labels).expanduser().resolve()),
        "classes": None if classes is None else {name: classes[name] for name in classes},
        "patients": patients and str(Path(patients).expanduser().resolve()),
    }
    source = _open(given, progress)
    with claim_folder(output) as root:
        state = StudyState.read(Path(root) / "study.json")
        study = Study(Path(root).resolve(), source, given, wish, state, progress)
        _keep_to_its_data(study)
        for name, stage in STAGES.items():
            _do(study, name, stage)
            if name == until:
                break
    return study


def make_plan(
    scans: str | Path,
    output: str | Path,
    *,
    hours: float | None = None,
    images: int | None = None,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    labels: str | Path | None = None,
    patients: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Check the data, say what they are, and plan a study of them; see :func:`run_study`, which goes on from there.

    Args:
        scans: as for `run_study`, and so the others.
        output: folder of the study.
        hours: time for everything.
        images: that the training sees, instead.
        classes: class name to label id or ids.
        labels: folder of label maps.
        patients: CSV file that says whose each case is.
        progress: whether to show progress bars and say what is done.

    Returns:
        The plan.

    Raises:
        ValueError: as `run_study` does, and so the others.
    """
    study = run_study(
        scans,
        output,
        hours=hours,
        images=images,
        classes=classes,
        labels=labels,
        patients=patients,
        until="plan",
        progress=progress,
    )
    return study.plan


def _open(given: Mapping[str, Any], progress: bool) -> Source:
    where: Any = given["scans"]
    if given["labels"] is not None:
        where = pair_folders(where, given["labels"])
    return Source.open(where, Asked(classes=given["classes"], patients=given["patients"], progress=progress))


def _keep_to_its_data(study: Study) -> None:
    """Refuse the folder of a study of other data."""
    if not study.state.data:
        study.state.data = study.given
    if study.state.data["scans"] != study.given["scans"]:
        raise ValueError(
            f"{study.root} is a study of {study.state.data['scans']}, not of {study.given['scans']}: choose another "
            "folder (--output)"
        )
    study.state.data = study.given


def _do(study: Study, name: str, stage: Stage) -> None:
    """A stage, unless its result is there and current."""
    inputs = stage.inputs(study)
    if study.state.is_current(name, inputs) and stage.is_there(study):
        study.say(f"[{name}] is current: {stage.said(study)}")
        return
    if changes := study.state.changes(name, inputs):
        study.say(f"[{name}] is done again, as this is new: {', '.join(changes)}")
        stage.remove(study)
    elif name not in study.state.stages and (blocking := stage.result(study)).exists():
        raise FileExistsError(f"{blocking} is there and not of this study: move it away, or choose another folder")
    else:
        study.say(f"[{name}] {stage.doing}")
    with study.state.running(name, inputs) as result:
        stage.run(study, result)
    study.say(f"[{name}] done in {study.state.stages[name].seconds:.0f} s: {stage.said(study)}")

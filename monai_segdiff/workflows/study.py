"""A study: from a folder of scans to pairs and a report, each stage done once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data.layout import Choices
from monai_segdiff.files import claim_folder
from monai_segdiff.workflows.plan.make import Wish
from monai_segdiff.workflows.study_data import given_of, open_source, with_recorded
from monai_segdiff.workflows.study_folder import Study
from monai_segdiff.workflows.study_stage import Stage
from monai_segdiff.workflows.study_stages import STAGES
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
    choices: Choices | None = None,
    channels: Sequence[str] | None = None,
    covariates: Sequence[str] | None = None,
    covariates_table: str | Path | None = None,
    parents: Mapping[str, str] | None = None,
    fractions: Sequence[float] | None = None,
    seed: int | None = None,
    keep_split: bool = False,
    until: str = "evaluate",
    progress: bool = True,
) -> Study:
    """Check, plan, prepare, train, generate for held-out masks, and evaluate.

    A stage whose result is there, made from what there is now, is not done again. The plan, ``plan.yaml`` in the
    output folder, can be edited between two runs: what depends on it is then done again, and nothing else. What was
    said of the data and their split is kept in the folder, and holds until something else is said.

    Args:
        scans: folder of the data, as :func:`~monai_segdiff.data.prepare_dataset` takes it.
        output: folder of the study; holds ``check.txt``, ``plan.yaml``, ``overview.png``, ``fingerprint.json``,
            ``prepared``, ``bundle``, ``synthetic``, ``report`` and ``study.json``.
        hours: time for everything.
        images: that the training sees, instead. With neither, the plan that is there holds, or the default length.
        classes: class name to label id or ids; by default as the data say.
        labels: folder of label maps, where `scans` is a plain folder of images of the same names.
        patients: CSV file that says whose each case is.
        choices: what decides where the folder alone does not: names of files, a fold, segments; its classes are those
            given here.
        channels: as for `prepare_dataset`, and so the next six.
        covariates: names of what else the network is told of each patient or image.
        covariates_table: CSV file with a column for each.
        parents: class name to the name of the class that encloses it; by default as the data show.
        fractions: shares of training, validation and test.
        seed: of the split.
        keep_split: whether the data's own split is kept.
        until: the last stage: "check", "plan", "prepare", "train", "guide", "tune", "generate" or "evaluate".
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
    options = {
        "classes": classes,
        "labels": labels,
        "patients": patients,
        "channels": channels,
        "covariates": covariates,
        "covariates_table": covariates_table,
        "parents": parents,
        "fractions": fractions,
        "seed": seed,
    }
    said = given_of(scans, options, choices, keep_split)
    given = _with_recorded(said, Path(output).expanduser())
    source = open_source(given, progress)
    with claim_folder(output) as root:
        state = StudyState.read(Path(root) / "study.json")
        state.data = state.data or {"scans": given["scans"]}
        study = Study(Path(root).resolve(), source, given, wish, state, progress)
        for name, stage in STAGES.items():
            _do(study, name, stage)
            if name in ("plan", until):  # before, it is not known whether what was said is possible
                state.keep(given)
            if name == until:
                break
    return study


def make_plan(scans: str | Path, output: str | Path, **options: Any) -> Path:
    """Check the data, say what they are, and plan a study of them; see :func:`run_study`, which goes on from there.

    Args:
        scans: as for `run_study`.
        output: folder of the study.
        options: the others of `run_study`, but for `until`.

    Returns:
        The plan.

    Raises:
        ValueError: as `run_study` does, and so the others.
    """
    return run_study(scans, output, until="plan", **options).plan


def _with_recorded(said: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """What is said now, and before; refuses the folder of a study of other data."""
    recorded = StudyState.read(output / "study.json").data
    if recorded and recorded["scans"] != said["scans"]:
        raise ValueError(
            f"{output.resolve()} is a study of {recorded['scans']}, not of {said['scans']}: choose another folder "
            "(--output)"
        )
    return with_recorded(said, recorded)


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

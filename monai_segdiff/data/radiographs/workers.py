"""Volumes projected one after another, or several at a time in processes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from monai_segdiff.data.processes import in_processes
from monai_segdiff.data.radiographs.labels_to_ct import labels_to_ct
from monai_segdiff.data.radiographs.tissues import Tissue
from monai_segdiff.data.radiographs.views import write_views
from monai_segdiff.data.radiographs.volumes import VolumeSource, read_volume
from monai_segdiff.transforms import ProjectDRR

__all__ = ["DRRPlan", "Outcome", "project_volumes"]

_BAD_VOLUME = (ValueError, OSError, ArithmeticError, ImportError, MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class DRRPlan:
    """How every volume is projected; see `make_drr_dataset`."""

    root: Path
    projection: Mapping[str, Any]
    seed: int
    contour_threshold: float
    bone_threshold: float
    min_bone_length: float
    tissues: Mapping[int, Tissue] | None
    table: str = ""  # where the tissues stand


@dataclass(frozen=True)
class Outcome:
    """What became of a volume.

    Args:
        name: the volume's name.
        failure: why it has no views, or None if it has.
        remarks: warnings.
    """

    name: str
    failure: str | None
    remarks: tuple[str, ...] = ()


def project_volumes(sources: Sequence[VolumeSource], plan: DRRPlan, workers: int) -> Generator[Outcome, None, None]:
    """Write the views of volumes.

    Args:
        sources: the volumes.
        plan: how.
        workers: processes, each with one thread; 1 works in this process.

    Yields:
        Outcomes, as the volumes finish.
    """
    workers = min(workers, len(sources))
    if workers <= 1:
        for source in sources:
            yield _project(source, plan)
        return
    act = partial(_project, plan=plan)
    killed = []
    with closing(in_processes(act, sources, workers)) as found:
        for source, outcome in found:
            if outcome is None:
                killed.append(source)
            else:
                yield outcome
    # One that is killed takes the others with it: which of them it was shows when each is alone.
    for source in killed:
        with closing(in_processes(act, [source], 1)) as found:
            for _, outcome in found:
                message = f"{source.path}: its process was killed, perhaps as memory ran out; use a machine with more"
                yield outcome or Outcome(source.name, message)


def _project(source: VolumeSource, plan: DRRPlan) -> Outcome:
    failure = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            write_views(
                plan.root,
                _read(source, plan),
                source.name,
                ProjectDRR(**plan.projection, seed=_seed(plan, source)),
                contour_threshold=plan.contour_threshold,
                bone_threshold=plan.bone_threshold,
                min_bone_length=plan.min_bone_length,
                details={"source": source.path.name, "fingerprint": source.fingerprint},
            )
        except _BAD_VOLUME as error:
            failure = _named(str(error).strip() or type(error).__name__, source)
    remarks = dict.fromkeys(_named(str(w.message), source) for w in caught if w.category is UserWarning)
    return Outcome(source.name, failure, tuple(remarks))


def _named(message: str, source: VolumeSource) -> str:
    return message if str(source.path) in message else f"{source.path}: {message}"


def _read(source: VolumeSource, plan: DRRPlan) -> MetaTensor:
    """The CT volume, made from a label map where the plan has tissues."""
    volume = read_volume(source)
    if plan.tissues is None:
        return volume
    try:
        ct = labels_to_ct(volume.as_tensor(), volume.affine, plan.tissues, seed=_seed(plan, source))
    except ValueError as error:
        raise ValueError(f"{source.path}: {error} ({plan.table})") from error
    ct.meta["filename_or_obj"] = str(source.path)
    return ct


def _seed(plan: DRRPlan, source: VolumeSource) -> int:
    """A seed of the volume's own, whatever the order."""
    return int.from_bytes(hashlib.sha256(f"{plan.seed} {source.name}".encode()).digest()[:4], "big")

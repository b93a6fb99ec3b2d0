"""Volumes projected one after another, or several at a time in processes that end when their parent does."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

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
    killed = []
    with closing(_in_processes(sources, plan, workers)) as found:
        for source, outcome in found:
            if outcome is None:
                killed.append(source)
            else:
                yield outcome
    # One that is killed takes the others with it: which of them it was shows when each is alone.
    for source in killed:
        with closing(_in_processes([source], plan, 1)) as found:
            for _, outcome in found:
                message = f"{source.path}: its process was killed, perhaps as memory ran out; use a machine with more"
                yield outcome or Outcome(source.name, message)


def _in_processes(
    sources: Sequence[VolumeSource], plan: DRRPlan, workers: int
) -> Generator[tuple[VolumeSource, Outcome | None], None, None]:
    """Volumes and what became of them, as they finish; None where the process was killed."""
    pool = ProcessPoolExecutor(workers, _context(), _start_worker)
    try:
        futures = {_submit(pool, source, plan): source for source in sources}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield futures[future], None
    except BaseException:  # stopped: nobody waits until the volumes at work are through
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, source: VolumeSource, plan: DRRPlan) -> Future[Outcome]:
    try:
        return pool.submit(_project, source, plan)
    except BrokenProcessPool as error:  # already
        broken: Future[Outcome] = Future()
        broken.set_exception(error)
        return broken


def _context() -> BaseContext:
    """Processes that inherit no thread of torch in the middle of its work, and import torch once where that can be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C end at once and in silence; the parent reports it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed: it would go on writing beside the run that follows."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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

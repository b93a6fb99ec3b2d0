"""What the cases of a source give, slices or volumes, written to the folder of a data set."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from monai_segdiff.data.case_names import written_name
from monai_segdiff.data.cases import Case
from monai_segdiff.data.nifti import as_stored, save_nifti
from monai_segdiff.data.preparation.case import Plan, PreparedSample, prepare_case
from monai_segdiff.data.preparation.class_counts import ClassCounts
from monai_segdiff.data.preparation.source import Source
from monai_segdiff.data.processes import in_processes
from monai_segdiff.data.readers.palettes import Palettes, Seen
from monai_segdiff.files import fill_with, inside

__all__ = ["write_pieces"]


def write_pieces(
    source: Source,
    plan: Plan,
    folder: Path,
    counts: ClassCounts,
    check_first: Callable[[Case, bool], None],
    progress: bool,
    workers: int = 1,
) -> tuple[list[Case], NDArray[Any], float]:
    """Prepare every case of a source and write what it gives.

    Args:
        source: the source.
        plan: how its cases are prepared.
        folder: of the data set.
        counts: is told which classes each case and each piece of it have.
        check_first: called with the case that gives the first piece, and whether this is a slice of it.
        progress: whether to show a progress bar.
        workers: processes, each with one case at a time; 1 works in this one. What is written is the same.

    Returns:
        The new cases, a sample of their intensities (C, N), and the smallest distance between slices in mm.

    Raises:
        ValueError: if a file is unsound, two cases give files of one name, or nothing has enough foreground.
        OSError: if a file cannot be written, or a process was killed.
    """
    written: list[Case] = []
    samples: list[Any] = []
    thickness = math.inf
    owners: dict[str, str] = {}
    palettes = Palettes()
    with closing(_all_made(source, plan, folder, workers)) as results:
        for case, made in tqdm(results, "prepare", len(source.cases), unit="case", disable=not progress):
            for remark in made.remarks:
                warnings.warn(remark, stacklevel=2)
            if case.label is not None and (conflict := palettes.conflict(case.label, made.seen.palette)):
                raise ValueError(f"{case.label}: {conflict}")
            for piece in made.pieces:
                if not written:
                    check_first(case, piece.case.id != written_name(case.id))
                if (other := owners.setdefault(piece.case.id.casefold(), case.id)) != case.id:
                    raise ValueError(
                        f"cases {other!r} and {case.id!r} both give {piece.case.id!r}; rename a file of one"
                    )
                written.append(piece.case)
                counts.add_piece(case.id, piece.case.id, piece.ids)
                samples.append(piece.intensities)
                thickness = min(thickness, piece.thickness)
            counts.add_case(case.id, made.seen.ids)
    if not written:
        raise ValueError(
            f"in none of {len(source.cases)} cases a slice has {plan.min_foreground:.1%} of its pixels labeled; "
            "lower min_foreground (--min-foreground), or correct the classes (--classes)"
        )
    return written, np.concatenate(samples, axis=1), thickness


@dataclass(frozen=True)
class _Piece:
    """A slice or volume that was written.

    Args:
        case: its files.
        ids: those of its label map.
        intensities: a sample of them.
        thickness: distance to the next slice in mm.
    """

    case: Case
    ids: list[int]
    intensities: NDArray[np.float32]
    thickness: float


@dataclass(frozen=True)
class _Made:
    """What a case gave, in order; what was seen of it; and warnings."""

    pieces: list[_Piece]
    seen: Seen
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Maker:
    """What is done with each case, in whichever process.

    Args:
        files_of: gives a case whose image and label map are files.
        plan: how it is prepared.
        folder: of the data set.
        scratch: for temporary files, which this process clears; None for the usual place.
    """

    files_of: Callable[[Case], AbstractContextManager[Case]]
    plan: Plan
    folder: Path
    scratch: str | None = None

    def __call__(self, case: Case) -> _Made:
        if self.scratch is None:
            return self._made(case)
        tempfile.tempdir = self.scratch
        fill_with(self.folder)
        with warnings.catch_warnings(record=True) as caught:
            made = self._made(case)
        return replace(made, remarks=tuple(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning)))

    def _made(self, case: Case) -> _Made:
        seen = Seen()
        with self.files_of(case) as files:
            pieces = prepare_case(replace(files, id=written_name(case.id)), self.plan, seen)
            return _Made([_written(case, piece, self.folder) for piece in pieces], seen)


def _all_made(source: Source, plan: Plan, folder: Path, workers: int) -> Generator[tuple[Case, _Made], None, None]:
    """Cases in their order, and what each gave."""
    workers = min(workers, len(source.cases))
    if workers <= 1:
        make = _Maker(source.files_of, plan, folder)
        yield from ((case, make(case)) for case in source.cases)
        return
    with (
        tempfile.TemporaryDirectory() as scratch,
        closing(
            in_processes(_Maker(source.files_of, plan, folder, scratch), source.cases, workers, in_order=True)
        ) as results,
    ):
        for case, made in results:
            if made is None:
                raise ChildProcessError(
                    f"{case.image}: a process that was preparing this or one of the next images was killed, perhaps as "
                    "memory ran out; use fewer workers (--workers), or a machine with more memory"
                )
            yield case, made


def _written(case: Case, piece: PreparedSample, folder: Path) -> _Piece:
    image, label, region = (
        inside(folder, f"{part}/{piece.name}.nii.gz") for part in ("imagesTr", "labelsTr", "regionsTr")
    )
    save_nifti(image, as_stored(piece.image), piece.affine)
    save_nifti(label, piece.label, piece.affine)
    if piece.region is not None:
        save_nifti(region, piece.region, piece.affine)
    shown = None if piece.region is None else region
    own = replace(case, id=piece.name, channel_files=(), covariates=piece.covariates)
    flat = piece.image.reshape(len(piece.image), -1)
    return _Piece(
        replace(own, image=image, label=label, findings=piece.findings, region=shown),
        np.unique(piece.label).tolist(),
        flat[:, :: max(1, flat.shape[1] // 2000)].copy(),
        piece.thickness,
    )

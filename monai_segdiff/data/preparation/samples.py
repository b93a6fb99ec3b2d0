"""What the cases of a source give, slices or volumes, written to the folder of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
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
from monai_segdiff.data.readers.palettes import Palettes, Seen
from monai_segdiff.files import inside

__all__ = ["write_pieces"]


def write_pieces(
    source: Source,
    plan: Plan,
    folder: Path,
    counts: ClassCounts,
    check_first: Callable[[Case, bool], None],
    progress: bool,
) -> tuple[list[Case], NDArray[Any], float]:
    """Prepare every case of a source and write what it gives.

    Args:
        source: the source.
        plan: how its cases are prepared.
        folder: of the data set.
        counts: is told which classes each case and each piece of it have.
        check_first: called with the case that gives the first piece, and whether this is a slice of it.
        progress: whether to show a progress bar.

    Returns:
        The new cases, a sample of their intensities (C, N), and the smallest distance between slices in mm.

    Raises:
        ValueError: if a file is unsound, two cases give files of one name, or nothing has enough foreground.
    """
    written: list[Case] = []
    samples: list[Any] = []
    thickness = math.inf
    owners: dict[str, str] = {}
    palettes = Palettes()
    for case in tqdm(source.cases, desc="prepare", unit="case", disable=not progress):
        seen = Seen()
        own_name = written_name(case.id)
        with source.files_of(case) as files:
            for piece in prepare_case(replace(files, id=own_name), plan, seen):
                if case.label is not None and (conflict := palettes.conflict(case.label, seen.palette)):
                    raise ValueError(f"{case.label}: {conflict}")
                if not written:
                    check_first(case, piece.name != own_name)
                if (other := owners.setdefault(piece.name.casefold(), case.id)) != case.id:
                    raise ValueError(f"cases {other!r} and {case.id!r} both give {piece.name!r}; rename a file of one")
                written.append(_write(case, piece, folder))
                counts.add_piece(case.id, piece.name, piece.label)
                flat = piece.image.reshape(len(piece.image), -1)
                samples.append(flat[:, :: max(1, flat.shape[1] // 2000)])
                thickness = min(thickness, piece.thickness)
        counts.add_case(case.id, seen.ids)
    if not written:
        raise ValueError(
            f"in none of {len(source.cases)} cases a slice has {plan.min_foreground:.1%} of its pixels labeled; "
            "lower min_foreground (--min-foreground), or correct the classes (--classes)"
        )
    return written, np.concatenate(samples, axis=1), thickness


def _write(case: Case, piece: PreparedSample, folder: Path) -> Case:
    image, label, region = (
        inside(folder, f"{part}/{piece.name}.nii.gz") for part in ("imagesTr", "labelsTr", "regionsTr")
    )
    save_nifti(image, as_stored(piece.image), piece.affine)
    save_nifti(label, piece.label, piece.affine)
    if piece.region is not None:
        save_nifti(region, piece.region, piece.affine)
    shown = None if piece.region is None else region
    own = replace(case, id=piece.name, channel_files=(), covariates=piece.covariates)
    return replace(own, image=image, label=label, findings=piece.findings, region=shown)

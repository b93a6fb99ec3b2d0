"""Volumes or pictures turned into a data set to train on: one size, one vocabulary, split by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from monai_segdiff.data.build import build_once
from monai_segdiff.data.findings_table import read_findings
from monai_segdiff.data.layout import Case, SegmentationDataset, read_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.prepare_case import Plan, prepare_case
from monai_segdiff.data.prepare_source import cases_of, classes_of, dicom_of, findings_of, fingerprint
from monai_segdiff.data.splits import split_cases

__all__ = ["prepare_dataset"]

_GAP_MM = 10.0  # between held-out and training slices of one patient


def prepare_dataset(
    source: str | Path | Sequence[Case | Mapping[str, Any]],
    output: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    *,
    spatial_dims: int = 2,
    size: int | Sequence[int] = 128,
    spacing: float | Sequence[float] | None = None,
    axis: int = 2,
    intensity_range: tuple[float, float] | None = None,
    percentiles: tuple[float, float] | None = None,
    n4: bool = False,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    within_patient: bool = False,
    seed: int = 0,
    min_foreground: float = 0.01,
    drop_other_labels: bool = False,
    body_threshold: float | None = None,
    parents: Mapping[str, str] | None = None,
    findings: Sequence[str] | None = None,
    findings_table: str | Path | None = None,
    segments: Mapping[str, str | Sequence[str]] | None = None,
    precedence: Sequence[str] = (),
    name: str | None = None,
    modality: str = "",
    licence: str = "",
    attribution: str = "",
    progress: bool = True,
) -> SegmentationDataset:
    """Write a data set of 2D slices or of volumes of one size.

    Volumes are turned to RAS and resampled; pictures are flipped so that they lie like an RAS slice. What is written is
    NIfTI with its affine: images float32, label maps uint8 with ids 1, 2, ... in the order of `classes`, region maps of
    findings beside them where the source has them. The findings of a volume are those of its slices only as far as its
    region map tells. The folder appears complete or not at all; a second call with the same arguments and source files
    returns what is there.

    Args:
        source: data set folder (see `read_dataset`; its own split is not kept), or cases: `Case`, or mappings with
            `image`, `label`, optionally `patient`, `id`, `findings` (names) and `region` (path); or a folder of DICOM
            studies, a sub-folder each, with an image series and its segmentations (SEG) or structure set (RTSTRUCT).
        output: folder to create.
        classes: class name to source label id or ids; by default those of the source folder.
        spatial_dims: 2 for slices of volumes, or pictures; 3 for volumes.
        size: voxels per axis of the result, one number or one per axis.
        spacing: voxel size in mm of the result, one number or one per axis; the grid then pads or crops around the
            center. By default the field of view is fitted into `size`, with square voxels in the slice plane.
        axis: axis along which volumes are sliced in 2D: 0 sagittal, 1 coronal, 2 axial.
        intensity_range: intensities that matter, written into the data set; by default the 0.5th and 99.5th
            percentile of the prepared images.
        percentiles: scale every source image so that these two percentiles of its own intensities, each 0..100, become
            0 and 1, and clip: for MR, whose intensities have no unit. The intensity range is then (0, 1).
        n4: whether to correct the bias field of every source image first, see `correct_bias_field`; needs ITK.
        fractions: shares of training, validation and test.
        within_patient: whether a single patient may be split, see `split_cases`.
        seed: determines the split.
        min_foreground: share of labeled pixels (the added body not counted) below which a slice of a volume is left
            out.
        drop_other_labels: whether source ids that no class names become background rather than an error.
        body_threshold: if given, a first class "body" is added: everything inside the skin that no other class claims,
            found as the largest region above this intensity (e.g. -300 HU), in the unit of the source.
        parents: class name to the name of the class that encloses it; by default as the source says,
            and an added body encloses all others.
        findings: the vocabulary of what may be found in an image, whose order gives the ids of region maps; by default
            as the source says.
        findings_table: CSV file that says what is found in each case, see `read_findings`: in the words of the CheXpert
            labeler, a finding with 1 is named; where there is none, a case with one that is uncertain (-1) is unknown
            as a whole; `No Finding` or a 0 means that nothing is found; a line of blanks means unknown. It needs
            `findings`, whose names are its columns.
        segments: class name to the names of the DICOM segments or regions that it consists of; by default each is a
            class of its own name.
        precedence: classes in their order; where DICOM segments overlap, the class named first is kept. Overlaps that
            this does not decide are an error.
        name: the data set's name.
        modality: e.g. "CT".
        licence: terms of use of the source.
        attribution: whom to credit for the source.
        progress: whether to show a progress bar.

    Returns:
        The data set.

    Raises:
        ValueError: if a file is unsound (named, with the remedy), an argument is out of range, or no split is possible.
        FileNotFoundError: if a file is missing.
        ImportError: if `n4` is asked for and ITK is not installed.
        FileExistsError: if the output folder holds something else.
        OSError: if it cannot be written.
    """
    if percentiles is not None:
        intensity_range = _range_of(percentiles, intensity_range)
    dicom = dicom_of(source, classes, segments, precedence, drop_other_labels, progress)
    if dicom is not None:
        cases, vocabulary = dicom.cases, classes_of(dicom.cases, dicom.classes, body_threshold)
        found = findings_of(cases, cases, findings)
    else:
        cases, vocabulary = cases_of(source), classes_of(source, classes, body_threshold)
        found = findings_of(source, cases, findings)
    if findings_table is not None:
        if not found:
            raise ValueError(f"findings must name the columns of {findings_table} that are wanted")
        cases = read_findings(findings_table, found, cases)
    plan = Plan(
        classes=vocabulary,
        spatial_dims=spatial_dims,
        size=_per_axis(size, spatial_dims, "size"),
        spacing=None if spacing is None else _per_axis(spacing, spatial_dims, "spacing"),
        axis=axis,
        fill=None if intensity_range is None else float(intensity_range[0]),
        min_foreground=min_foreground,
        drop_other_labels=drop_other_labels,
        body_threshold=body_threshold,
        percentiles=percentiles,
        n4=n4,
        findings=found,
    )
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0 (sagittal), 1 (coronal) or 2 (axial), got {axis}")
    settings = {
        # What is off stays unnamed, so that data sets made before it existed are found again.
        **{key: value for key, value in asdict(plan).items() if value or key not in ("percentiles", "n4", "findings")},
        "source": fingerprint(cases) if dicom is None else dicom.fingerprint(cases),
        "intensity_range": intensity_range,
        "fractions": fractions,
        "within_patient": within_patient,
        "parents": parents,
        "seed": seed,
    }
    names = (["body"] if body_threshold is not None else []) + list(vocabulary)
    if parents is None:
        known = read_dataset(source).parents if isinstance(source, str | Path) and dicom is None else {}
        parents = {} if body_threshold is None else dict.fromkeys(vocabulary, "body")
        parents |= {child: parent for child, parent in known.items() if {child, parent} <= set(names)}
    if unknown := {*parents, *parents.values()} - set(names):
        raise ValueError(f"parents name {sorted(unknown)}, which are no classes; the classes are {', '.join(names)}")

    def build(folder: Path) -> SegmentationDataset:
        opened = nullcontext if dicom is None else dicom.files_of
        written, samples, thickness = _write_pieces(cases, opened, plan, folder, progress)
        gap = max(1, math.ceil(_GAP_MM / thickness))
        splits, kind = split_cases(written, fractions, seed, within_patient=within_patient, gap=gap)
        low, high = intensity_range or np.percentile(samples, (0.5, 99.5)).round(3)
        return SegmentationDataset(
            root=folder,
            name=name or (Path(source).name if isinstance(source, str | Path) else "prepared data set"),
            classes={key: index for index, key in enumerate(names, start=1)},
            splits=splits,
            intensity_range=(float(low), float(high)),
            spatial_dims=spatial_dims,
            split_kind=kind,
            modality=modality,
            licence=licence,
            attribution=attribution,
            settings=settings,
            parents=dict(parents),
            findings=found,
        )

    return build_once(output, settings, build)


def _range_of(percentiles: tuple[float, float], intensity_range: tuple[float, float] | None) -> tuple[float, float]:
    """The intensity range of images scaled by percentiles."""
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles must be LOW < HIGH, both in 0..100, got {low:g} and {high:g}")
    if intensity_range is not None:
        raise ValueError("percentiles scale images to 0..1, so intensity_range cannot be given; leave one of them out")
    return 0.0, 1.0


def _write_pieces(
    cases: Sequence[Case],
    opened: Callable[[Case], AbstractContextManager[Case]],
    plan: Plan,
    folder: Path,
    progress: bool,
) -> tuple[list[Case], Any, float]:
    """Write what the cases give; return the new cases, a sample of their intensities, the smallest slice distance."""
    written: list[Case] = []
    samples: list[Any] = []
    thickness = math.inf
    for case in tqdm(cases, desc="prepare", unit="case", disable=not progress):
        with opened(case) as files:
            for piece in prepare_case(files, plan):
                image, label = (folder / part / f"{piece.name}.nii.gz" for part in ("imagesTr", "labelsTr"))
                save_nifti(image, piece.image, piece.affine)
                save_nifti(label, piece.label, piece.affine)
                region = None if piece.region is None else folder / "regionsTr" / f"{piece.name}.nii.gz"
                if region is not None:
                    save_nifti(region, piece.region, piece.affine)
                written.append(Case(piece.name, image, label, case.patient, piece.findings, region))
                samples.append(piece.image.ravel()[:: max(1, piece.image.size // 2000)])
                thickness = min(thickness, piece.thickness)
    if not written:
        raise ValueError(
            f"in none of {len(cases)} cases a slice has {plan.min_foreground:.1%} of its pixels labeled; "
            "lower min_foreground, or correct the classes"
        )
    return written, np.concatenate(samples), thickness


def _per_axis(value: float | Sequence[float], spatial_dims: int, what: str) -> list[Any]:
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
    values = list(value) if isinstance(value, Sequence) else [value] * spatial_dims
    if len(values) != spatial_dims or min(values) <= 0:
        raise ValueError(f"{what} must be one positive number, or {spatial_dims} of them, got {value}")
    return values

"""Volumes or pictures turned into a data set to train on: one size, one vocabulary, one split."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_segdiff.data.build import build_once
from monai_segdiff.data.description.classes import BODY, OUTSIDE_VIEW, check_classes, check_parents
from monai_segdiff.data.layout import SPLITS, Case, Choices, SegmentationDataset
from monai_segdiff.data.patients import unknown_patients
from monai_segdiff.data.preparation.case import Plan
from monai_segdiff.data.preparation.class_counts import ClassCounts
from monai_segdiff.data.preparation.covariates import define_covariates
from monai_segdiff.data.preparation.options import (
    check_slicing,
    checked_body_threshold,
    checked_crop,
    checked_range,
    checked_share,
    per_axis,
)
from monai_segdiff.data.preparation.samples import write_pieces
from monai_segdiff.data.preparation.source import Asked, Source
from monai_segdiff.data.splits import check_split, split_as_given, split_cases
from monai_segdiff.transforms.intensities import IntensityRange, channel_ranges, range_ends

__all__ = ["prepare_dataset"]

_MIN_FOREGROUND = 0.01
_AXIAL = 2
_LATER = (  # options that came later
    *("percentiles", "n4", "findings", "crop", "margin", "outside", "channels", "kept", "covariates"),
)
_GAP_MM = 10.0  # between held-out and training slices of one patient


def prepare_dataset(
    source: str | Path | Sequence[Case | Mapping[str, Any]],
    output: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    *,
    patients: str | Path | None = None,
    spatial_dims: int = 2,
    size: int | Sequence[int] = 128,
    spacing: float | Sequence[float] | None = None,
    axis: int | None = None,
    intensity_range: IntensityRange | None = None,
    percentiles: tuple[float, float] | None = None,
    n4: bool = False,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    within_patient: bool = False,
    seed: int = 0,
    min_foreground: float | None = None,
    drop_other_labels: bool = False,
    body_threshold: float | None = None,
    parents: Mapping[str, str] | None = None,
    findings: Sequence[str] | None = None,
    findings_table: str | Path | None = None,
    channels: Sequence[str] | None = None,
    covariates: Sequence[str] | None = None,
    covariates_table: str | Path | None = None,
    segments: Mapping[str, str | Sequence[str]] | None = None,
    precedence: Sequence[str] = (),
    crop: str = "none",
    margin: float = 0.0,
    outside: str | None = None,
    workers: int = 1,
    name: str | None = None,
    modality: str = "",
    licence: str = "",
    attribution: str = "",
    progress: bool = True,
    choices: Choices | None = None,
    keep_split: bool = False,
) -> SegmentationDataset:
    """Write a data set of 2D slices or of volumes of one size.

    Volumes are turned to RAS and resampled; pictures are flipped so that they lie like an RAS slice. What is written is
    NIfTI with its affine: images float32, label maps uint8 with ids 1, 2, ... in the order of `classes`, region maps of
    findings beside them where the source has them. The findings of a volume are those of its slices only as far as its
    region map tells. The folder appears complete or not at all; a second call with the same arguments and source files
    returns what is there.

    Args:
        source: data set folder in any form (see `read_source`; its own split is not kept unless asked for), those of
            TotalSegmentator's subjects and of DICOM studies (a sub-folder each, with an image series and its
            segmentations, SEG, or structure set, RTSTRUCT) included; or cases: `Case`, or mappings with `image`,
            `label`, optionally `patient`, `id`, `findings` (names) and `region` (path).
        output: folder to create.
        classes: class name to source label id or ids; by default those of the source folder.
        patients: CSV file that says whose each case is, see `pair_folders`; by default as the source says. Where
            nothing does, each file counts as another patient's, with a warning, and the split is "by file".
        spatial_dims: 2 for slices of volumes, or pictures; 3 for volumes.
        size: voxels per axis of the result, one number or one per axis.
        spacing: voxel size in mm of the result, one number or one per axis; the grid then pads or crops around the
            center. By default the field of view is fitted into `size`, with square voxels in the slice plane.
        axis: axis along which volumes are sliced in 2D: 0 sagittal, 1 coronal, 2 axial (the default).
        intensity_range: intensities that matter, one pair or one for each channel, written into the data set; by
            default the 0.5th and 99.5th percentile of the prepared images, of each channel.
        percentiles: scale every source image so that these two percentiles of its own intensities, each 0..100, become
            0 and 1, and clip: for MR, whose intensities have no unit. The intensity range is then (0, 1).
        n4: whether to correct the bias field of every source image first, see `correct_bias_field`; needs ITK.
        fractions: shares of training, validation and test.
        within_patient: whether a single patient may be split, see `split_cases`.
        seed: determines the split.
        min_foreground: share of labeled pixels (the added body not counted) below which a slice of a volume is left
            out; by default 0.01.
        drop_other_labels: whether source ids that no class names become background rather than an error.
        body_threshold: if given, a first class "body" is added: everything inside the skin that no other class claims,
            found as the largest region above this intensity (e.g. -300 HU), in the unit of the source, in the first
            channel.
        parents: class name to the name of the class that encloses it; by default as the source says,
            and an added body encloses all others.
        findings: the vocabulary of what may be found in an image, whose order gives the ids of region maps; by default
            as the source says.
        findings_table: CSV file that says what is found in each case, see `read_findings`: in the words of the CheXpert
            labeler, a finding with 1 is named; where there is none, a case with one that is uncertain (-1) is unknown
            as a whole; `No Finding` or a 0 means that nothing is found; a line of blanks means unknown. It needs
            `findings`, whose names are its columns.
        channels: names of the images' channels in their order, such as `("red", "green", "blue")`, without which
            pictures in colors become gray; or, of those that the source names, the ones to keep.
        covariates: names of what else a network is to be told of each patient or image: columns of `covariates_table`,
            keywords of DICOM attributes (`PatientAge`), or `spacing`, the source's voxel size in mm (the geometric mean
            over the axes of what is made), which is measured; by default those of the source. Where all values are
            numbers it is a number, and a category otherwise; what is not said of a case is unknown.
        covariates_table: CSV file with a column for each, and a line for each case or patient, see `read_findings` for
            the columns that tell whose it is; `patient` is another.
        segments: class name to the names of the DICOM segments or regions that it consists of; by default each is a
            class of its own name.
        precedence: classes in their order; where DICOM segments overlap, the class named first is kept. Overlaps that
            this does not decide are an error.
        crop: what the grid lies around: "none", the middle of the field of view; "labels", what is labeled in the whole
            volume; or "body", the largest region above `body_threshold`, or else Otsu's. The grid is then moved so
            that it lies inside the field of view, wherever it fits. Without `spacing` the labels or the body, rather
            than the field of view, are fitted into `size`. A case with nothing labeled keeps its field of view.
        margin: room in mm around the labels or the body.
        outside: what pixels outside the field of view are: "fill", background; or "class", a class of their own,
            `outside_view`, the last one, where there are such pixels. By default "class" with a crop, else "fill".
        workers: processes, each with a case in memory; what is written does not depend on their number.
        name: the data set's name.
        modality: e.g. "CT".
        licence: terms of use of the source.
        attribution: whom to credit for the source.
        progress: whether to say what was found, and show a progress bar.
        choices: what decides where the source alone does not: names of files, a fold; its classes and segments are
            those given here. A fold that is named is held out.
        keep_split: whether the source's own split is kept (folders or lists by split, folds) rather than one drawn.

    Returns:
        The data set.

    Warns:
        UserWarning: of what is unknown or lost: whose the cases are, classes that are in no label map or got lost on
            the way, cases that are left out.

    Raises:
        ValueError: if a file is unsound (named, with the remedy), an argument is out of range or has no effect, or no
            split is possible.
        FileNotFoundError: if a file is missing.
        ImportError: if `n4` is asked for and ITK is not installed.
        FileExistsError: if the output folder holds something else.
        OSError: if it cannot be written.
    """
    sizes, spacings = per_axis(size, spacing, spatial_dims)
    intensity_range = checked_range(intensity_range, percentiles)
    check_slicing(axis, min_foreground, spatial_dims)
    share = checked_share(_MIN_FOREGROUND if min_foreground is None else min_foreground)
    body = checked_body_threshold(body_threshold) is not None
    own_class = checked_crop(crop, margin, outside)
    if workers < 1:
        raise ValueError(f"workers (--workers) must be at least 1, got {workers}")
    asked = Asked(
        classes=classes,
        body=body,
        patients=patients,
        findings=findings,
        findings_table=findings_table,
        segments=segments,
        precedence=precedence,
        drop_others=drop_other_labels,
        progress=progress,
        channels=channels,
        choices=choices or Choices(),
        keep_split=keep_split or (choices is not None and choices.fold is not None),
        covariates=covariates,
        covariates_table=covariates_table,
    )
    given = Source.open(source, asked)
    if progress and given.found:
        print(given.found, file=sys.stderr)
    limits = None if intensity_range is None else _as_numbers(intensity_range, len(given.kept) or 1)
    check_slicing(axis, min_foreground, spatial_dims, given.cases)
    if given.split_of is None:
        check_split(given.cases, fractions, seed, within_patient=within_patient)
    elif within_patient:
        raise ValueError(
            "within_patient (--within-patient) has no effect where the source's split is kept; leave it out"
        )
    names = ([BODY] if body else []) + list(given.classes)
    outside_id = names.index(OUTSIDE_VIEW) + 1 if OUTSIDE_VIEW in names else len(names) + 1 if own_class else 0
    check_classes({name: index for index, name in enumerate([*names, OUTSIDE_VIEW][: max(outside_id, len(names))], 1)})
    inner = dict.fromkeys((name for name in given.classes if name != OUTSIDE_VIEW), BODY) if body else {}
    settled = dict(parents) if parents is not None else inner | given.parents
    check_parents(settled, names)
    plan = Plan(
        classes=given.classes,
        spatial_dims=spatial_dims,
        size=sizes,
        spacing=spacings,
        axis=_AXIAL if axis is None else axis,
        fill=None if limits is None else range_ends(limits)[0],
        min_foreground=share,
        drop_other_labels=drop_other_labels,
        body_threshold=body_threshold,
        percentiles=percentiles,
        n4=n4,
        findings=given.findings,
        crop=crop,
        margin=margin,
        outside=outside_id,
        channels=given.channels,
        kept=given.kept,
        covariates=given.covariates,
    )
    unknown = unknown_patients(given.cases)
    settings = {
        # What is off stays unnamed, so that data sets made before it existed are found again.
        **{
            key: value for key, value in asdict(plan).items() if key not in _LATER or value not in (None, 0, (), "none")
        },
        "source": given.fingerprint,
        "intensity_range": intensity_range,
        "fractions": fractions,
        "within_patient": within_patient,
        "parents": parents,
        "seed": seed,
        **({"patients_known": False} if unknown else {}),
        **({} if given.split_of is None else {"keep_split": True}),
    }
    remarks = [*given.remarks, *([unknown] if unknown and any(fractions[1:]) else [])]

    def check_first(case: Case, sliced: bool) -> None:
        check_slicing(axis, min_foreground, spatial_dims, [case], sliced)

    def build(folder: Path) -> SegmentationDataset:
        counts = ClassCounts(given.classes, body)
        written, samples, thickness = write_pieces(given, plan, folder, counts, check_first, progress, workers)
        gap = max(1, math.ceil(_GAP_MM / thickness))
        if given.split_of is None:
            splits, kind = split_cases(written, fractions, seed, within_patient=within_patient, gap=gap)
        else:
            splits, kind = split_as_given(written, given.split_of)
        definitions, splits, left_out = define_covariates(given.covariates, splits)
        remarks.extend(left_out)
        measured = limits or _measured_range(samples, given.kept)
        remarks.extend(counts.remarks(splits))
        remarks.extend(
            f"nobody is left for {split} (--fractions), as there are {len({case.patient for case in written})} patients"
            for split, share in zip(SPLITS, fractions, strict=True)
            if share > 0 and split not in splits and given.split_of is None
        )
        return SegmentationDataset(
            root=folder,
            name=name or given.name,
            classes={key: index for index, key in enumerate(counts.present(names), start=1)},
            splits=splits,
            intensity_range=measured,
            spatial_dims=spatial_dims,
            split_kind=kind,
            modality=modality,
            licence=licence,
            attribution=attribution,
            settings=settings,
            parents=settled,
            findings=given.findings,
            channels=given.kept,
            covariates=definitions,
        )

    dataset = build_once(output, settings, build)
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    return dataset


def _as_numbers(intensity_range: IntensityRange, channels: int) -> IntensityRange:
    """The range as plain numbers; a pair for each channel stays such."""
    pairs = channel_ranges(intensity_range, channels)
    return tuple(pairs) if isinstance(intensity_range[0], Sequence) else pairs[0]


def _measured_range(samples: NDArray[Any], channels: Sequence[str]) -> IntensityRange:
    """The 0.5th and 99.5th percentile, of each channel where there are several."""
    pairs: list[tuple[float, float]] = []
    for index, layer in enumerate(samples):
        low, high = (float(end) for end in np.percentile(layer, (0.5, 99.5)).round(3))
        if len(samples) > 1 and not low < high:
            raise ValueError(
                f"channel {channels[index]!r} is {low:g} in nearly all images; leave it out (channels, --channels), or "
                "give its range (intensity_range, --intensity-range)"
            )
        pairs.append((low, high))
    return pairs[0] if len(pairs) == 1 else tuple(pairs)

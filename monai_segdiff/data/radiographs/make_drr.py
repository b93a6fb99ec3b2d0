"""A folder of CT volumes turned into a data set of radiographs, volume by volume, stopped and gone on at will."""

from __future__ import annotations

import json
import math
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from monai_segdiff.data.layout import Case, SegmentationDataset, read_dataset, write_dataset
from monai_segdiff.data.patients import unknown_patients
from monai_segdiff.data.radiographs.tissues import read_tissues
from monai_segdiff.data.radiographs.views import (
    DRR_CLASSES,
    DRR_PARENTS,
    DRR_RANGE,
    read_geometry,
    view_cases,
    view_files,
)
from monai_segdiff.data.radiographs.volumes import VolumeSource, find_volumes
from monai_segdiff.data.radiographs.workers import DRRPlan, project_volumes
from monai_segdiff.data.splits import split_by_image, split_cases
from monai_segdiff.digests import DIGESTS, digests_of, write_digests
from monai_segdiff.documents import read_json
from monai_segdiff.files import atomic_file, claim_folder, inside, names_in
from monai_segdiff.transforms import ProjectDRR

__all__ = ["make_drr_dataset"]

_PROGRESS_FILE = "make_drr.json"
_HOW_ONLY = ("allow_truncation", "device")  # decide whether and where a volume is projected, not what its views are
_VIEW = re.compile(r".+_view\d{3,}\.nii\.gz")
_BY_IMAGE_NOTE = "by image: views of one volume are in training and held out"


def make_drr_dataset(
    source: str | Path,
    output: str | Path,
    projection: Mapping[str, Any] | None = None,
    *,
    contour_threshold: float = 0.1,
    bone_threshold: float = 200.0,
    min_bone_length: float = 2.0,
    tissues: str | Path | None = None,
    patients: str | Path | None = None,
    split: str = "volume",
    fractions: Sequence[float] = (9 / 11, 1 / 11, 1 / 11),
    seed: int = 0,
    workers: int = 1,
    skip_failed: bool = False,
    name: str | None = None,
    licence: str = "",
    attribution: str = "",
    progress: bool = True,
) -> SegmentationDataset:
    """Write radiographs of CT volumes and their two segmentations as a data set.

    Each volume is projected with :class:`~monai_segdiff.transforms.ProjectDRR` and written by `write_views`. A volume
    that fails does not keep the others from being finished. Called again, finished volumes whose source files are the
    same are left as they are, and views of volumes that `source` holds no more are removed; `dataset.json` is written
    when all are there.

    Args:
        source: folder of volumes, see `find_volumes`.
        output: folder of the data set.
        projection: arguments of `ProjectDRR`; its `seed` comes from `seed` and the volume's name.
        contour_threshold: what is above it in a view lies inside the contour.
        bone_threshold: lowest HU of bone.
        min_bone_length: length in mm of the path through bone from which on a pixel is bone.
        tissues: table of tissues (see `read_tissues`); the volumes of `source` are then label maps, from which
            `labels_to_ct` makes CT volumes first.
        patients: table of volumes and patients, see `find_volumes`.
        split: "volume" keeps all views of a volume, and all volumes of a patient, on one side; "image" draws views at
            random, as arXiv 2404.03541 seems to, so that views of one volume are on both sides.
        fractions: shares of training, validation and test.
        seed: determines the split, and what is random in projection and tissues.
        workers: volumes projected at a time, each in a process of its own with one thread, and with the memory that a
            volume takes; 1 projects them in this process. With more than one, a script needs the usual
            `if __name__ == "__main__":`.
        skip_failed: whether to finish the data set without the volumes that failed.
        name: the data set's name.
        licence: terms of use of the source.
        attribution: whom to credit for the source.
        progress: whether to show a progress bar.

    Returns:
        The data set.

    Raises:
        ValueError: if an argument is out of range, no split is possible, or volumes failed (each is named, with why).
        FileNotFoundError: if the source is missing or holds no volume.
        FileExistsError: if the output folder holds something made otherwise, or another run is writing to it.
        OSError: if it cannot be written.
    """
    if split not in ("volume", "image"):
        raise ValueError(f"split (--split) must be 'volume' or 'image', got {split!r}")
    if workers < 1:
        raise ValueError(f"workers (--workers) must be at least 1, got {workers}")
    if not 0 <= contour_threshold < 1:
        raise ValueError(
            f"contour_threshold (--contour-threshold) must be from 0 to below 1, which is the range of a view, got "
            f"{contour_threshold:g}"
        )
    sources = find_volumes(source, patients=patients, labels=tissues is not None)
    given = dict(projection or {})
    root = Path(output).expanduser().resolve()
    table = None if tissues is None else read_tissues(tissues)
    plan = DRRPlan(root, given, seed, contour_threshold, bone_threshold, min_bone_length, table, str(tissues))
    settings = {
        "projection": {key: value for key, value in given.items() if key not in _HOW_ONLY},
        "contour_threshold": contour_threshold,
        "bone_threshold": bone_threshold,
        "min_bone_length": min_bone_length,
        "tissues": None if table is None else {str(label): asdict(tissue) for label, tissue in table.items()},
        "split": split if split == "volume" else _BY_IMAGE_NOTE,
        "fractions": list(fractions),
        "seed": seed,
        "licence": licence,
        "attribution": attribution,
    }
    # As they will be read again; a range or an array of angles becomes a list.
    settings = json.loads(json.dumps(settings, default=lambda value: np.asarray(value).tolist()))
    views = _checked_views(given, bone_threshold, min_bone_length)
    cases = {s.name: view_cases(root, s.name, views, s.patient, s.patient_known) for s in sources}
    # A split that is not possible should not be found out after an hour of work.
    _split(cases.values(), split, fractions, seed)
    unknown = unknown_patients(case for each in cases.values() for case in each)
    if unknown and split == "volume" and any(fractions[1:]):
        warnings.warn(unknown, stacklevel=2)
    _open(root, settings)  # before anything in it is touched
    with claim_folder(root):
        before = _open(root, settings)
        pending = [s for s in sources if not _is_finished(root, s, cases[s.name])]
        others = _views_of_others(root, cases)
        if pending or others:
            with atomic_file(root / _PROGRESS_FILE) as temporary:
                temporary.write_text(json.dumps(settings, indent=1) + "\n")
            for name_of in (DIGESTS, "dataset.json"):
                (root / name_of).unlink(missing_ok=True)
        for file in others:
            file.unlink(missing_ok=True)
        failures = _project(pending, plan, workers, views, len(sources), progress)
        if failures and not (skip_failed and len(failures) < len(sources)):
            listed = "\n".join(f"  {failures[s.name]}" for s in sources if s.name in failures)
            raise ValueError(
                f"{len(failures)} of {len(sources)} volumes failed; the others are finished and stay. Mend these and "
                f"run the same again, or leave them out with skip_failed (--skip-failed):\n{listed}"
            )
        splits, kind = _split([cases[s.name] for s in sources if s.name not in failures], split, fractions, seed)
        dataset = SegmentationDataset(
            root=root,
            name=name or f"Radiographs projected from {Path(source).name}",
            classes=dict(DRR_CLASSES),
            splits=splits,
            intensity_range=DRR_RANGE,
            spatial_dims=2,
            split_kind=kind,
            modality="DRR",
            licence=licence,
            attribution=attribution,
            settings={**settings, **({"skipped": failures} if failures else {})},
            parents=dict(DRR_PARENTS),
        )
        if pending or dataset != before or not (root / DIGESTS).is_file():
            write_dataset(root, dataset)
            volumes = [root / "geometry" / f"{s.name}.json" for s in sources if s.name not in failures]
            files = view_files(case for members in splits.values() for case in members)
            write_digests(root, digests_of(root, ["dataset.json", *volumes, *files]))
        (root / _PROGRESS_FILE).unlink(missing_ok=True)
        return read_dataset(root)


def _checked_views(projection: Mapping[str, Any], bone_threshold: float, min_bone_length: float) -> int:
    """Number of views, when all that decides how they are made can be used."""
    projector = ProjectDRR(**projection)
    if not math.isfinite(bone_threshold):
        raise ValueError(f"bone_threshold (--bone-threshold) must be a number in HU, got {bone_threshold}")
    if not 0 < min_bone_length < math.inf:
        raise ValueError(f"min_bone_length (--min-bone-length) must be a length above 0 mm, got {min_bone_length:g}")
    seen: set[float] = set()
    for angle in projector.orbit.angles:
        turn = round(angle % 360, 6) % 360
        if turn in seen:
            raise ValueError(f"angles (--angles) name {turn:g} degrees twice: name each view once")
        seen.add(turn)
    return len(seen)


def _project(
    pending: Sequence[VolumeSource], plan: DRRPlan, workers: int, views: int, total: int, progress: bool
) -> dict[str, str]:
    """Project what is not finished, with a progress bar over all; returns the failures by volume."""
    failures = {}
    with tqdm(desc="make-drr", unit="view", total=views * total, disable=not (progress and pending)) as bar:
        bar.update(views * (total - len(pending)))
        with closing(project_volumes(pending, plan, workers)) as outcomes:  # and with it the processes, when stopped
            for outcome in outcomes:
                bar.update(views)
                for remark in outcome.remarks:
                    tqdm.write(f"warning: {remark}", file=sys.stderr)
                if outcome.failure is not None:
                    failures[outcome.name] = outcome.failure
    return failures


def _split(
    cases: Iterable[Sequence[Case]], split: str, fractions: Sequence[float], seed: int
) -> tuple[dict[str, list[Case]], str]:
    """Split the views of several volumes."""
    together = [case for views in cases for case in views]
    if split == "image":
        return split_by_image(together, fractions, seed)
    if len({case.patient for case in together}) == 1 and fractions[0] < 1:
        raise ValueError(
            f"there is one patient only ({together[0].patient!r}), so nothing can be held out by volume; give more "
            "volumes, hold out nothing (--fractions 1 0 0), or split by image (--split image)"
        )
    return split_cases(together, fractions, seed)


def _open(root: Path, settings: Mapping[str, Any]) -> SegmentationDataset | None:
    """Make sure that the folder holds nothing but what these settings made; the data set there, if it is complete."""
    if not names_in(root):
        return None
    for part in ("imagesTr", "labelsTr", "geometry"):
        inside(root, part)
    dataset = None
    try:
        if (root / "dataset.json").is_file():
            dataset = read_dataset(root, check_files=False)
        found = dataset.settings if dataset else read_json(root / _PROGRESS_FILE, "what make-drr is at work with")
        if not isinstance(found, dict):
            raise ValueError(f"{root / _PROGRESS_FILE} holds no settings")
    except (OSError, ValueError) as error:
        raise FileExistsError(
            f"{root} is not empty and holds no radiographs; choose another folder ({error})"
        ) from error
    if changed := sorted(key for key in settings if found.get(key) != settings[key]):
        raise FileExistsError(
            f"{root} holds radiographs made with other settings ({', '.join(changed)}); remove it, or "
            "choose another folder"
        )
    return dataset


def _views_of_others(root: Path, cases: Mapping[str, Sequence[Case]]) -> list[Path]:
    """Files that were written for volumes that the source does not hold any more."""
    known = {file.resolve() for views in cases.values() for file in view_files(views)}
    views = [file for part in ("imagesTr", "labelsTr") for file in sorted((root / part).glob("*_view*.nii.gz"))]
    lost = [file for file in views if _VIEW.fullmatch(file.name) and file.resolve() not in known]
    return lost + [file for file in sorted((root / "geometry").glob("*.json")) if file.stem not in cases]


def _is_finished(root: Path, source: VolumeSource, cases: Sequence[Case]) -> bool:
    try:
        geometry = read_geometry(root, source.name)
    except (FileNotFoundError, ValueError):
        return False
    files = view_files(cases)
    if geometry.get("fingerprint") != source.fingerprint or not all(file.is_file() for file in files):
        return False
    # Views that were made before this was kept are taken as they are.
    return geometry.get("sha256") in (None, digests_of(root, files))

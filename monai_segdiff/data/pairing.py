"""Cases from an image folder, a label folder and a table of patients."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from monai_segdiff.data.layout import Case, default_patient, list_images

__all__ = ["pair_folders", "read_patients"]


def pair_folders(images: str | Path, labels: str | Path, patients: str | Path | None = None) -> list[Case]:
    """Pair images and label maps of two folders by file name.

    Args:
        images: folder of images.
        labels: folder of label maps of the same names; extensions may differ.
        patients: CSV file with a header line, case names in the first column and patients in the second. By default
            each case is a patient of its own, apart from slices named alike (`p1_slice003`).

    Returns:
        Cases, sorted by name.

    Raises:
        FileNotFoundError: if an image or label map has no partner, a folder is missing or empty.
        ValueError: if the table lacks a case.
    """
    found = {}
    for folder in (Path(images).expanduser().resolve(), Path(labels).expanduser().resolve()):
        found[folder] = list_images(folder)
        if not found[folder]:
            raise FileNotFoundError(f"{folder} holds no images (.nii.gz, .png, ...); check the path")
    by_image, by_label = found.values()
    single = sorted(by_image.keys() ^ by_label.keys())
    if single:
        file = by_image.get(single[0]) or by_label[single[0]]
        raise FileNotFoundError(
            f"{file} has no partner of the same name ({len(single)} such files); add it, or move the file away"
        )
    owner = {name: default_patient(name) for name in by_image}
    if patients is not None:
        owner = read_patients(patients, owner)
    return [Case(name, by_image[name], by_label[name], owner[name]) for name in sorted(by_image)]


def read_patients(table: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Read whose each case is.

    Args:
        table: CSV file with a header line, case names in the first column and patients in the second.
        names: the cases.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the table lacks a case.
    """
    with open(table, newline="") as lines:
        owner = {row[0]: row[1] for row in list(csv.reader(lines))[1:] if len(row) > 1}
    wanted = list(names)
    lacking = sorted(set(wanted) - owner.keys())
    if lacking:
        raise ValueError(f"{table} names no patient for case {lacking[0]!r} ({len(lacking)} such cases); add it")
    return {name: owner[name] for name in wanted}

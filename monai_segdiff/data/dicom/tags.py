"""Single attributes of an image series that say something of the patient or the acquisition: numbers and codes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data.dicom.files import import_pydicom, read_headers
from monai_segdiff.transforms.covariates import CovariateValue

__all__ = ["check_tags", "read_tags"]

_NUMBERS = ("DS", "IS", "FD", "FL", "SL", "SS", "UL", "US")
_TEXTS = ("CS", "LO", "SH")
_AGE = re.compile(r"(\d{3})([YMWD])")
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_WHOSE = (  # which would tell a network whom it has seen
    "AccessionNumber",
    "IssuerOfPatientID",
    "MedicalRecordLocator",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientID",
    "PatientTelephoneNumbers",
    "StudyID",
)


def check_tags(keywords: Sequence[str]) -> None:
    """Refuse attributes that are no numbers, codes or ages, or say whose an image is.

    Args:
        keywords: as DICOM's dictionary (PS3.6) has them, such as `PatientAge`.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: naming the first.
    """
    datadict = import_pydicom().datadict
    for keyword in keywords:
        tag = datadict.tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(
                f"covariates (--covariates): {keyword!r} is no keyword of a DICOM attribute, such as PatientAge or "
                "ManufacturerModelName, and no table has such a column"
            )
        kinds = set(datadict.dictionary_VR(tag).split(" or "))
        if keyword in _WHOSE or not kinds & {*_NUMBERS, *_TEXTS, "AS"}:
            raise ValueError(
                f"covariates (--covariates): {keyword} cannot be one: it must be a number, a code or an age, and must "
                "not tell whose the image is; leave it out"
            )


def read_tags(file: Path, keywords: Sequence[str]) -> dict[str, CovariateValue]:
    """Read attributes of a DICOM file: ages in years, numbers, and codes as text.

    Args:
        file: an image of the series.
        keywords: checked by :func:`check_tags`.

    Returns:
        Keyword to value, of those that are there and not blank.

    Raises:
        ValueError: if the file is damaged, or one is not what its kind must be; names both.
    """
    header = read_headers([file], list(keywords))[file]
    found: dict[str, CovariateValue] = {}
    for keyword in keywords:
        value = header.get(keyword)
        if value is not None and str(value).strip():
            found[keyword] = _value(file, keyword, header[keyword].VR, value)
    return found


def _value(file: Path, keyword: str, kind: str, value: Any) -> CovariateValue:
    if not isinstance(value, str | int | float):
        raise ValueError(
            f"{file}: {keyword} has {len(value)} values, and a covariate has one: give it in a table "
            "(--covariates-table)"
        )
    text = str(value).strip()
    if kind == "AS":
        age = _AGE.fullmatch(text)
        if age is None:
            raise ValueError(f"{file}: {keyword} is {text[:20]!r}, which is no age such as 040Y; correct or remove it")
        return round(int(age[1]) / _PER_YEAR[age[2]], 4)
    return float(value) if kind in _NUMBERS else text

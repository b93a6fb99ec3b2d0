"""The studies of a server, as cases to generate for and to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from monai_segdiff.data import Case
from monai_segdiff.data.layout import default_patient
from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.label.store.datastore import StudyDatastore, is_synthetic, record_of
from monai_segdiff.integrations.label.store.dicom import series_case

__all__ = ["find_case", "real_cases", "synthetic_cases"]

_FINAL = DefaultLabelTag.FINAL.value


def find_case(datastore: Any, image_id: str, *, needs_label: bool = True) -> Case:
    """The case of a study to generate for.

    Args:
        datastore: the studies.
        image_id: the study's id.
        needs_label: whether one without a finished label map is refused.

    Raises:
        RequestError: if there is no such study, it has no finished label map or several, or it is synthetic itself.
    """
    check_name(image_id, "image")
    if image_id not in datastore.list_images():
        raise RequestError(f"study {image_id!r} does not exist: GET /datastore/?output=all lists the studies", 404)
    if is_synthetic(datastore, image_id):
        source = (record_of(datastore, image_id) or {}).get("source", "another study")
        raise RequestError(f"study {image_id!r} is synthetic: use its source {source!r} instead")
    if isinstance(datastore, DICOMWebDatastore):
        case = series_case(datastore, image_id, needs_label=needs_label)
        missing = "has no segmentation (SEG)"
    else:
        case = _case(datastore, image_id)
        missing = "has no finished label map (tag final)"
    if needs_label and case.label is None:
        raise RequestError(f"study {image_id!r} {missing}: save one, or send a label map in the form field label")
    return case


def real_cases(datastore: Any, wanted: Sequence[str] | None = None) -> list[Case]:
    """The real studies with a finished label map, by id.

    Args:
        datastore: the studies.
        wanted: their ids; all by default.

    Raises:
        RequestError: if there is none, one that is wanted cannot be used, or the studies are no folder.
    """
    _check_folder(datastore)
    datastore.refresh()
    if wanted is not None:
        return [find_case(datastore, image_id) for image_id in sorted(set(wanted))]
    labeled = sorted(set(datastore.get_labeled_images()))
    cases = [_case(datastore, image_id) for image_id in labeled if not is_synthetic(datastore, image_id)]
    if not cases:
        raise RequestError("no real study has a finished label map (tag final): save some first")
    return [case for case in cases if case.label is not None]


def synthetic_cases(datastore: Any) -> list[tuple[Case, dict[str, Any]]]:
    """The synthetic studies with their records, by id; the patient of each is that of its source.

    Args:
        datastore: the studies.

    Raises:
        RequestError: if the studies are no folder.
    """
    _check_folder(datastore)
    datastore.refresh()
    found = []
    for image_id in sorted(set(datastore.get_labeled_images())):
        if (record := record_of(datastore, image_id)) is not None:
            case = _case(datastore, image_id)
            found.append((Case(case.id, case.image, case.label, record["patient"]), record))
    return found


def _check_folder(datastore: Any) -> None:
    if not isinstance(datastore, StudyDatastore):
        raise RequestError(
            "batches and trainings need a folder of studies, but this server has a DICOM archive: convert the series "
            "to a data set with python -m monai_segdiff prepare, and use the commands generate and evaluate"
        )


def _case(datastore: Any, image_id: str) -> Case:
    image, label = datastore.get_image_uri(image_id), datastore.get_label_uri(image_id, _FINAL)
    told = (datastore.get_image_info(image_id) or {}).get("patient")
    patient = str(told or default_patient(image_id))
    return Case(image_id, Path(image), Path(label) if label else None, patient, patient_known=bool(told))

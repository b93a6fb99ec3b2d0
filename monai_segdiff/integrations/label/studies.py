"""The studies of a server, as cases to generate for and to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from monai_segdiff.data import Case
from monai_segdiff.data.layout import default_patient
from monai_segdiff.integrations.label.datastore import is_synthetic, record_of
from monai_segdiff.integrations.label.dicom import says_synthetic
from monai_segdiff.integrations.label.errors import RequestError, check_name

__all__ = ["find_case", "real_cases", "synthetic_cases"]

_FINAL = DefaultLabelTag.FINAL.value


def find_case(datastore: Any, image_id: str, *, needs_label: bool = True) -> Case:
    """The case of a study to generate for.

    Args:
        datastore: the studies.
        image_id: the study's id.
        needs_label: whether one without a finished label map is refused.

    Raises:
        RequestError: if there is no such study, it has no finished label map, or it is synthetic itself.
    """
    check_name(image_id, "image")
    if image_id not in datastore.list_images():
        raise RequestError(f"there is no study {image_id!r}: GET /datastore/?output=all lists them", 404)
    if is_synthetic(datastore, image_id):
        source = (record_of(datastore, image_id) or {}).get("source", "another study")
        raise RequestError(f"{image_id!r} is synthetic and no source for others: take {source!r}, of which it was made")
    case = _case(datastore, image_id)
    if isinstance(datastore, DICOMWebDatastore) and says_synthetic(datastore, image_id):
        raise RequestError(f"series {image_id} says of itself that it is synthetic: take one that was acquired")
    if needs_label and case.label is None:
        raise RequestError(f"study {image_id!r} has no finished label map (tag final): save one, or send one as label")
    return case


def real_cases(datastore: Any, wanted: Sequence[str] | None = None) -> list[Case]:
    """The real studies with a finished label map, by id.

    Args:
        datastore: the studies.
        wanted: their ids; all by default.

    Raises:
        RequestError: if there is none, or one that is wanted cannot be used.
    """
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
    """
    datastore.refresh()
    found = []
    for image_id in sorted(set(datastore.get_labeled_images())):
        if (record := record_of(datastore, image_id)) is not None:
            case = _case(datastore, image_id)
            found.append((Case(case.id, case.image, case.label, record["patient"]), record))
    return found


def _case(datastore: Any, image_id: str) -> Case:
    image = Path(datastore.get_image_uri(image_id))
    if isinstance(datastore, DICOMWebDatastore):
        datastore.datalist()  # fetches the label maps, which then lie under the id of their image
    label = LocalDatastore.get_label_uri(datastore, image_id, _FINAL)
    patient = (datastore.get_image_info(image_id) or {}).get("patient") or default_patient(image_id)
    return Case(image_id, image, Path(label) if label else None, str(patient))

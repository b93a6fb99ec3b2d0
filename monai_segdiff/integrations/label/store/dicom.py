"""Studies that come through DICOMweb: a series and the segmentation that was drawn on it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from dicomweb_client.api import DICOMfileClient
from filelock import FileLock
from monai.data import MetaTensor
from monai.transforms import Orientation
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.utils.dicom import dicom_web_download_series

from monai_segdiff.data import Case, read_dicom_seg
from monai_segdiff.data.dicom.files import dicom_files, read_headers
from monai_segdiff.data.dicom.series import read_dicom_series
from monai_segdiff.data.dicom.studies import along_patient_axes
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.files import atomic_folder
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.private_names import archive_of, cache_of, fetches_frames

__all__ = ["as_nifti", "dicom_folder", "series_case"]

_LONGEST = 64  # characters of a UID
_FETCHED = ".fetched"  # beside MONAI Label's cache, which may hold a series of which a kill left a part


def dicom_folder(folder: str | Path, cache: str | Path) -> DICOMWebDatastore:
    """Serve a folder of DICOM files as a DICOMweb server would.

    Args:
        folder: the DICOM files.
        cache: folder for what is made of them.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of DICOM files at {root}")
    client = DICOMfileClient(root.as_uri(), in_memory=True)
    return DICOMWebDatastore(client, settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER, cache_path=str(cache))


def series_case(datastore: DICOMWebDatastore, series: str, *, needs_label: bool) -> Case:
    """Fetch a series, and the segmentation that refers to it.

    Args:
        datastore: where it is.
        series: its UID.
        needs_label: whether the segmentation is looked for.

    Returns:
        The case: its image is a folder of DICOM files, its label map a DICOM file, or None.

    Raises:
        RequestError: if the series is marked as synthetic, cannot be fetched, or if several segmentations
            refer to it; names them.
    """
    study = _study_of(datastore, series)

    images = _fetched(datastore, series, lambda folder: _fetch_series(datastore, study, series, folder))
    headers = read_headers(dicom_files(images), ["SyntheticData", "PatientID"])
    if any(header.get("SyntheticData") == "YES" for header in headers.values()):
        raise RequestError(f"series {series} is marked as synthetic: choose an acquired series")
    patient = next((str(header.PatientID) for header in headers.values() if header.get("PatientID")), series)
    label = _segmentation(datastore, study, series) if needs_label else None
    return Case(series, images, label, patient)


def as_nifti(case: Case, folder: Path, classes: Mapping[str, Any]) -> Case:
    """Image and label map of a study as NIfTI: a volume in RAS, a slice as ``prepare`` leaves it.

    Args:
        case: the study.
        folder: where files may be written.
        classes: class name to label id or ids; segments are the classes of their name.

    Returns:
        The case itself where it holds no DICOM, or one with new files.

    Raises:
        RequestError: if series or segmentation cannot be read, do not belong together, or a segment is of no class.
    """
    if case.image is None or not case.image.is_dir():
        return case
    ids = {name: int(one) if isinstance(one, int) else int(one[0]) for name, one in classes.items()}
    try:
        image = read_dicom_series(case.image)
        label = None if case.label is None else read_dicom_seg(case.label, ids, like=image)[0]
    except ValueError as error:
        message = str(error).replace(str(case.image), f"series {case.id}")
        if case.label is not None:
            message = message.replace(str(case.label), f"the segmentation of series {case.id}")
        raise RequestError(message) from error
    return Case(
        case.id,
        _save(image, folder / "image" / f"{case.id}.nii.gz"),
        None if label is None else _save(label, folder / "label" / f"{case.id}.nii.gz"),
        case.patient,
    )


def _save(tensor: MetaTensor, file: Path) -> Path:
    if tensor.ndim == 3:
        return save_nifti(file, *along_patient_axes(tensor))
    turned = Orientation(axcodes="RAS", labels=None)(tensor)
    return save_nifti(file, np.asarray(turned)[0], np.asarray(turned.affine, dtype=np.float64))


def _study_of(datastore: DICOMWebDatastore, series: str) -> str:
    from pydicom import Dataset

    for entry in archive_of(datastore).search_for_series(search_filters={"SeriesInstanceUID": series}):
        header = Dataset.from_json(entry)
        if str(header.SeriesInstanceUID) == series:
            return str(header.StudyInstanceUID)
    raise RequestError(f"series {series} is no longer in the archive: look it up again", 404)


def _fetch_series(datastore: DICOMWebDatastore, study: str, series: str, folder: Path) -> None:
    if fetches_frames(datastore):  # where MONAI Label names the files by what the archive says
        from pydicom import Dataset

        for entry in archive_of(datastore).retrieve_series_metadata(study, series):
            _check_uid(str(Dataset.from_json(entry).get("SOPInstanceUID")))
        dicom_web_download_series(study, series, str(folder), archive_of(datastore), True)
        return
    for number, image in enumerate(archive_of(datastore).retrieve_series(study, series), start=1):
        image.save_as(folder / f"IM{number:05d}.dcm")


def _segmentation(datastore: DICOMWebDatastore, study: str, series: str) -> Path | None:
    """The segmentation of the study that refers to a series; several are refused, as none is preferred."""
    from pydicom import Dataset

    client = archive_of(datastore)
    found: dict[str, str] = {}
    for entry in client.search_for_series(study_instance_uid=study, search_filters={"Modality": "SEG"}):
        own = str(Dataset.from_json(entry).SeriesInstanceUID)
        for metadata in client.retrieve_series_metadata(study, own):
            header = Dataset.from_json(metadata)
            referenced = [item.get("SeriesInstanceUID") for item in header.get("ReferencedSeriesSequence") or []]
            if series in map(str, referenced):
                found[str(header.SOPInstanceUID)] = own
    if len(found) > 1:
        raise RequestError(
            f"series {series} has {len(found)} segmentations (SEG), {', '.join(sorted(found))}: keep one in the "
            "archive, or send a label map in the form field label"
        )
    if not found:
        return None
    ((instance, own),) = found.items()

    def fetch(folder: Path) -> None:
        client.retrieve_instance(study, own, instance).save_as(folder / "seg.dcm")

    return _fetched(datastore, instance, fetch) / "seg.dcm"


def _check_uid(uid: str) -> None:
    """Refuse an invalid UID of an archive (PS3.5, 9.1), as it becomes the name of a file or folder."""
    if len(uid) > _LONGEST or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid):
        raise RequestError(f"the archive holds an object with the invalid UID {uid[:80]!r}: correct it there")


def _fetched(datastore: DICOMWebDatastore, uid: str, fetch: Callable[[Path], None]) -> Path:
    """The folder of an object or a series; it appears once it is complete."""
    _check_uid(uid)
    root = Path(f"{cache_of(datastore)}{_FETCHED}")
    root.mkdir(parents=True, exist_ok=True)
    folder = root / uid
    with FileLock(str(root / ".lock")):
        if not folder.is_dir():
            for leftover in root.glob(".tmp-*"):
                shutil.rmtree(leftover)
            with atomic_folder(folder) as temporary:
                fetch(temporary)
                if not any(temporary.iterdir()):
                    raise RequestError(f"{uid} has no images that can be fetched: check it in the archive", 404)
    return folder

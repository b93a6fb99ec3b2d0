"""Studies that come through DICOMweb, which MONAI Label converts to NIfTI and NRRD."""

from __future__ import annotations

from pathlib import Path

from dicomweb_client.api import DICOMfileClient
from monai.transforms import ResampleToMatch
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore

from monai_segdiff.data import Case, file_extension, load_image, write_like
from monai_segdiff.integrations.label.errors import RequestError

__all__ = ["as_nifti", "dicom_folder", "says_synthetic"]


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


def says_synthetic(datastore: DICOMWebDatastore, series: str) -> bool:
    """Whether a series that was fetched has the attribute Synthetic Data (0008,001C).

    Args:
        datastore: where it was fetched to.
        series: its UID.
    """
    from pydicom import dcmread

    first = next(Path(datastore._datastore.image_path(), series).glob("*.dcm"), None)
    return first is not None and dcmread(first, stop_before_pixels=True).get("SyntheticData", "NO") == "YES"


def as_nifti(case: Case, folder: Path) -> Path:
    """The label map of a study as NIfTI, on the grid of its image.

    Segmentations in DICOM hold the slices that show something; here the others are put back.

    Args:
        case: the study.
        folder: where a file may be written.

    Returns:
        The label map's own file where it is no NRRD, or a new one.

    Raises:
        RequestError: if the study has no label map or image.
    """
    if case.label is None or case.image is None:
        raise RequestError(f"study {case.id!r} lacks its image or a finished label map")
    if file_extension(case.label) != ".nrrd":
        return case.label
    image = load_image(case.image)
    matched = ResampleToMatch(mode="nearest", padding_mode="zeros")(load_image(case.label).float(), image)
    return write_like(matched.numpy().astype("int32"), case.image, folder / f"{case.id}.nii.gz")

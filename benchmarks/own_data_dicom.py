"""A volume and its label map as a DICOM study, as scanners and segmentation tools write it, without our own writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["write_study"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_study(
    folder: Path,
    patient: str,
    image: NDArray[Any],
    label: NDArray[Any],
    affine: NDArray[np.float64],
    classes: Mapping[str, int],
) -> None:
    """Write a series of MR images in ``MR`` and a segmentation of them, ``SEG/seg.dcm``, by pydicom and highdicom.

    Args:
        folder: of the study.
        patient: its PatientID.
        image: (X, Y, Z); stored in 12 bits from its lowest to its highest value.
        label: (X, Y, Z), ids.
        affine: (4, 4), index to RAS mm, along the patient's axes to the right, front and head.
        classes: name of each segment to its id.

    Raises:
        ValueError: if the affine lies another way.
    """
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    if not np.array_equal(affine[:3, :3], np.diag(np.abs(np.diagonal(affine)[:3]))):
        raise ValueError(f"{patient}: the volume must lie along right, front and head")
    first = [image.shape[0] - 1, image.shape[1] - 1, 0, 1]  # rows run to the left, columns to the back
    position = (_LPS @ affine @ first)[:3]
    sizes = np.diagonal(affine)[:3]
    low, high = float(image.min()), float(image.max())
    stored = np.rint((image - low) / max(high - low, 1e-6) * 4095).astype(np.uint16)
    study, series, frame = (generate_uid() for _ in range(3))
    (folder / "MR").mkdir(parents=True)
    (folder / "SEG").mkdir()
    images = []
    for index, plane in enumerate(_planes(stored)):
        dataset = _mr(patient, plane, index + 1)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.ImagePositionPatient = [*map(float, position[:2]), float(position[2] + index * sizes[2])]
        dataset.PixelSpacing, dataset.SliceThickness = [float(sizes[1]), float(sizes[0])], float(sizes[2])
        dataset.save_as(folder / "MR" / f"IM{index + 1:04d}.dcm", enforce_file_format=True)
        images.append(dataset)
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Hippocampus,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(classes, start=1)
    ]
    planes = _planes(label)
    seg = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=np.stack([planes == index for index in classes.values()], axis=-1),
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="benchmark",
        manufacturer_model_name="benchmark",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(folder / "SEG" / "seg.dcm", enforce_file_format=True)


def _planes(voxels: NDArray[Any]) -> NDArray[Any]:
    """(slices, rows, columns) as axial images lie."""
    return np.ascontiguousarray(voxels[::-1, ::-1].transpose(2, 1, 0))


def _mr(patient: str, plane: NDArray[np.uint16], number: int) -> Any:
    """An MR image of a patient, without its place in space."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientID, dataset.PatientName = patient, f"{patient}^Anonymous"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "101112", "1"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "MR", 1, number
    dataset.Manufacturer, dataset.ImageType = "benchmark", ["ORIGINAL", "PRIMARY", "M", "NORM"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "GR", "SP", "3D"
    dataset.ScanOptions = dataset.PatientPosition = dataset.PositionReferenceIndicator = ""
    dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = plane.astype("<u2").tobytes()
    return dataset

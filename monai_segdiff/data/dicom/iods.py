"""The attributes of the DICOM image objects that are written.

CT, MR, CR and DX (PS3.3, A.3, A.4, A.2, A.26); in colors visible light and secondary capture (A.32, A.8.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai_segdiff._version import __version__
from monai_segdiff.data.dicom.files import import_pydicom
from monai_segdiff.data.dicom.scaling import Scaling
from monai_segdiff.data.dicom.synthetic import NAME, SyntheticInfo, code

__all__ = ["COLOR_MODALITIES", "SOP_CLASSES", "new_color_image", "new_image"]

SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",  # for presentation
}
_VISIBLE_LIGHT = {
    "ES": "1.2.840.10008.5.1.4.1.1.77.1.1",  # endoscopy
    "GM": "1.2.840.10008.5.1.4.1.1.77.1.2",  # microscopy
    "XC": "1.2.840.10008.5.1.4.1.1.77.1.4",  # photography
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COLOR_MODALITIES = (*_VISIBLE_LIGHT, "OT")
"""Modalities of pictures in colors."""
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def new_image(modality: str, info: SyntheticInfo, number: int, scaling: Scaling) -> Any:
    """An image object without its pixels, its place, its UIDs, and what `mark_synthetic` says of its origin.

    Args:
        modality: "CT", "MR", "CR" or "DX".
        info: what it says of its origin.
        number: of the image in its series, from 1.
        scaling: what its stored values mean.
    """
    image = _object(SOP_CLASSES[modality], modality, info, number)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    _OF_MODALITY[modality](image, info, scaling)
    return image


def new_color_image(modality: str, info: SyntheticInfo) -> Any:
    """A picture in colors without its pixels, its UIDs, and what `mark_synthetic` says of its origin.

    Args:
        modality: "ES", "GM" or "XC" for an object of visible light, any other for a secondary capture.
        info: what it says of its origin.
    """
    image = _object(_VISIBLE_LIGHT.get(modality, _SECONDARY_CAPTURE), modality, info, 1)
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    if modality in _VISIBLE_LIGHT:
        image.AcquisitionContextSequence = []
    else:
        image.ConversionType = "SYN"  # synthetic image (C.8.6.1)
    return image


def _object(sop_class: str, modality: str, info: SyntheticInfo, number: int) -> Any:
    """What all images have in common."""
    pydicom = import_pydicom()
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SeriesNumber, image.InstanceNumber = 1, number
    image.StudyInstanceUID = info.uid("study")
    image.Modality = modality
    image.Manufacturer, image.ManufacturerModelName, image.SoftwareVersions = NAME, NAME, __version__
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.LossyImageCompression = "00"
    return image


def _cross_section(image: Any, info: SyntheticInfo, scaling: Scaling) -> None:
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = info.uid("frame of reference"), ""
    image.PatientPosition, image.Laterality, image.AcquisitionNumber = "", "", None
    image.RescaleSlope, image.RescaleIntercept = scaling.slope_text, scaling.intercept_text
    _window(image, scaling)


def _ct(image: Any, info: SyntheticInfo, scaling: Scaling) -> None:
    _cross_section(image, info, scaling)
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    image.RescaleType, image.KVP = "HU", None


def _mr(image: Any, info: SyntheticInfo, scaling: Scaling) -> None:
    _cross_section(image, info, scaling)
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.RescaleType = "US"
    # Research mode (C.8.3.1.1.2): no pulse sequence made this image.
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "RM", "NONE", ""
    image.MRAcquisitionType = ""
    image.RepetitionTime = image.EchoTime = image.EchoTrainLength = None


def _cr(image: Any, info: SyntheticInfo, scaling: Scaling) -> None:
    image.BodyPartExamined = image.ViewPosition = image.Laterality = ""
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = scaling.slope_text, scaling.intercept_text, "US"
    _window(image, scaling)


def _dx(image: Any, info: SyntheticInfo, scaling: Scaling) -> None:
    image.PresentationIntentType, image.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    image.ImageLaterality = "U"
    image.AnatomicRegionSequence = image.AcquisitionContextSequence = []
    image.DetectorType = ""
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LOG", -1
    # This object allows no other rescaling (C.8.11.3); what the values mean, its real world value mapping says.
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = "1", "0", "US"
    image.WindowCenter, image.WindowWidth = (scaling.stored_max + 1) / 2, max(scaling.stored_max, 1)
    mapping = import_pydicom().Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, scaling.stored_max
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = scaling.slope, scaling.intercept
    mapping.LUTExplanation, mapping.LUTLabel = "Intensities of the generator's training images", "GENERATED"
    mapping.MeasurementUnitsCodeSequence = [code("1", "UCUM", "no units")]
    image.RealWorldValueMappingSequence = [mapping]


def _window(image: Any, scaling: Scaling) -> None:
    if scaling.high - scaling.low >= 1:  # a window narrower than 1 is not allowed
        image.WindowCenter = f"{(scaling.high + scaling.low) / 2:.6g}"
        image.WindowWidth = f"{scaling.high - scaling.low:.6g}"


_OF_MODALITY: dict[str, Callable[[Any, SyntheticInfo, Scaling], None]] = {"CT": _ct, "MR": _mr, "CR": _cr, "DX": _dx}

"""Attributes that DICOM demands of the objects written (PS3.3 2024), by module.

Type 1: there, with a value. Type 2: there, possibly empty. Conditional ones are listed where their condition holds
for what is written.
"""

from __future__ import annotations

_PATIENT = {2: ["PatientName", "PatientID", "PatientBirthDate", "PatientSex"]}  # C.7.1.1
_STUDY = {  # C.7.2.1
    1: ["StudyInstanceUID"],
    2: ["StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"],
}
_SERIES = {1: ["Modality", "SeriesInstanceUID"], 2: ["SeriesNumber"]}  # C.7.3.1
_EQUIPMENT = {2: ["Manufacturer"]}  # C.7.5.1
_IMAGE = {2: ["InstanceNumber"]}  # C.7.6.1
_PIXELS = {  # C.7.6.3
    1: [
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelData",
    ]
}
_COMMON = {1: ["SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"]}  # C.12.1
_FRAME_OF_REFERENCE = {1: ["FrameOfReferenceUID"], 2: ["PositionReferenceIndicator"]}  # C.7.4.1
_PLANE = {  # C.7.6.2
    1: ["PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"],
    2: ["SliceThickness"],
}
_EVERY = [_PATIENT, _STUDY, _SERIES, _EQUIPMENT, _IMAGE, _PIXELS, _COMMON]
_IN_SPACE = [*_EVERY, _FRAME_OF_REFERENCE, _PLANE, {2: ["PatientPosition"]}]

MODULES: dict[str, list[dict[int, list[str]]]] = {
    "CT": [
        *_IN_SPACE,
        {
            1: ["ImageType", "RescaleIntercept", "RescaleSlope", "RescaleType"],
            2: ["KVP", "AcquisitionNumber"],
        },  # C.8.2.1
    ],
    "MR": [
        *_IN_SPACE,
        {  # C.8.3.1
            1: ["ImageType", "ScanningSequence", "SequenceVariant"],
            2: ["ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"],
        },
    ],
    "CR": [
        *_EVERY,
        {2: ["BodyPartExamined", "ViewPosition"]},  # C.8.1.1
        {2: ["PatientOrientation"]},  # C.7.6.1, as it has no place in space
        {1: ["RescaleIntercept", "RescaleSlope", "RescaleType"]},  # C.11.1
    ],
    "DX": [
        *_EVERY,
        {1: ["PresentationIntentType"]},  # C.8.11.1
        {1: ["ImageLaterality"], 2: ["AnatomicRegionSequence"]},  # C.8.11.2
        {  # C.8.11.3
            1: [
                "ImageType",
                "PixelIntensityRelationship",
                "PixelIntensityRelationshipSign",
                "RescaleIntercept",
                "RescaleSlope",
                "RescaleType",
                "PresentationLUTShape",
                "LossyImageCompression",
                "PatientOrientation",
                "BurnedInAnnotation",
                "WindowCenter",
                "WindowWidth",
            ]
        },
        {1: ["ImagerPixelSpacing"], 2: ["DetectorType"]},  # C.8.11.4
        {2: ["AcquisitionContextSequence"]},  # C.7.6.14
    ],
    "SEG": [
        _PATIENT,
        _STUDY,
        _COMMON,
        _PIXELS,
        {1: ["FrameOfReferenceUID"], 2: ["PositionReferenceIndicator"]},
        {1: ["Modality", "SeriesInstanceUID", "SeriesNumber"]},  # C.8.20.1
        {1: ["Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"]},  # C.7.5.2
        {  # C.8.20.2
            1: [
                "ImageType",
                "InstanceNumber",
                "ContentLabel",
                "SegmentationType",
                "SegmentSequence",
                "LossyImageCompression",
            ],
            2: ["ContentDescription", "ContentCreatorName"],
        },
        {1: ["ContentDate", "ContentTime", "NumberOfFrames"]},  # C.7.6.16
        {1: ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]},
        {1: ["DimensionOrganizationSequence", "DimensionIndexSequence"]},  # C.7.6.17
        {1: ["ReferencedSeriesSequence"]},  # C.12.2
    ],
}
SEGMENT = {  # C.8.20.4
    1: [
        "SegmentNumber",
        "SegmentLabel",
        "SegmentAlgorithmType",
        "SegmentAlgorithmName",
        "SegmentedPropertyCategoryCodeSequence",
        "SegmentedPropertyTypeCodeSequence",
    ]
}

"""DICOM: series, segmentations and structure sets, read and written."""

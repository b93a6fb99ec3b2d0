"""Label maps of synthetic images written as DICOM segmentations, and both as one study."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import ArrayLike, NDArray

from monai_segdiff._version import __version__
from monai_segdiff.data.description.channel_names import is_color
from monai_segdiff.data.dicom.codes import property_codes
from monai_segdiff.data.dicom.color import color_picture, fill_color
from monai_segdiff.data.dicom.files import (
    DicomSource,
    dicom_files,
    import_highdicom,
    import_pydicom,
    read_dataset_of,
)
from monai_segdiff.data.dicom.iods import COLOR_MODALITIES
from monai_segdiff.data.dicom.series import read_dicom_series
from monai_segdiff.data.dicom.synthetic import NAME, SyntheticInfo, give_uids, mark_synthetic, source_references
from monai_segdiff.data.dicom.write_series import as_slices, fill_series, naming
from monai_segdiff.files import atomic_file, atomic_folder

__all__ = ["check_class_names", "write_dicom_pair", "write_dicom_seg"]

_SAME_PLACE = 1e-2  # mm
_LONGEST = 64  # letters of a name (LO)
_NO_DATE = "19700101"  # an attribute of type 1, of something that nobody examined
# All that a segmentation needs of its images. Nothing else of them comes near it: highdicom would copy what they say of
# patient, study, specimen and scanner.
_OF_IMAGES = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Rows",
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)


def write_dicom_seg(
    labels: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor | None,
    classes: Mapping[str, int | Sequence[int]],
    series: DicomSource,
    file: str | os.PathLike[str],
    *,
    source: DicomSource | None = None,
    info: SyntheticInfo | None = None,
) -> Path:
    """Write a label map as a DICOM segmentation (SEG) of the synthetic series that it belongs to.

    A segment for each class, in their order, empty slices left out. The object refers to the series' images, lies in
    their frame of reference and belongs to their study. It is marked as synthetic, and nothing else is taken from the
    series.

    Args:
        labels: whole numbers, (X, Y, Z) or (X, Y), with or without a leading axis of one.
        affine: (4, 4), index to RAS mm; None if the axes are those that `read_dicom_series` gives the series.
        classes: class name to label id or ids; names have 64 letters at most.
        series: the DICOM files of the images, or their folder; every one says that it is synthetic (0008,001C).
        file: file to write.
        source: DICOM segmentation that the label map was taken from; the object refers to it.
        info: what the object says of its origin, and its UIDs.

    Returns:
        `file`.

    Raises:
        ImportError: if pydicom or highdicom is missing.
        ValueError: if the label map does not lie on the series, or holds ids that are in no class; if a name is too
            long, or the series is not marked as synthetic.
        OSError: if the file cannot be written.
    """
    with naming(Path(file)):
        return _write(labels, affine, classes, series, Path(file), source, info)


def _write(
    labels: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor | None,
    classes: Mapping[str, int | Sequence[int]],
    series: DicomSource,
    file: Path,
    source: DicomSource | None,
    info: SyntheticInfo | None,
) -> Path:
    image = _images_of(series)
    about = info or SyntheticInfo()
    flat = image.meta["modality"] in ("CR", "DX", *COLOR_MODALITIES) or image.meta.get("color", False)
    if affine is None:
        array = np.asarray(labels.detach().cpu() if isinstance(labels, torch.Tensor) else labels)
        array = array.reshape(array.shape[1:] if array.ndim == image.ndim else array.shape)
        slices = np.ascontiguousarray((array if array.ndim == 3 else array[..., None]).transpose(2, 1, 0))
    else:
        slices, grid = as_slices(labels, affine, radiograph=flat)
        off = np.abs(grid - np.asarray(image.affine))[:3, : 4 if not flat else 3].max() if not flat else 0.0
        if off > _SAME_PLACE:
            raise ValueError(
                f"the label map lies {off:.3g} mm off the series in {image.meta['filename_or_obj']}; resample it"
            )
    shape = (*image.shape[1:], *[1] * (4 - image.ndim))
    if slices.shape != shape[::-1]:
        raise ValueError(
            f"the label map has size {slices.shape[::-1]}, the series in {image.meta['filename_or_obj']} {shape}; "
            "resample it to the series"
        )
    check_class_names(classes)
    segments = _segment_numbers(slices, classes)
    images = [_synthetic(Path(name)) for name in image.meta["files"]]
    seg = _new_seg(segments, list(classes), [_bare(one, flat) for one in images], about)
    mark_synthetic(seg, replace(about, description=about.description or "label map"), source_references(source))
    if flat:
        seg.PatientOrientation = images[0].PatientOrientation
    seg.ImageType = ["DERIVED", "PRIMARY"]  # the only ones that a segmentation may have
    seg.SpecificCharacterSet = "ISO_IR 192"  # highdicom before 0.28 leaves it out
    _undate(seg, about)
    give_uids([seg], about, "segmentation")
    with atomic_file(file) as temporary:
        seg.save_as(temporary, enforce_file_format=True)
    return file


def write_dicom_pair(
    image: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor,
    classes: Mapping[str, int | Sequence[int]],
    folder: str | os.PathLike[str],
    modality: str,
    *,
    source: DicomSource | None = None,
    info: SyntheticInfo | None = None,
    channels: Sequence[str] = (),
) -> tuple[list[Path], Path]:
    """Write a synthetic image and its label map as one study: a series in ``image`` and ``seg/seg.dcm``.

    Of several channels each is a series of its own, in ``image/channel_1``, ``image/channel_2`` and so on; the
    segmentation refers to the first, and lies in the frame of reference of all. Red, green and blue of a picture are
    one object: a visible light image of modality "ES", "XC" or "GM", else a secondary capture.

    The folder appears with all or not at all. Arguments are those of `write_dicom_series` and `write_dicom_seg`.

    Args:
        image: the image; of several channels, these come first, (C, *spatial).
        labels: its label map, of the same spatial shape.
        affine: of both.
        classes: class name to label id or ids.
        folder: folder to create; may exist and be empty.
        modality: "CT", "MR", "CR" or "DX"; of a picture in colors also "ES", "XC", "GM" or "OT".
        source: DICOM segmentation that the label map was taken from.
        info: what the objects say of their origin, and their UIDs.
        channels: names of the image's channels, where there are several; each series is described by its own.

    Returns:
        The files of the series, channel by channel, and that of the segmentation.

    Raises:
        ImportError: if pydicom or highdicom is missing.
        ValueError: if image, label map, classes or affine do not fit.
        OSError: if the folder cannot be written, or is not empty.
    """
    import_highdicom()
    about = info or SyntheticInfo()
    with atomic_folder(Path(folder)) as temporary, naming(Path(folder), temporary):
        (temporary / "image").mkdir()
        series = _fill(image, affine, temporary / "image", modality, channels, source=source, info=about)
        seg = temporary / "seg" / "seg.dcm"
        write_dicom_seg(labels, affine, classes, series[0], seg, source=source, info=about)
    root = Path(folder)
    return [root / file.relative_to(temporary) for files in series for file in files], root / "seg" / seg.name


def _fill(
    image: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor,
    folder: Path,
    modality: str,
    channels: Sequence[str],
    *,
    source: DicomSource | None,
    info: SyntheticInfo,
) -> list[list[Path]]:
    """The files of each series: one of all colors, or one for each channel."""
    if len(channels) <= 1:
        return [fill_series(image, affine, folder, modality, source=source, info=info)]
    if is_color(channels):
        return [fill_color(image, affine, folder, modality, source=source, info=info)]
    found = []
    for index, (name, layer) in enumerate(zip(channels, image, strict=True)):
        own = folder / f"channel_{index + 1}"
        own.mkdir()
        about = replace(info, description=f"{info.description} {name}".strip())
        number = 1 if index == 0 else index + 2  # the segmentation is series 2
        found.append(fill_series(layer, affine, own, modality, source=source, info=about, number=number))
    return found


def check_class_names(classes: Mapping[str, int | Sequence[int]]) -> None:
    """Refuse names that a segment cannot have (LO: PS3.5, 6.2).

    Args:
        classes: by their names.

    Raises:
        ValueError: names the class.
    """
    for name in classes:
        if len(name) > _LONGEST:
            raise ValueError(f"the class {name!r} has {len(name)} letters, of which DICOM holds {_LONGEST}; shorten it")
        if name != name.strip() or "\\" in name or not name.isprintable() or not name:
            raise ValueError(
                f"the class {name!r} cannot be written, as DICOM's names hold no backslash and no control character, "
                "and neither begin nor end with a space; rename it"
            )


def _images_of(series: DicomSource) -> MetaTensor:
    """The images as `read_dicom_series` gives them; of a picture in colors what is said of it, and no pixels."""
    picture = color_picture(series)
    if picture is None:
        return read_dicom_series(series)
    (file,) = dicom_files(series)
    meta = {"modality": str(picture.Modality), "files": [str(file)], "filename_or_obj": str(file), "color": True}
    return MetaTensor(torch.empty(1, int(picture.Columns), int(picture.Rows)), affine=torch.eye(4), meta=meta)


def _synthetic(file: Path) -> Any:
    """An image that says that it is synthetic."""
    image = read_dataset_of(file)
    if str(image.get("SyntheticData") or "") != "YES":
        raise ValueError(
            f"{file} does not say that it is synthetic (Synthetic Data, 0008,001C), but a segmentation written here "
            "would; give the images that were generated for the label map, as write_dicom_series writes them"
        )
    return image


def _bare(image: Any, flat: bool) -> Any:
    """What a segmentation needs of an image, of no patient and no study."""
    bare = import_pydicom().Dataset()
    for keyword in _OF_IMAGES:
        if keyword in image:
            setattr(bare, keyword, image[keyword].value)
    if flat and "PixelSpacing" in bare:
        del bare.PixelSpacing  # highdicom cannot read a voxel size back that has no third axis
    bare.SpecificCharacterSet = "ISO_IR 192"
    bare.PatientID = bare.PatientName = bare.PatientBirthDate = bare.PatientSex = ""
    bare.AccessionNumber = bare.StudyID = bare.StudyDate = bare.StudyTime = ""
    return bare


def _undate(seg: Any, info: SyntheticInfo) -> None:
    """Take out what highdicom draws or reads from the clock: the same label map is the same object whenever written."""
    seg.ContentDate, seg.ContentTime = _NO_DATE, "000000"
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        seg.pop(keyword, None)
    for item in seg.ContributingEquipmentSequence:
        item.pop("ContributionDateTime", None)
    for item in [*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence]:
        item.DimensionOrganizationUID = info.uid("segmentation", "dimensions")


def _segment_numbers(labels: NDArray[Any], classes: Mapping[str, int | Sequence[int]]) -> NDArray[np.uint16]:
    """Number of the segment of each voxel, from 1 in the order of the classes."""
    if not classes:
        raise ValueError("a segmentation needs at least one class; give classes, e.g. {'liver': 1}")
    out = np.zeros(labels.shape, dtype=np.uint16)
    for number, ids in enumerate(classes.values(), start=1):
        out[np.isin(labels, ids)] = number
    unknown = np.unique(labels[(out == 0) & (labels != 0)])
    if unknown.size:
        raise ValueError(
            f"the label map holds ids {unknown[:10].tolist()} that are in no class; add them to the classes, or set "
            "them to 0"
        )
    return out


def _new_seg(segments: NDArray[np.uint16], names: Sequence[str], images: Sequence[Any], info: SyntheticInfo) -> Any:
    highdicom = import_highdicom()
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=NAME, version=__version__, family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence")
    )
    descriptions = []
    for number, name in enumerate(names, start=1):
        category, kind = property_codes(name)
        descriptions.append(
            highdicom.seg.SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type="AUTOMATIC",  # the label map is what the image was made for, not what was seen in it
                algorithm_identification=algorithm,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a label map that is empty, which is allowed
        return highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=segments,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=info.uid("to come"),
            series_number=2,
            sop_instance_uid=info.uid("to come"),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=NAME,
            software_versions=__version__,
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_creator_name=NAME,
            content_description="label map that the image was generated for",
        )

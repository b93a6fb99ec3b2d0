from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from monai_segdiff.data.nifti import save_nifti


@pytest.fixture
def make_pair(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Write an image and a label map (a box of 1 inside) and return them as a case."""

    def make(
        name: str = "p1",
        shape: tuple[int, ...] = (10, 12, 14),
        affine: np.ndarray | None = None,
        image: np.ndarray | None = None,
        label: np.ndarray | None = None,
        folder: str = "source",
    ) -> dict[str, str]:
        affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
        if label is None:
            label = np.zeros(shape, dtype=np.uint8)
            label[tuple(slice(n // 4, 3 * n // 4) for n in shape)] = 1
        if image is None:
            noise = np.random.default_rng(0).normal(0, 5, size=shape)
            image = (100.0 * label + noise).astype(np.float32)
        paths = {
            "image": tmp_path / folder / "imagesTr" / f"{name}.nii.gz",
            "label": tmp_path / folder / "labelsTr" / f"{name}.nii.gz",
        }
        save_nifti(paths["image"], image, affine)
        save_nifti(paths["label"], label, affine)
        return {**{key: str(path) for key, path in paths.items()}, "patient": name}

    return make


@pytest.fixture
def write_series() -> Callable[..., list[Path]]:
    """Write a volume in HU, (columns, rows, slices), as a CT series, file by file in the order of the slices."""

    def write(
        folder: Path,
        hu: np.ndarray,
        *,
        origin: Sequence[float] = (-10.0, -20.0, 30.0),
        orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
        pixel_spacing: Sequence[float] = (0.8, 0.6),  # between rows, between columns
        step: Sequence[float] = (0.0, 0.0, 1.5),
        **attributes: Any,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        attributes = {"Modality": "CT", "SeriesInstanceUID": generate_uid(), **attributes}
        files = []
        for index in range(hu.shape[2]):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            file = folder / f"IM{100 - index}"  # neither a name in order nor an extension
            dataset = FileDataset(file, {}, file_meta=meta, preamble=b"\0" * 128)
            dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
            dataset.Rows, dataset.Columns = hu.shape[1], hu.shape[0]
            dataset.ImageOrientationPatient, dataset.PixelSpacing = list(orientation), list(pixel_spacing)
            dataset.ImagePositionPatient = [float(o + index * s) for o, s in zip(origin, step, strict=True)]
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
            dataset.RescaleSlope, dataset.RescaleIntercept = 2.0, -1024.0
            for name, value in attributes.items():
                setattr(dataset, name, value)
            dataset.PixelData = np.ascontiguousarray(((hu[:, :, index].T + 1024) / 2).round().astype("<i2")).tobytes()
            pydicom.dcmwrite(file, dataset)
            files.append(file)
        return files

    return write


@pytest.fixture
def make_leg() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A leg of two cylinders along the last axis, flesh around bone, in HU, with its affine of 3 mm voxels."""

    def make(bone_radius: float = 8.0, at: tuple[float, float] = (0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.meshgrid(*[(np.arange(24) - 11.5) * 3.0] * 2, indexing="ij")
        distance = np.hypot(x - at[0], y - at[1])
        plane = np.where(distance < bone_radius, 700, np.where(distance < 22, 40, -1000)).astype(np.float32)
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        affine[:3, 3] = -34.5, 100, -500
        return np.repeat(plane[:, :, None], 16, axis=2), affine

    return make

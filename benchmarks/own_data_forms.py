"""Real samples of `SEGDIFF_DATA` laid out in the forms that people have data in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.own_data_dicom import write_study
from monai_segdiff.data.dicom.series import read_dicom_series
from monai_segdiff.data.nifti import save_nifti

__all__ = ["FORMS", "STRUCTURES", "Form", "Volume", "hippocampi"]

_EVERY = 6  # slices from one picture to the next
_CLASSES = {"Anterior": 1, "Posterior": 2}
_OPTION = "--classes Anterior=1 Posterior=2"
_VERTEBRAE = ["vertebrae_S1"]
_VERTEBRAE += [
    f"vertebrae_{part}{number}" for part, last in (("L", 5), ("T", 12), ("C", 7)) for number in range(last, 0, -1)
]
STRUCTURES = (
    "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left "
    "lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right "
    "esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left "
    f"kidney_cyst_right sacrum {' '.join(_VERTEBRAE)} heart aorta pulmonary_vein brachiocephalic_trunk "
    "subclavian_artery_right subclavian_artery_left common_carotid_artery_right common_carotid_artery_left "
    "brachiocephalic_vein_left brachiocephalic_vein_right atrial_appendage_left superior_vena_cava inferior_vena_cava "
    "portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right humerus_left "
    "humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left femur_right hip_left hip_right "
    "spinal_cord gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right "
    "gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right brain "
    f"skull {' '.join(f'rib_left_{number}' for number in range(1, 13))} "
    f"{' '.join(f'rib_right_{number}' for number in range(1, 13))} sternum costal_cartilages"
).split()
"""Names of TotalSegmentator's structures, version 2, from id 1 on."""


@dataclass(frozen=True)
class Volume:
    """A patient's image with its label map.

    Args:
        name: of the patient.
        image: (X, Y, Z).
        label: (X, Y, Z), ids.
        affine: (4, 4), index to RAS mm, of both.
    """

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def gray(self) -> NDArray[np.uint8]:
        """The image with its lowest 0.5% black and its highest white."""
        low, high = np.percentile(self.image, (0.5, 99.5))
        return np.rint(np.clip((self.image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def hippocampi(samples: Path, number: int) -> Iterator[Volume]:
    """The first patients of the hippocampus data, in the order of their names.

    Args:
        samples: folder of the real samples.
        number: of patients.
    """
    root = samples / "mr" / "hippocampus"
    for file in sorted((root / "imagesTr").glob("*.nii.gz"))[:number]:
        image = nib.as_closest_canonical(nib.load(file))
        label = nib.as_closest_canonical(nib.load(root / "labelsTr" / file.name))
        values = np.asarray(image.dataobj, np.float32), np.asarray(label.dataobj).astype(np.uint8)
        yield Volume(file.name.removesuffix(".nii.gz"), *values, np.asarray(image.affine, np.float64))


def totalsegmentator(samples: Path, root: Path, number: int) -> None:
    """The two CT with many organs, a subject each, with a file for every structure, in the image or not."""
    whole, slices = samples / "ct" / "totalseg_example", samples / "ct" / "totalseg_dicom"
    series = read_dicom_series(slices / "dicom")
    subjects: dict[str, tuple[Any, Path]] = {
        "s0001": (nib.load(whole / "ct.nii.gz"), whole / "seg_total.nii.gz"),
        "s0002": (nib.Nifti1Image(np.asarray(series)[0], np.asarray(series.affine)), slices / "seg.nii.gz"),
    }
    for subject, (image, file) in list(subjects.items())[:number]:
        image, label = nib.as_closest_canonical(image), nib.as_closest_canonical(nib.load(file))
        ids = np.asarray(label.dataobj)
        save_nifti(root / subject / "ct.nii.gz", np.asarray(image.dataobj), image.affine)
        for index, name in enumerate(STRUCTURES, start=1):
            mask = (ids == index).astype(np.uint8)
            save_nifti(root / subject / "segmentations" / f"{name}.nii.gz", mask, label.affine)


def _nnunet(root: Path, channels: dict[str, Callable[[NDArray[np.float32]], Any]], volumes: Iterator[Volume]) -> None:
    count = 0
    for volume in volumes:
        for index, change in enumerate(channels.values()):
            file = root / "imagesTr" / f"{volume.name}_{index:04d}.nii.gz"
            save_nifti(file, np.asarray(change(volume.image), np.float32), volume.affine)
        save_nifti(root / "labelsTr" / f"{volume.name}.nii.gz", volume.label, volume.affine)
        count += 1
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {"background": 0, **_CLASSES},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content, indent=1))


def nnunet(samples: Path, root: Path, number: int) -> None:
    """A raw folder of nnU-Net, version 2, of one channel."""
    _nnunet(root, {"MRI": np.asarray}, hippocampi(samples, number))


def channels(samples: Path, root: Path, number: int) -> None:
    """A raw folder of nnU-Net of three channels: the MR, smoothed by 1.5 voxels, and the size of its gradient."""
    filters: dict[str, Callable[[NDArray[np.float32]], Any]] = {
        "MRI": np.asarray,
        "smooth": lambda image: ndimage.gaussian_filter(image, 1.5),
        "edges": lambda image: ndimage.gaussian_gradient_magnitude(image, 1.0),
    }
    _nnunet(root, filters, hippocampi(samples, number))


def dicom(samples: Path, root: Path, number: int) -> None:
    """A study for each patient: an MR series and its SEG of two segments."""
    for volume in hippocampi(samples, number):
        write_study(root / volume.name, volume.name, volume.image, volume.label, volume.affine, _CLASSES)


def patient_folders(samples: Path, root: Path, number: int) -> None:
    """A folder for each patient with its image and its label map."""
    for volume in hippocampi(samples, number):
        save_nifti(root / volume.name / "image.nii.gz", volume.image, volume.affine)
        save_nifti(root / volume.name / "label.nii.gz", volume.label, volume.affine)


def _pictures(volume: Volume, images: Path, masks: Path) -> None:
    """Coronal slices with labels, as viewers show them: the patient's right on the left, the head on top."""
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for index in np.flatnonzero(volume.label.any((0, 2)))[::_EVERY]:
        for folder, voxels in ((images, volume.gray), (masks, volume.label)):
            Image.fromarray(np.flip(voxels[:, index], (0, 1)).T).save(folder / f"{volume.name}_slice{index:03d}.png")


def pictures(samples: Path, root: Path, number: int) -> None:
    """Folders `images` and `masks` of PNG, named by patient and slice."""
    for volume in hippocampi(samples, number):
        _pictures(volume, root / "images", root / "masks")


def split_pictures(samples: Path, root: Path, number: int) -> None:
    """Folders `img_dir` and `seg_dir/all` with one for each split: of five patients three, one and one."""
    for index, volume in enumerate(hippocampi(samples, number)):
        split = {3: "val", 4: "test"}.get(index % 5, "train")
        _pictures(volume, root / "img_dir" / split, root / "seg_dir" / "all" / split)


@dataclass(frozen=True)
class Form:
    """Data in a form, and what is typed for them.

    Args:
        title: what it is.
        scans: SCANS as typed.
        build: writes them from the folder of the real samples, for a number of patients; None where they lie there.
        options: what the folder alone does not tell.
        images: that the training sees; None for the default length.
        until: the last stage.
    """

    title: str
    scans: str
    build: Callable[[Path, Path, int], None] | None = None
    options: str = ""
    images: int | None = 64
    until: str = "generate"

    def command(self, images: int | None) -> str:
        """What is typed, for a number of images."""
        until = "" if self.until == "evaluate" else f"--until {self.until}"
        length = "" if images is None else f"--images {images}"
        words = ("python -m monai_segdiff run", self.scans, "--output study", self.options, length, until)
        return " ".join(word for word in words if word)

    def write(self, samples: Path, folder: Path, number: int) -> Path:
        """Write the data into a folder in which the command is then typed; where they are.

        Args:
            samples: folder of the real samples.
            folder: where to; what lies there under the same name is replaced.
            number: of patients, at most.
        """
        if self.build is None:
            return samples / self.scans.removeprefix("$SEGDIFF_DATA/")
        root = folder / self.scans
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        self.build(samples, root, number)
        return root


FORMS = {
    "hippocampus": Form(
        "Medical Segmentation Decathlon, MR", "$SEGDIFF_DATA/mr/hippocampus", images=22_400, until="evaluate"
    ),
    "chest": Form(
        "folders of PNG with `patients.csv`, chest X-rays",
        "$SEGDIFF_DATA/cxr/mhh_v7",
        options="--classes lung=255",
        images=320,
        until="evaluate",
    ),
    "totalsegmentator": Form("TotalSegmentator, 117 mask files a subject, CT", "totalseg", totalsegmentator),
    "nnunet": Form("nnU-Net version 2, MR", "nnunet", nnunet),
    "channels": Form("nnU-Net version 2, three channels", "channels", channels),
    "dicom": Form("DICOM: MR series with SEG", "dicom", dicom),
    "pictures": Form("`images` and `masks` of PNG", "pictures", pictures, _OPTION),
    "patients": Form("folder for each patient", "patients", patient_folders, _OPTION),
    "splits": Form("`img_dir/train`, `seg_dir/all/train` of PNG", "splits", split_pictures, _OPTION),
}
"""The forms by the name of their row."""

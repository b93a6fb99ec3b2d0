"""Chest X-ray phantoms written to disk as a data set with findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_segdiff.data.build import build_once
from monai_segdiff.data.layout import Case, SegmentationDataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.phantoms.chest import CHEST_PHANTOM_CLASSES, CHEST_PHANTOM_RANGE, ChestPhantom
from monai_segdiff.data.phantoms.chest_findings import CHEST_PHANTOM_FINDINGS
from monai_segdiff.data.phantoms.population import describe_population, patient_seeds

__all__ = ["make_chest_phantoms"]


def make_chest_phantoms(
    root: str | Path,
    patients: int = 60,
    size: int | Sequence[int] = 64,
    seed: int = 0,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    healthy: float = 0.5,
    progress: bool = True,
) -> SegmentationDataset:
    """Write radiographs of a population of chest phantoms as a data set, one a patient, split by patient.

    Images are NIfTI, float32, in the range 0..1 that `prepare --percentiles` gives radiographs, label maps and region
    maps of the findings uint8, with an RAS affine in mm. Every case says what is found in it; one in which nothing is
    found has no region map. The folder appears complete or not at all; a second call with the same arguments returns
    what is there.

    Args:
        root: folder to create.
        patients: number of patients.
        size: pixels per axis: one number, or one per axis.
        seed: determines every patient.
        fractions: shares of patients for training, validation and test.
        healthy: share of the patients, 0..1, in whom nothing is found.
        progress: whether to show a progress bar.

    Returns:
        The data set; its classes are `CHEST_PHANTOM_CLASSES`, its findings `CHEST_PHANTOM_FINDINGS`.

    Raises:
        ValueError: if an argument is out of range.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written.
    """
    shape = (size, size) if isinstance(size, int) else tuple(size)
    if len(shape) != 2 or min(shape) < 1 or patients < 1 or not 0 <= healthy <= 1:
        raise ValueError(
            f"need at least one patient, a size of two axes and healthy in 0..1, got {patients}, {size} and {healthy}"
        )
    settings = {
        "phantom": "ChestPhantom",
        "patients": patients,
        "size": list(shape),
        "seed": seed,
        "fractions": list(fractions),
        "healthy": healthy,
    }

    def build(folder: Path) -> SegmentationDataset:
        cases = []
        for number, own_seed in patient_seeds(patients, seed, "chest phantoms", progress):
            phantom = ChestPhantom(own_seed, healthy)
            name = f"chest{number:04d}"
            affine = phantom.affine(shape)
            files = [folder / part / f"{name}.nii.gz" for part in ("imagesTr", "labelsTr", "regionsTr")]
            for file, pixels in zip(files, phantom.render(shape), strict=True):
                if phantom.findings or file is not files[-1]:
                    save_nifti(file, pixels, affine)
            region = files[-1] if phantom.findings else None
            cases.append(Case(name, files[0], files[1], name, phantom.findings, region))
        return describe_population(
            folder,
            cases,
            fractions,
            seed,
            settings=settings,
            name="Chest X-ray phantoms",
            modality="DX",
            classes=dict(CHEST_PHANTOM_CLASSES),
            intensity_range=CHEST_PHANTOM_RANGE,
            spatial_dims=2,
            findings=CHEST_PHANTOM_FINDINGS,
        )

    return build_once(root, settings, build)

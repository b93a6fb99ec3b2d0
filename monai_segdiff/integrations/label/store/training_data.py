"""Studies as data sets for trainings, in the layout that everything else reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_segdiff.data import Case, SegmentationDataset, write_dataset
from monai_segdiff.data.splits import BY_FILE, BY_PATIENT, split_cases
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.headers import check_size

__all__ = ["check_studies", "split_studies", "write_studies"]


def check_studies(cases: Sequence[Case], generator: TrainedGenerator) -> None:
    """Refuse studies of another size by their headers, before anything is unpacked.

    Args:
        cases: studies with image and label map.
        generator: whose size and channels are wanted.

    Raises:
        RequestError: naming the study, and how to bring it to that size.
    """
    for case in cases:
        number = len(generator.channels) or 1
        for file, what, channels in ((case.label, "label map", 1), (case.image, "image", number)):
            assert file is not None
            try:
                check_size(file, generator.image_size, what, channels)
            except RequestError as error:
                raise RequestError(f"study {case.id!r}: {error}") from error


def split_studies(cases: Sequence[Case], held_out: float, seed: int, split: str) -> dict[str, list[Case]]:
    """Split studies by patient.

    Args:
        cases: the real studies.
        held_out: share of the patients that are held out.
        seed: of the split.
        split: name of the held-out split, "validation" or "test".

    Returns:
        Studies by split.

    Raises:
        RequestError: if there are too few.
    """
    shares = (1 - held_out, held_out, 0.0) if split == "validation" else (1 - held_out, 0.0, held_out)
    try:
        splits, _ = split_cases(cases, shares, seed)
    except ValueError as error:
        raise RequestError(str(error)) from error
    if len(splits["training"]) < 2:
        raise RequestError(
            f"{len(cases)} real studies with a finished label map are too few for training and held-out studies: save "
            "label maps of at least four patients"
        )
    return splits


def write_studies(
    root: Path, splits: dict[str, list[Case]], generator: TrainedGenerator, *, synthetic: bool = False
) -> Path:
    """Describe studies as a data set; their files stay where they are.

    Args:
        root: folder for ``dataset.json``.
        splits: studies by split.
        generator: whose classes and intensities they have.
        synthetic: whether they were generated.

    Returns:
        The folder.

    Raises:
        OSError: if it cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    known = all(case.patient_known for cases in splits.values() for case in cases)
    dataset = SegmentationDataset(
        root=root,
        name="synthetic studies" if synthetic else "studies",
        classes=dict(generator.classes),
        parents=dict(generator.parents),
        splits=splits,
        intensity_range=generator.intensity_range,
        spatial_dims=len(generator.image_size),
        split_kind=None if synthetic else BY_PATIENT if known else BY_FILE,
        settings={"synthetic": True} if synthetic else {},
        channels=generator.channels,
    )
    write_dataset(root, dataset)
    return root

"""The edits that are to be made: images, their masks, and what these became."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from monai_segdiff.data import Case, case_name, default_patient
from monai_segdiff.data.layout import list_images
from monai_segdiff.generation.masks import check_split, collect_pairs
from monai_segdiff.transforms import CovariateValue

__all__ = ["Edit", "collect_edits"]


@dataclass(frozen=True)
class Edit:
    """One image, its mask, and the mask that it shall have.

    Args:
        id: name of the edited mask.
        image: file of the image.
        label: file of its label map.
        edited: file of the edited label map.
        patient: whose image it is.
        patient_known: whether something says so.
        covariates: what the images' data set says of it beside that, as :class:`~monai_segdiff.data.Case` has it.
    """

    id: str
    image: Path
    label: Path
    edited: Path
    patient: str
    patient_known: bool = True
    covariates: tuple[tuple[str, CovariateValue], ...] = ()

    @property
    def case(self) -> Case:
        """The image with its label map."""
        return Case(
            self.id,
            self.image,
            self.label,
            self.patient,
            patient_known=self.patient_known,
            covariates=self.covariates,
        )


def collect_edits(
    images: str | os.PathLike[str],
    edited: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None = None,
    split: str | None = None,
) -> list[Edit]:
    """List what is to be edited: one image, or those of a folder for which there is an edited mask.

    Args:
        images: an image file, a folder of images, or a data set's folder.
        edited: the edited label map, or a folder of edited label maps, named like the images; of one image, a folder
            may hold several edits under any names.
        masks: the label map of the image, or a folder of those of the images; by default those of the data set that
            the images belong to.
        split: split of a data set, `test` by default.

    Returns:
        One edit for each edited label map, in a fixed order.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if an edited label map belongs to no image, or an image's own label map is not to be found.
    """
    files = _edited_files(Path(edited))
    image = Path(images)
    if image.is_file():
        check_split(split, image)
        case = collect_pairs(image)[0] if masks is None else _single(image, Path(masks))
        return [_edit(case, name, file) for name, file in files.items()]
    cases = {case.id: case for case in collect_pairs(images, masks, split)}
    if unknown := next((name for name in files if name not in cases), None):
        raise ValueError(
            f"{files[unknown]} belongs to no image with a mask in {images}: "
            "an edited mask has the name of the mask that it was made from"
        )
    return [_edit(cases[name], name, file) for name, file in files.items()]


def _edited_files(edited: Path) -> dict[str, Path]:
    if edited.is_file():
        return {case_name(edited): edited.resolve()}
    files = {name: file.resolve() for name, file in list_images(edited).items()}
    if not files:
        raise FileNotFoundError(f"no edited label map at {edited}")
    return files


def _single(image: Path, mask: Path) -> Case:
    if mask.is_dir():
        by_name = list_images(mask)
        if case_name(image) not in by_name:
            raise ValueError(f"{mask} holds no label map named like the image {image}: give the file")
        mask = by_name[case_name(image)]
    elif not mask.is_file():
        raise FileNotFoundError(f"no label map at {mask}")
    name = case_name(mask)
    return Case(name, image.resolve(), mask.resolve(), default_patient(name), patient_known=False)


def _edit(case: Case, name: str, file: Path) -> Edit:
    assert case.image is not None
    assert case.label is not None
    return Edit(name, case.image, case.label, file, case.patient, case.patient_known, case.covariates)

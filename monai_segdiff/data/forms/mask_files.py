"""Label maps put together from files of one structure each, such as `liver.nii.gz` and `spleen.nii.gz`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from monai.data import MetaTensor

from monai_segdiff.data.case_files import case_name, image_files
from monai_segdiff.data.cases import Case
from monai_segdiff.data.dicom.labels import LabelMapBuilder, vocabulary
from monai_segdiff.data.grid_offset import AFFINE_TOLERANCE, largest_offset, smallest_spacing
from monai_segdiff.data.load import load_label_map
from monai_segdiff.data.nifti import save_nifti

__all__ = ["MaskFiles"]


@dataclass(frozen=True)
class MaskFiles:
    """Makes the label map of a case from the folder of its masks.

    Args:
        classes: class name to label id.
        names: name of a file, without extension, to its class, where that has another name.
        precedence: classes in their order; where masks overlap, the first is kept.
        drop_others: whether files of no class are left out rather than an error.
    """

    classes: Mapping[str, int]
    names: Mapping[str, str] = field(default_factory=dict)
    precedence: Sequence[str] = ()
    drop_others: bool = False

    @contextmanager
    def files_of(self, case: Case) -> Iterator[Case]:
        """The case with its label map as one file, for as long as the block lasts.

        Raises:
            ValueError: if a mask is unsound, of another grid than the others, or overlaps another where the order of
                precedence does not say which is kept; names the file and the remedy.
        """
        if case.label is None or not case.label.is_dir():
            yield case
            return
        with TemporaryDirectory() as folder:
            label, affine = self.merged(case.label)
            file = save_nifti(Path(folder) / f"{case_name(case.label)}.nii.gz", label, affine)
            try:
                yield replace(case, label=file)
            except ValueError as error:  # the user knows the masks, not the file made of them
                raise ValueError(str(error).replace(str(file), str(case.label))) from error

    def merged(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Label map of the masks in a folder, in the axes right, anterior, superior, and its affine.

        Args:
            folder: the folder.
        """
        files = {case_name(file): file for file in image_files(folder)}
        wanted, _ = vocabulary(files, self.classes, self.names, self.drop_others, folder)
        builder: LabelMapBuilder | None = None
        first: MetaTensor | None = None
        for name, of_class in wanted.items():
            mask = load_label_map(files[name])
            if first is None or builder is None:
                first = mask
                builder = LabelMapBuilder(mask.shape[1:], self.classes, self.precedence, folder)
            _check_grid(mask, first)
            builder.add(of_class, _binary(mask, files[name]))
        if builder is None or first is None:
            raise ValueError(f"{folder} holds no mask of a class; add one, or leave the case out")
        return builder.finish(), np.asarray(first.affine, dtype=np.float64)

    def fingerprint(self, cases: Sequence[Case]) -> str:
        """Digest of the files' names, sizes and times, and of the vocabulary.

        Args:
            cases: those that are made.
        """
        digest = hashlib.sha256(repr((dict(self.classes), sorted(self.names.items()), self.precedence)).encode())
        for case in cases:
            digest.update(f"\n{case.id} {case.patient} {case.findings and sorted(case.findings)}".encode())
            masks = image_files(case.label) if case.label is not None and case.label.is_dir() else [case.label]
            for file in (case.image, *case.channel_files, *masks):
                status = file.stat() if file is not None and file.is_file() else None
                digest.update(f"\n{file and file.name} {status and (status.st_size, status.st_mtime_ns)}".encode())
        return digest.hexdigest()


def _check_grid(mask: MetaTensor, first: MetaTensor) -> None:
    file, other = (volume.meta["filename_or_obj"] for volume in (mask, first))
    if mask.shape != first.shape:
        shapes = " and ".join("x".join(map(str, volume.shape[1:])) for volume in (mask, first))
        raise ValueError(f"{file} has another size than {other} ({shapes}): resample it to the image")
    if not largest_offset(mask, first) <= AFFINE_TOLERANCE * smallest_spacing(first):
        raise ValueError(f"{file} has another affine than {other}: resample it to the image")


def _binary(mask: MetaTensor, file: Path) -> np.ndarray:
    """Where a mask is; it holds one id beside 0."""
    values = np.asarray(mask)[0]
    inside = values != 0
    if inside.any() and (low := values[inside].min()) != (high := values[inside].max()):
        raise ValueError(
            f"{file} holds the ids {low} and {high}, and a mask of one structure is expected in each file: give each "
            "structure a file of its own, or name this file as the label map (--label-name)"
        )
    return inside

"""What a data set is made of: cases, each an image with what is known of it, sorted into splits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from monai_segdiff.transforms.covariates import CovariateValue
from monai_segdiff.transforms.intensities import IntensityRange

__all__ = ["Case", "CaseFiles", "SegmentationDataset"]


@dataclass(frozen=True)
class Case:
    """One image and its label map.

    Args:
        id: name, unique in its split.
        image: absolute path of the image, or None where there are label maps only.
        label: absolute path of the label map, or None (a test case without annotation).
        patient: whose image it is; splits never cut through a patient.
        findings: names of what is found in the image; empty where nothing is found, None where that is unknown.
        region: absolute path of a label map of where the findings are, with 1 + k for the k-th name of the data set's
            findings, or None.
        patient_known: whether something says whose image it is; False where `patient` is nothing but the file's name.
        channel_files: absolute paths of the channels, in the order of the data set's `channels`, where each is a file
            of its own; `image` is then the first of them. Empty where one file holds the whole image.
        covariates: what is known of the patient or image beside that, such as (("age", 60.0), ("sex", "F")), in the
            order of the data set's `covariates`.
    """

    id: str
    image: Path | None
    label: Path | None
    patient: str
    findings: tuple[str, ...] | None = None
    region: Path | None = None
    patient_known: bool = field(default=True, compare=False)
    channel_files: tuple[Path, ...] = ()
    covariates: tuple[tuple[str, CovariateValue], ...] = ()


class CaseFiles(Protocol):
    """What makes the files of cases whose image or label map is no single file as it lies there."""

    def files_of(self, case: Case) -> AbstractContextManager[Case]:
        """The case with files that are there for as long as the block lasts."""

    def fingerprint(self, cases: Sequence[Case]) -> str:
        """Digest of what they are made from, which tells a changed source from the same one."""


@dataclass
class SegmentationDataset:
    """A data set: where it is, what its labels mean, and its cases by split.

    Args:
        root: folder.
        name: title.
        classes: class name to label id or ids, background (0) left out; empty if the folder does not say.
        splits: split name ("training", "validation", "test") to cases.
        intensity_range: lowest and highest intensity that matters (e.g. HU), or those of each channel; or None.
        spatial_dims: 2 or 3, or None if unknown.
        split_kind: "by patient", "by file" (whose each is, is unknown), "within one patient", "by image", or None if
            unknown.
        modality: e.g. "CT".
        licence: terms of use.
        attribution: whom to credit.
        settings: what the data set was made with.
        parents: class name to the name of the class that encloses it; classes lie in the background otherwise.
        findings: the vocabulary of findings, whose order gives the ids of region maps; empty where there are none.
        channels: names of the image's channels, e.g. ("T1", "FLAIR") or ("red", "green", "blue"); empty where images
            have one channel without a name.
        form: how it lies on the disk, in words, such as "nnU-Net v2 raw folder"; empty where it was not read from one.
        maker: makes the files of a case, see `opened`; None where they lie there as they are.
        remarks: what is left out, and what was decided on reading, in words.
        covariates: name to what it is, see :class:`~monai_segdiff.transforms.EncodeCovariates`; their order is that of
            the network's channels.
    """

    root: Path
    name: str
    classes: dict[str, int | list[int]]
    splits: dict[str, list[Case]]
    intensity_range: IntensityRange | None = None
    spatial_dims: int | None = None
    split_kind: str | None = None
    modality: str = ""
    licence: str = ""
    attribution: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    form: str = field(default="", compare=False)
    maker: CaseFiles | None = field(default=None, compare=False, repr=False)
    remarks: tuple[str, ...] = field(default=(), compare=False)
    covariates: dict[str, dict[str, Any]] = field(default_factory=dict)

    def opened(self, case: Case) -> AbstractContextManager[Case]:
        """One of the cases with files that can be read, for as long as the block lasts.

        Args:
            case: the case.
        """
        return nullcontext(case) if self.maker is None else self.maker.files_of(case)

    def items(self, split: str, *, findings: bool = False, covariates: bool = False) -> list[dict[str, Any]]:
        """Dictionaries for MONAI data sets.

        Args:
            split: name of the split.
            findings: whether to tell findings and regions, too. As not every case has them, and lists differ in
                length, they have to be encoded or dropped before items are put into a batch.
            covariates: whether to tell covariates, too, where the data set has any; they have to be encoded likewise.

        Returns:
            One dictionary a case: `image` and `label` (paths, where the case has them; a list of paths where channels
            are files of their own), `case`, `index`; and if asked for, `findings` (list of names, where they are known)
            and `region` (path, where there is one), and `covariates` (name to value).

        Raises:
            ValueError: if the split is missing or empty.
        """
        cases = self.splits.get(split, [])
        if not cases:
            held = ", ".join(f"{name} ({len(cases)})" for name, cases in self.splits.items() if cases)
            raise ValueError(f"{self.root} has no cases in split {split!r}; it holds {held or 'nothing'}")
        items = []
        for index, case in enumerate(cases):
            paths = {"image": case.image, "label": case.label, "region": case.region if findings else None}
            present: dict[str, Any] = {key: str(path) for key, path in paths.items() if path is not None}
            if case.channel_files:
                present["image"] = [str(path) for path in case.channel_files]
            if findings and case.findings is not None:
                present["findings"] = list(case.findings)
            if covariates and self.covariates:
                present["covariates"] = dict(case.covariates)
            items.append({**present, "case": case.id, "index": index})
        return items

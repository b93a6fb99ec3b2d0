"""What an evaluation compares: both data sets, checked against each other before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_segdiff.data import Case, SegmentationDataset, read_dataset
from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.description.classes import OUTSIDE_VIEW
from monai_segdiff.data.description.records import read_manifest
from monai_segdiff.evaluation.pairs import Ablation, PairReader
from monai_segdiff.evenly import evenly
from monai_segdiff.transforms import IntensityRange, channel_ranges

__all__ = ["Inputs", "read_inputs"]

_RANGE_IMAGES = 64  # real images that an unknown intensity range is measured on


@dataclass(frozen=True)
class Inputs:
    """Cases to compare and how to read them.

    Args:
        real: the real data set.
        synthetic: the synthetic data set.
        training: real training cases, for the segmenter.
        held_out: real cases of the splits that synthetic ones are compared with.
        generated: synthetic cases.
        real_reader: reads the real cases.
        synthetic_reader: reads the synthetic ones.
    """

    real: SegmentationDataset
    synthetic: SegmentationDataset
    training: list[Case]
    held_out: list[Case]
    generated: list[Case]
    real_reader: PairReader
    synthetic_reader: PairReader

    @property
    def classes(self) -> list[str]:
        """Class names in index order."""
        return list(self.real.classes)

    def of_channels(self, note: str) -> list[str]:
        """A note for images of several channels; none where they have one.

        Args:
            note: how a figure counts them.
        """
        return [note] if len(self.real.channels) > 1 else []

    @property
    def within_one_patient(self) -> bool:
        """Whether all real images come from one patient."""
        patients = {case.patient for case in self.training}
        same = len(patients) == 1 and patients == {case.patient for case in self.held_out}
        return self.real.split_kind == "within one patient" or same

    def split(self) -> tuple[str, bool]:
        """How training and held-out cases are separated, and whether that limits what figures say."""
        patients, held_out = {case.patient for case in self.training}, {case.patient for case in self.held_out}
        if self.within_one_patient:
            return (
                "Split within one patient: held-out images come from the patient that generator and segmenter were "
                "trained on. The figures say nothing about other patients.",
                True,
            )
        shared = sorted(patients & held_out)
        if shared:
            return (
                f"Split through patients: {len(shared)} of them, such as {shared[0]!r}, are both in training and held "
                "out. Figures are better than they would be on new patients.",
                True,
            )
        if not self.training:
            return f"No training cases: all {len(held_out)} patients count as held out.", False
        if not all(case.patient_known for case in [*self.training, *self.held_out]):
            return (
                f"Split by file: {len(patients)} for training, {len(held_out)} held out. Nothing says whose each is: "
                "where one patient's are on both sides, figures are better than they would be on new patients.",
                True,
            )
        return f"Split by patient: {len(patients)} for training, {len(held_out)} held out.", False

    def describe(self) -> dict[str, str]:
        """What is compared, by name."""
        size = "×".join(map(str, self.real_reader(self.held_out[0]).image.shape[1:]))
        total = sum(map(len, self.synthetic.splits.values()))
        used = f"{len(self.generated)} " if len(self.generated) == total else f"{len(self.generated)} of {total} "
        beyond = self.real_reader.outside or self.synthetic_reader.outside
        told = "no anatomy: in no Dice, and of the lowest intensity in all images, whatever is drawn there"
        source = {"Source of the real images": self.real.attribution} if self.real.attribution else {}
        if self.real_reader.ablation is not None:
            gone = [name for name in self.real_reader.ablation.classes if name not in self.classes]
            source["Classes left out"] = f"{', '.join(gone)}, as when the images were generated"
        if accepted := read_manifest(self.synthetic.root).get("accept"):
            source["Selection"] = (
                f"a segmenter accepted these images at a Dice of {accepted['threshold']:g} or more; their Dice is high "
                "by selection"
            )
        return {
            "Synthetic": f"{self.synthetic.name} ({used}images)",
            "Real": f"{self.real.name} ({len(self.training)} training images, {len(self.held_out)} held out)",
            "Classes": ", ".join(self.classes),
            "Images": f"{size}, {_intensities(self.real_reader)} mapped to −1 to 1",
            **({"Outside the field of view": told} if beyond else {}),
            **source,
        }


def read_inputs(
    real: str | Path,
    synthetic: str | Path,
    max_images: int | None = None,
    held_out: Sequence[str] = ("validation", "test"),
) -> Inputs:
    """Read both data sets and check that they can be compared.

    Args:
        real: folder of the real data set.
        synthetic: folder of the synthetic one.
        max_images: use at most so many synthetic images, evenly spaced.
        held_out: splits of the real data set that synthetic images are compared with.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if there is nothing held out, or classes or image sizes differ.
    """
    real_set, synthetic_set, ablation = _read_sets(Path(real), Path(synthetic))
    training = real_set.splits.get("training", [])
    # A test case may come without annotation; it can be neither read nor compared.
    compared = [c for split in held_out for c in real_set.splits.get(split, []) if c.label is not None]
    if not compared:
        raise ValueError(
            f"real data set {real_set.root} has no held-out cases with label maps ({', '.join(held_out)}): split it "
            "with the prepare command, or put held-out patients into imagesVal/labelsVal or imagesTs/labelsTs"
        )
    generated = evenly([case for cases in synthetic_set.splits.values() for case in cases], max_images)
    if real_set.intensity_range is None:
        real_set.intensity_range = _measured_range(training or compared, real_set.channels)
    outside, synthetic_outside = _take_outside(real_set), _take_outside(synthetic_set)
    limits, dims = real_set.intensity_range, real_set.spatial_dims
    inputs = Inputs(
        real_set,
        synthetic_set,
        training,
        compared,
        generated,
        PairReader(real_set.classes, limits, dims, ablation, outside=outside, channels=real_set.channels),
        PairReader(
            synthetic_set.classes,
            synthetic_set.intensity_range or limits,
            synthetic_set.spatial_dims or dims,
            outside=synthetic_outside,
            channels=synthetic_set.channels,
        ),
    )
    _check_size(inputs)
    return inputs


def _take_outside(dataset: SegmentationDataset) -> tuple[int, ...]:
    """Take what lies outside the field of view from the classes, as it is no anatomy; its ids."""
    ids = dataset.classes.get(OUTSIDE_VIEW, [])
    anatomy = {name: own for name, own in dataset.classes.items() if name != OUTSIDE_VIEW}
    if not anatomy:
        return ()
    dataset.classes = anatomy
    return (ids,) if isinstance(ids, int) else tuple(ids)


def _read_sets(real: Path, synthetic: Path) -> tuple[SegmentationDataset, SegmentationDataset, Ablation | None]:
    """Both data sets, and the classes that generation dropped from the real label maps."""
    real_set, synthetic_set = read_dataset(real), read_dataset(synthetic)
    real_set.classes = real_set.classes or synthetic_set.classes
    if not real_set.classes:
        raise ValueError(
            f"neither {real} nor {synthetic} says what its labels mean: "
            'add dataset.json with "labels": {"1": "liver", ...}'
        )
    synthetic_set.classes = synthetic_set.classes or real_set.classes
    ablation = _ablation(real_set, synthetic_set)
    if ablation is not None:
        real_set.classes = {name: ids for name, ids in real_set.classes.items() if name in synthetic_set.classes}
    if synthetic_set.classes != real_set.classes:
        raise ValueError(
            f"{synthetic} has classes {synthetic_set.classes}, {real} has {real_set.classes}: evaluate against the "
            "data set that the generator was trained on, or give both the same labels in dataset.json"
        )
    _check_channels(real_set, synthetic_set)
    return real_set, synthetic_set, ablation


def _check_channels(real: SegmentationDataset, synthetic: SegmentationDataset) -> None:
    """Refuse data sets of different channels, or of the same in another order."""
    if len(real.channels) <= 1 and len(synthetic.channels) <= 1:
        return
    if real.channels != synthetic.channels:
        own = [", ".join(one.channels) or "one without a name" for one in (synthetic, real)]
        raise ValueError(
            f"{synthetic.root} has the channels {own[0]}, {real.root} has {own[1]}: evaluate against the data set that "
            "the generator was trained on, or name the same channels in the same order in dataset.json"
        )


def _intensities(reader: PairReader) -> str:
    pairs = channel_ranges(reader.intensity_range, len(reader.channels) or 1)
    if len(pairs) == 1:
        return f"intensities {pairs[0][0]:g} to {pairs[0][1]:g}"
    each = ", ".join(f"{n} {low:g} to {high:g}" for n, (low, high) in zip(reader.channels, pairs, strict=True))
    return f"{len(pairs)} channels, intensities of {each}"


def _ablation(real: SegmentationDataset, synthetic: SegmentationDataset) -> Ablation | None:
    """The dropped classes of the manifest, if without them the real data set has the classes of the synthetic one."""
    dropped = read_manifest(synthetic.root).get("dropped_classes")
    if not dropped or {*synthetic.classes, *dropped["names"]} != set(real.classes):
        return None
    return Ablation(dict(real.classes), dict(real.parents), str(dropped["fill"]))


def _measured_range(cases: Sequence[Case], channels: Sequence[str]) -> IntensityRange:
    """Median over some images of their 0.5th and 99.5th percentiles, of each channel."""
    limits = [
        [np.nanpercentile(layer, (0.5, 99.5)) for layer in load_case_image(case, channels).numpy()]
        for case in evenly(cases, _RANGE_IMAGES)
        if case.image is not None
    ]
    pairs = [tuple(pair) for pair in np.median(limits, axis=0).tolist()] if limits else [(0.0, 0.0)]
    if not all(low < high for low, high in pairs):
        raise ValueError(
            f"the real images, such as {cases[0].image}, are constant: check the files, "
            'or add "intensity_range" to dataset.json'
        )
    return pairs[0] if len(pairs) == 1 else tuple(pairs)


def _check_size(inputs: Inputs) -> None:
    real, synthetic = inputs.held_out[0], inputs.generated[0]
    shapes = (inputs.real_reader(real).image.shape[1:], inputs.synthetic_reader(synthetic).image.shape[1:])
    if shapes[0] != shapes[1]:
        sizes = ["x".join(map(str, shape)) for shape in shapes]
        raise ValueError(
            f"real image {real.image} has size {sizes[0]}, synthetic image {synthetic.image} {sizes[1]}: evaluate "
            "against the data set that the generator was trained on, or bring both to one size with the prepare command"
        )

"""What was found in a data set's folder, in one line."""

from __future__ import annotations

from monai_segdiff.data.cases import SegmentationDataset

__all__ = ["in_words"]

_SHOWN = 8


def in_words(dataset: SegmentationDataset) -> str:
    """Say what a data set is: its form, channels, cases by split, classes and patients.

    Args:
        dataset: the data set.
    """
    parts = [dataset.form or "data set"]
    if dataset.channels:
        parts.append(f"{len(dataset.channels)} channels: {', '.join(dataset.channels)}")
    parts += [_count(split, dataset) for split, cases in dataset.splits.items() if cases]
    if dataset.classes:
        names = list(dataset.classes)
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        parts.append(f"{_of(len(names), 'class', 'classes')}: {shown}")
    else:
        parts.append("classes not named")
    cases = [case for members in dataset.splits.values() for case in members]
    known = {case.patient for case in cases if case.patient_known}
    unknown = sum(not case.patient_known for case in cases)
    if known:
        parts.append(_of(len(known), "patient", "patients"))
    if unknown:
        parts.append("patients not named" if not known else f"patients of {_of(unknown, 'case', 'cases')} not named")
    return ", ".join(parts)


def _count(split: str, dataset: SegmentationDataset) -> str:
    cases = dataset.splits[split]
    text = _of(len(cases), f"{split} case", f"{split} cases")
    lacking = [
        f"{number} without {what}"
        for what, number in (
            ("image", sum(case.image is None for case in cases)),
            ("label map", sum(case.label is None for case in cases)),
        )
        if number
    ]
    return f"{text} ({', '.join(lacking)})" if lacking else text


def _of(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"

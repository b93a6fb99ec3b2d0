"""The origin of each generated image's mask: the training cases or the held-out cases of the real data set."""

from __future__ import annotations

from collections.abc import Sequence

from monai_segdiff.data import Case
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.matching import manifest_records

__all__ = ["HELD_OUT", "ORIGINS", "TRAINING", "UNKNOWN", "diversity_groups", "mask_origins"]

HELD_OUT, TRAINING, UNKNOWN = "held_out", "training", "unknown"
ORIGINS = {
    HELD_OUT: "from held-out masks",
    TRAINING: "from training masks",
    UNKNOWN: "from masks that are neither",
}


def mask_origins(
    inputs: Inputs, mask_ids: Sequence[str], held_out: Sequence[str], training: Sequence[str]
) -> list[str]:
    """The origin of every generated image's mask.

    Equal label maps decide first. If a label map is in both groups or in none, for example after an edit, the mask and
    the patient in the manifest decide. File names alone do not count, as other patients may have the same.

    Args:
        inputs: both data sets.
        mask_ids: of the generated cases' label maps, in order.
        held_out: of the held-out real cases.
        training: of the real training cases.

    Returns:
        A key of `ORIGINS` for each generated case.
    """
    records = manifest_records(inputs.synthetic)[0]
    by_label = set(held_out), set(training)
    by_name = {_named(case) for case in inputs.held_out}, {_named(case) for case in inputs.training}

    def of(case: Case, mask_id: str) -> str:
        record = records.get(case.id, {})
        name = (str(record.get("mask")), str(record.get("patient")))
        for item, (held_out_items, training_items) in ((mask_id, by_label), (name, by_name)):
            if (item in held_out_items) != (item in training_items):
                return HELD_OUT if item in held_out_items else TRAINING
        return UNKNOWN

    return [of(case, mask_id) for case, mask_id in zip(inputs.generated, mask_ids, strict=True)]


def _named(case: Case) -> tuple[str, str]:
    return case.id, case.patient


def diversity_groups(inputs: Inputs, mask_ids: Sequence[str]) -> list[tuple[str, str]]:
    """The mask of each generated image, to group by: its name in the manifest, if any, and its label map."""
    records = manifest_records(inputs.synthetic)[0]
    names = [str(records.get(case.id, {}).get("mask", "")) for case in inputs.generated]
    return list(zip(names, mask_ids, strict=True))

"""The stages that train: the network, its guidance, and the tuning for few evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_segdiff.bundle import copy_bundle
from monai_segdiff.data import read_dataset
from monai_segdiff.digests import digest_of
from monai_segdiff.networks import read_card
from monai_segdiff.networks.cards import change_card
from monai_segdiff.workflows.choose_guidance import choose_guidance
from monai_segdiff.workflows.plan.document import overlay_of, read_plan, training_values
from monai_segdiff.workflows.plan.estimate import FEWEST_MASKS
from monai_segdiff.workflows.study_folder import Study
from monai_segdiff.workflows.study_stage import Stage, guidance_of, prepared_digest, section_of
from monai_segdiff.workflows.train import train_bundle, tune_bundle

__all__ = ["Guide", "Train", "Tune"]

_TUNING = "tuning_images"


class Train(Stage):
    doing = "training; a checkpoint is kept after each epoch"

    def inputs(self, study: Study) -> dict[str, Any]:
        values = read_plan(study.plan)
        own = {key: value for key, value in training_values(values).items() if key != _TUNING}
        return {"prepared data": prepared_digest(study), "bundle": values["bundle"], **own}

    def result(self, study: Study) -> Path:
        return study.bundle

    def is_there(self, study: Study) -> bool:
        return study.weights.is_file()

    def run(self, study: Study, result: dict[str, Any]) -> None:
        copy_bundle(read_plan(study.plan)["bundle"], study.bundle)
        train_bundle(study.bundle, dataset=study.prepared, plan=overlay_of(study.plan, study.bundle), quiet=True)

    def said(self, study: Study) -> str:
        return f"weights {study.weights}"


class Guide(Stage):
    doing = "choosing the weight of guidance on validation masks"

    def inputs(self, study: Study) -> dict[str, Any]:
        segmenter = section_of(study, "evaluate")["segmenter_images"]
        return {
            "trained weights": digest_of(study.weights),
            "prepared data": prepared_digest(study),
            "segmenter_images": segmenter,
            **section_of(study, "guide"),
        }

    def result(self, study: Study) -> Path:
        return study.guidance

    def run(self, study: Study, result: dict[str, Any]) -> None:
        wanted = section_of(study, "guide")
        study.guidance.mkdir(exist_ok=True)
        if len(set(wanted["weights"])) == 1:
            change_card(study.weights, guidance_weight=float(wanted["weights"][0]))
            result["said"] = f"{wanted['weights'][0]:g}, the one that is given"
            return
        if why := _no_choice(study):
            result["said"] = f"left as it is, as {why}"
            return
        found = choose_guidance(
            study.bundle,
            study.prepared,
            study.guidance,
            weights=wanted["weights"],
            most_masks=wanted["most_masks"],
            segmenter_images=section_of(study, "evaluate")["segmenter_images"],
            cache_dir=study.segmenter,
            progress=study.progress,
        )
        figures = (f"{one.weight:g}: Dice {one.dice:.3f}, failed {one.failed:.1%}, KID {one.kid:.4f}" for one in found)
        result["said"] = f"{found[0].weight:g}, of " + "; ".join(figures)

    def said(self, study: Study) -> str:
        return f"guidance {study.state.stages['guide'].result['said']}"


class Tune(Stage):
    doing = "tuning the network, so that an image takes three evaluations"

    def inputs(self, study: Study) -> dict[str, Any]:
        return {
            "weights": digest_of(study.weights),
            "guidance": guidance_of(study),
            _TUNING: read_plan(study.plan).get(_TUNING, 0),
        }

    def result(self, study: Study) -> Path:
        return study.tuned.parent

    def is_there(self, study: Study) -> bool:
        return study.tuned.is_file() or not read_plan(study.plan).get(_TUNING, 0)

    def run(self, study: Study, result: dict[str, Any]) -> None:
        images = read_plan(study.plan).get(_TUNING, 0)
        result["said"] = f"weights {study.tuned}" if images else f"left out ({_TUNING} in {study.plan.name})"
        if images:
            plan = overlay_of(study.plan, study.bundle)
            tune_bundle(study.bundle, dataset=study.prepared, plan=plan, images=images, quiet=True)

    def said(self, study: Study) -> str:
        return str(study.state.stages["tune"].result["said"])


def _no_choice(study: Study) -> str:
    """Why no guidance can be chosen; empty where it can be."""
    masks = len(read_dataset(study.prepared).splits.get("validation", []))
    if masks < FEWEST_MASKS:
        return f"there are {masks} validation masks"
    if read_card(study.weights).get("null_prob") == 0:
        return "the network was never trained without a mask (null_prob)"
    return ""

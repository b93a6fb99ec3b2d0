"""Failed samples: noise, blurred, not finite, or off their mask, by limits that real images set."""

from __future__ import annotations

import torch

from monai_segdiff.evaluation.evidence import Evidence, ReportSection
from monai_segdiff.evaluation.measure.few_images import FEW_IMAGES
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.evaluation.report.limits import limits_text
from monai_segdiff.evaluation.report.pictures import failed_picture
from monai_segdiff.evaluation.report.report import Cell, Column, Headline, Row, Section
from monai_segdiff.metrics import FEWEST_OTHERS, MOST_OTHERS, REASONS, FailedSampleDetector, exact_rate

__all__ = ["FailedSamples"]

_EXPLAINED = {
    "not finite": "not finite (NaN or infinite pixels)",
    "noise": "noise (above 1.5 × the real images' 99th percentile)",
    "blurred": "blurred (fine detail below a third of the real images' 1st percentile)",
    "off mask": "off mask (Dice below half the ceiling, or another patient's mask fits better)",
}


class FailedSamples(ReportSection):
    """Share of failed samples by reason, and a picture of some."""

    headline = Headline(
        "Failed samples", ("failed", "any", "rate"), "percent", ("failed", "any", "real"), "real images"
    )

    def __call__(self, evidence: Evidence) -> Section:
        """The section."""
        real, synthetic, detector, found = evidence.held_out, evidence.synthetic, evidence.detector, evidence.failures
        found_real = real.failures(detector)
        picture = failed_picture(evidence.inputs.synthetic_reader, synthetic, found)
        rows = []
        for reason in REASONS:
            rows.append(_failed_row(reason.replace(" ", "_"), _EXPLAINED[reason], found[reason], found_real[reason]))
        either, either_real = (torch.stack([flags[r] for r in REASONS]).any(0) for flags in (found, found_real))
        rows.append(_failed_row("any", "any of these", either, either_real))
        return Section(
            key="failed",
            title="Failed samples",
            text="A sample failed if it is noise, blurred, not finite, or does not show what its mask asks for. The "
            "limits "
            "come from the held-out real images, whose own rate stands beside.",
            columns={
                "rate": Column("synthetic [95% interval]", "percent"),
                "count": Column("images", "count"),
                "real": Column("held-out real", "percent"),
            },
            rows=rows,
            notes=[
                f"Limits: {limits_text(detector, evidence.inputs.real.channels)} of the spectral power"
                + (f", Dice {detector.dice_limit:.3f}." if detector.dice_limit is not None else "."),
                *evidence.inputs.of_channels(
                    "Noise and fine detail are measured in each channel and held to its own limits: a sample failed if "
                    "its worst channel did."
                ),
                *_others_notes(detector, real, synthetic),
                "Intervals are exact binomial ones.",
            ],
            warnings=_limit_warnings(real),
            pictures=[] if picture is None else [picture],
        )


def _limit_warnings(real: Measurements) -> list[str]:
    found = [] if len(real) >= FEW_IMAGES else [f"The limits rest on only {len(real)} real images."]
    still = real.detail == 0
    constant = int((still.any(1) if still.ndim == 2 else still).sum())
    if constant:
        found.append(f"Held-out real images left out of the limits because they are constant: {constant}.")
    return found


def _failed_row(key: str, label: str, flags: torch.Tensor, real_flags: torch.Tensor) -> Row:
    cells: dict[str, Cell] = {
        "rate": exact_rate(flags),
        "count": int(flags.sum()),
        "real": float(real_flags.float().mean()),
    }
    return Row(key, label, cells)


def _others_notes(detector: FailedSampleDetector, real: Measurements, synthetic: Measurements) -> list[str]:
    """What the comparison with masks of other patients rests on, or why there is none."""
    if detector.advantage_limit is None:
        return ["Masks of other patients were not compared: all images come from one patient."]
    notes = [
        f"Each image was held to up to {MOST_OTHERS} masks of other patients of its own data set; one of them fits "
        f"better if its Dice to the segmenter's reading is higher by more than {detector.advantage_limit:.3f}."
    ]
    for name, measured in (("held-out real", real), ("synthetic", synthetic)):
        if measured.advantage is None:
            continue
        left_out = int(torch.isnan(measured.advantage).sum())
        if left_out:
            notes.append(
                f"Not so {left_out} of {len(measured)} {name} images: their mask is empty, or there are fewer than "
                f"{FEWEST_OTHERS} masks of other patients."
            )
    return notes

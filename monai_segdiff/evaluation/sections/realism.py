"""Realism: distances between generated and real images as populations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from monai_segdiff.evaluation.evidence import Evidence, ReportSection, Side
from monai_segdiff.evaluation.measure.extras import radiomic_measure
from monai_segdiff.evaluation.measure.few_images import few_image_warnings
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Embedded, PerImageMeasure
from monai_segdiff.evaluation.report.report import Cell, Column, Headline, Row, Section
from monai_segdiff.evenly import evenly
from monai_segdiff.metrics import RADIOMIC_FEATURES, Estimate, frechet_distance, kid

__all__ = ["Realism"]

_FEWEST_TRAINING = 100  # real training images whose distance stands beside the synthetic images', at least


class Realism(ReportSection):
    """FID and KID between synthetic and held-out real images, beside that between training and held-out real ones.

    Args:
        radiomics: whether to add the Fréchet distance of radiomic features.
    """

    headline = Headline(
        "KID", ("realism", "kid", "synthetic"), "distance", ("realism", "kid", "training"), "real training images"
    )

    def __init__(self, radiomics: bool = False) -> None:
        self._radiomics = radiomics

    def measures(self, side: Side, inputs: Inputs) -> Mapping[str, PerImageMeasure]:
        """Radiomic features, where they are wanted."""
        return {"radiomics": radiomic_measure} if self._radiomics else {}

    def __call__(self, evidence: Evidence) -> Section:
        """The section."""
        real, synthetic, training = evidence.held_out, evidence.synthetic, evidence.training
        if training is not None:  # as many as are held out, as FID grows where images are few
            training = training.take(evenly(range(len(training)), max(len(real), _FEWEST_TRAINING)))
        spaces = {"fid": ("FID", frechet_distance), "kid": ("KID", kid)}
        if "radiomics" in real.extras:
            spaces["frd"] = ("FRD", frechet_distance)
        rows = []
        for key, (label, distance) in spaces.items():
            cells: dict[str, Cell] = {}
            for column, other in (("synthetic", synthetic), ("training", training)):
                if key == "frd":
                    cells[column] = _radiomic_distance(real, other, evidence.seed)
                else:
                    cells[column] = _distance(distance, real, other, evidence.features, evidence.seed)
            rows.append(Row(key, label, cells))
        warnings = few_image_warnings(real, synthetic, "Realism")
        dims = {"fid": None if synthetic.features is None else synthetic.features.shape[1]}
        dims["frd"] = len(RADIOMIC_FEATURES)
        smaller = min(len(real), len(synthetic))
        for row in rows:
            value, dim = row.cells["synthetic"], dims.get(row.key)
            if dim is not None and smaller <= 2 * dim and isinstance(value, Estimate) and value.value is not None:
                warnings.append(
                    f"{row.label} is biased upwards where images are few: {smaller} images for {dim} features. Compare "
                    "it "
                    f"only with {row.label}s of the same N; KID has no such bias."
                )
        left_out = int((~synthetic.finite).sum())
        if left_out:
            warnings.append(
                f"Synthetic images left out of {' and '.join(row.label for row in rows)} because they are not finite: "
                f"{left_out}."
            )
        reasons = {c.reason for row in rows for c in row.cells.values() if isinstance(c, Estimate) and c.reason}
        against = f"{len(synthetic)} synthetic against {len(real)} held-out real images"
        if training is not None:
            against += f"; {len(training)} real training images against the same"
        named = "" if dims["fid"] is None else f" ({dims['fid']} features)"
        notes = [
            f"Features: {evidence.features}{named}.",
            *evidence.inputs.of_channels("Features are those of all channels at once."),
            f"N: {against}.",
        ]
        if "frd" in spaces:
            notes.append(
                f"FRD: Fréchet distance of {len(RADIOMIC_FEATURES)} radiomic features (first order, and gray-level "
                "co-occurrence by scikit-image), each in standard deviations of the held-out real images. It follows "
                "the "
                "idea of arXiv 2412.01496, which uses PyRadiomics; figures cannot be compared with published ones."
            )
            notes += evidence.inputs.of_channels("FRD: features are means over channels.")
        return Section(
            key="realism",
            title="Realism",
            text="Distances between the synthetic and the real held-out images in a feature space; smaller is better. "
            "The "
            "right column shows the same distance for the real training images: what no generator needs to beat.",
            columns={
                "synthetic": Column("synthetic [95% interval]", "distance"),
                "training": Column("real training images", "distance"),
            },
            rows=rows,
            notes=notes,
            warnings=warnings + [f"Not computable: {reason}." for reason in sorted(reasons)],
        )


def _distance(distance, real: Embedded, other: Embedded | None, features: str, seed: int) -> Estimate:  # type: ignore[no-untyped-def]
    if other is None:
        return Estimate.missing("there are no real training images to compare with")
    if real.features is None or other.features is None:
        return Estimate.missing(f"no feature space ({features})")
    if bool((real.features == real.features[0]).all()):
        return Estimate.missing(
            "all held-out real images have the same features: check that they are no constant images"
        )
    kept = other.finite
    units = [unit for unit, keep in zip(other.patients, kept.tolist(), strict=True) if keep]
    estimate: Estimate = distance(real.features, other.features[kept], real.patients, units, seed=seed)
    return estimate


def _radiomic_distance(real: Embedded, other: Embedded | None, seed: int) -> Estimate:
    """FRD: `_distance` in the space of radiomic features that vary among real images, in their standard deviations."""
    if other is None:
        return _distance(frechet_distance, real, None, "", seed)
    found = real.extras["radiomics"]
    mean, deviation = found.mean(0), found.std(0)
    varied = deviation > 1e-9
    if not varied.any():
        return Estimate.missing("radiomic features do not vary among the held-out real images")
    scaled, other_scaled = (
        replace(e, features=(e.extras["radiomics"][:, varied] - mean[varied]) / deviation[varied])
        for e in (real, other)
    )
    return _distance(frechet_distance, scaled, other_scaled, "radiomics", seed)

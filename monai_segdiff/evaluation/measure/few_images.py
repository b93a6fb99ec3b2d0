"""Warnings of too few images or patients to tell small differences."""

from __future__ import annotations

from monai_segdiff.evaluation.measure.measure import Embedded

__all__ = ["FEW_IMAGES", "few_image_warnings", "patients_text"]

FEW_IMAGES = 50
_FEW_UNITS = 10


def few_image_warnings(real: Embedded, synthetic: Embedded, what: str) -> list[str]:
    """Warn of too few images, or images of too few patients.

    Args:
        real: held-out real images.
        synthetic: generated images.
        what: name of the figures.
    """
    warnings = []
    for name, measured in (("held-out real", real), ("synthetic", synthetic)):
        units = len(set(measured.patients))
        if len(measured) < FEW_IMAGES or units < _FEW_UNITS:
            warnings.append(
                f"{what} rests on {len(measured)} {name} images of {patients_text(units)}: too few to tell small "
                "differences."
            )
    return warnings


def patients_text(patients: int) -> str:
    """A number of patients in words."""
    return f"{patients} patient{'s' if patients != 1 else ''}"

"""Codes (PS3.16, SNOMED CT) for the anatomy that classes are commonly named after."""

from __future__ import annotations

import hashlib
from typing import Any

from monai_segdiff.data.dicom_files import import_highdicom

__all__ = ["property_codes"]

_ANATOMY = {
    "aorta": ("15825003", "Aorta"),
    "bladder": ("89837001", "Urinary bladder"),
    "bone": ("272673000", "Bone"),
    "brain": ("12738006", "Brain"),
    "breast": ("76752008", "Breast"),
    "esophagus": ("32849002", "Esophagus"),
    "femur": ("71341001", "Femur"),
    "fibula": ("87342007", "Fibula"),
    "gallbladder": ("28231008", "Gallbladder"),
    "heart": ("80891009", "Heart"),
    "kidney": ("64033007", "Kidney"),
    "kidneys": ("64033007", "Kidney"),
    "liver": ("10200004", "Liver"),
    "lung": ("39607008", "Lung"),
    "lungs": ("39607008", "Lung"),
    "pancreas": ("15776009", "Pancreas"),
    "patella": ("64234005", "Patella"),
    "spine": ("421060004", "Vertebral column"),
    "spleen": ("78961009", "Spleen"),
    "stomach": ("69695003", "Stomach"),
    "tibia": ("12611008", "Tibia"),
    "vessel": ("59820001", "Blood vessel"),
}


def property_codes(name: str) -> tuple[Any, Any]:
    """Category and type of what a class shows; a type of our own scheme where the name is not known.

    Args:
        name: of the class.
    """
    highdicom = import_highdicom()
    category = highdicom.sr.CodedConcept("123037004", "SCT", "Anatomical Structure")
    found = _ANATOMY.get(name.casefold())
    if found is not None:
        return category, highdicom.sr.CodedConcept(found[0], "SCT", found[1])
    value = hashlib.sha256(name.encode()).hexdigest()[:8].upper()
    return category, highdicom.sr.CodedConcept(value, "99SEGDIFF", name[:64])

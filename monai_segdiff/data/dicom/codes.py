"""Codes (PS3.16, SNOMED CT) for what classes are commonly named after."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from monai_segdiff.data.dicom.files import import_highdicom

__all__ = ["property_codes"]

# Categories of CID 7150.
_STRUCTURE = ("91723000", "Anatomical Structure")
_ALTERED = ("49755003", "Morphologically Abnormal Structure")
_REGION = ("309825002", "Spatial and Relational Concept")

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
# Words that make a class something abnormal, whatever else its name holds.
_ABNORMAL = {
    "abscess": ("44132006", "Abscess"),
    "cyst": ("367643001", "Cyst"),
    "edema": ("79654002", "Edema"),
    "hematoma": ("35566002", "Hematoma"),
    "hemorrhage": ("50960005", "Hemorrhage"),
    "lesion": ("52988006", "Lesion"),
    "mass": ("4147007", "Mass"),
    "metastasis": ("128462008", "Metastasis"),
    "necrosis": ("6574001", "Necrosis"),
    "nodule": ("27925004", "Nodule"),
    "thrombus": ("396339007", "Thrombus"),
    "tumor": ("108369006", "Neoplasm"),
}
_OTHER_WORDS = {
    "cancer": "tumor",
    "carcinoma": "tumor",
    "metastases": "metastasis",
    "neoplasm": "tumor",
    "tumour": "tumor",
}


def property_codes(name: str) -> tuple[Any, Any]:
    """Category and type of what a class shows.

    Where the name is not known nothing is said of it but that it is a region, with a type of our own scheme.

    Args:
        name: of the class, 64 letters at most.
    """
    concept = import_highdicom().sr.CodedConcept
    if (anatomy := _ANATOMY.get(name.casefold())) is not None:
        return concept(_STRUCTURE[0], "SCT", _STRUCTURE[1]), concept(anatomy[0], "SCT", anatomy[1])
    for word in re.split(r"[\W_]+", name.casefold()):
        singular = word if word in _ABNORMAL else word.removesuffix("s")
        found = _ABNORMAL.get(_OTHER_WORDS.get(word, _OTHER_WORDS.get(singular, singular)))
        if found is not None:
            return concept(_ALTERED[0], "SCT", _ALTERED[1]), concept(found[0], "SCT", found[1])
    value = hashlib.sha256(name.encode()).hexdigest()[:8].upper()
    return concept(_REGION[0], "SCT", _REGION[1]), concept(value, "99SEGDIFF", name)

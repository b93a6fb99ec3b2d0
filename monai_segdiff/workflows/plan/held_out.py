"""Who is held out, and for whose label maps images are generated."""

from __future__ import annotations

from collections.abc import Mapping

from monai_segdiff.data.cases import Case
from monai_segdiff.data.splits import split_cases
from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.fingerprint import Fingerprint

__all__ = ["choose_split"]

_FRACTIONS = (0.8, 0.1, 0.1)  # as `prepare` has them


def choose_split(fingerprint: Fingerprint, choices: Choices, split_of: Mapping[str, str] | None = None) -> None:
    """Choose how cases are split, and the split whose label maps images are generated for.

    Args:
        fingerprint: the data.
        choices: get ``within_patient`` of ``prepare``, ``fractions`` and ``seed`` where they are asked for, and
            ``split`` of ``generate``.
        split_of: patient to split, where the source's own is kept.

    Raises:
        ValueError: if nobody is held out.
    """
    for key in ("prepare.fractions", "prepare.seed"):
        if key in choices.asked:
            choices.choose(key, None, "")
    own = {**choices.edited, **{key: made.value for key, made in choices.made.items()}}
    fractions, seed = own.get("prepare.fractions", _FRACTIONS), own.get("prepare.seed", 0)
    patients = len(fingerprint.patients)
    alone = patients == 1 and split_of is None
    within = choices.choose(
        "prepare.within_patient",
        alone,
        "one patient only: a block of slices is held out, which says nothing about other patients"
        if alone
        else f"{patients} patients{'' if fingerprint.patients_known else ' (one a file, as nothing says otherwise)'}: "
        + ("whole patients are held out" if split_of is None else "the split that the source has is kept"),
    )
    if split_of is not None:
        held = {*split_of.values()}
    else:
        cases = [Case(patient, None, None, patient) for patient in sorted(fingerprint.patients)]
        if within:
            cases += [Case(f"{index}", None, None, cases[0].patient) for index in range(100)]  # slices, enough of them
        held = {*split_cases(cases, fractions, seed, within_patient=within)[0]}
    if not held & {"test", "validation"}:
        why = "the fractions (--fractions)" if split_of is None else "the source's own split (--keep-split, --fold)"
        raise ValueError(
            f"{why} hold out nobody, and a study generates for held-out label maps: hold some patients out, or go step "
            "by step (prepare, train, generate)"
        )
    split = "test" if "test" in held else "validation"
    choices.choose("generate.split", split, "label maps of patients that the network has not seen")

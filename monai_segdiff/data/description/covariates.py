"""What `dataset.json` says of covariates: what each is, and its value for a case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_segdiff.transforms.covariates import CovariateValue, check_covariates, covariate_values

__all__ = ["case_covariates_of", "covariates_of"]


def covariates_of(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Definitions of the covariates; none where nothing is said.

    Raises:
        ValueError: if one is no definition; names it.
    """
    found = content.get("covariates")
    return {} if found is None else check_covariates(found, "'covariates'")


def case_covariates_of(
    entry: Mapping[str, Any], covariates: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[str, CovariateValue], ...]:
    """What an entry says of its case, in the order of the definitions; what is left out is unknown.

    Args:
        entry: the case's.
        covariates: the definitions.

    Raises:
        ValueError: if a covariate is not defined, or its value is none that it can have.
    """
    found = entry.get("covariates")
    return () if found is None else tuple(covariate_values(covariates, found, "its covariates").items())

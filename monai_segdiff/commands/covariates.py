"""The option `--covariate`, of all verbs that make images."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_covariate", "covariates_of"]


def add_covariate(p: argparse.ArgumentParser, default: str) -> None:
    """Add the option.

    Args:
        p: the verb's parser.
        default: what holds without it, for the help text.
    """
    group = p.add_argument_group("covariates", "for a bundle that was trained on a data set that has some")
    group.add_argument(
        "--covariate",
        action="append",
        metavar="NAME=VALUE",
        help="what the network is told of the patient or image, e.g. age=60; NAME= makes it unknown; repeat it for "
        f"others (default: {default})",
    )


def covariates_of(args: argparse.Namespace) -> dict[str, Any]:
    """Name to value, as :func:`~monai_segdiff.generation.generate_dataset` takes them.

    Args:
        args: parsed arguments.

    Raises:
        ValueError: if one is not NAME=VALUE, or a name comes twice.
    """
    from monai_segdiff.generation.covariates import parse_covariates

    return parse_covariates(args.covariate or ())

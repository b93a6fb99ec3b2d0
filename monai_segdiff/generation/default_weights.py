"""Which of a bundle's weights are meant when nobody says so."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.bundle import bundle_path
from monai_segdiff.configuration import naming_configuration, open_inference
from monai_segdiff.diffusion import tuned_levels
from monai_segdiff.networks import read_card

__all__ = ["default_weights"]


def default_weights(
    bundle: str | os.PathLike[str],
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    tuned: bool = True,
) -> Path:
    """Where the weights lie when nobody says so, whether they are there or not.

    Args:
        bundle: a bundle's name or folder.
        overlays: as for :func:`~monai_segdiff.generation.load_generator`.
        overrides: as for :func:`~monai_segdiff.generation.load_generator`.
        tuned: as for :func:`~monai_segdiff.generation.load_generator`.
    """
    root = bundle_path(bundle)
    parser = open_inference(root, overlays, {"bundle_root": str(root), **(overrides or {})})
    with naming_configuration(root / "configs" / "inference.yaml"):
        file = Path(parser.get_parsed_content("weights"))
    there = file.parent / "tuned" / file.name
    return there if tuned and there.is_file() and _serves(there, overrides or {}) else file


def _serves(weights: Path, asked: Mapping[str, Any]) -> bool:
    """Whether tuned weights can do what is asked for."""
    card = read_card(weights)
    given = {name: asked[name] for name in ("num_steps", "sampler", "guidance_weight") if name in asked}
    try:
        tuned_levels(card["noise_levels"], **{"num_steps": card["num_steps"], **given})
    except ValueError:
        return False
    return True

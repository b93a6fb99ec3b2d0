"""Files of tensors: weights with their card, and checkpoints of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Issue
from monai_segdiff.networks import read_card, weights_hash
from monai_segdiff.networks.cards import card_of, is_card
from monai_segdiff.networks.weights import check_card, read_tensors, spoiled_tensors
from monai_segdiff.verification.verdict import Verdict

__all__ = ["verify_tensors"]

_SHOWN = 3


def verify_tensors(file: Path) -> Verdict:
    """See :func:`~monai_segdiff.verification.verify`.

    Args:
        file: what ``torch.save`` wrote.
    """
    try:
        content = read_tensors(file, "weights or a checkpoint")
    except ValueError as error:
        return Verdict("weights", (_issue(file, error),), 1, recorded=True)
    is_weights = isinstance(content, Mapping) and all(isinstance(value, torch.Tensor) for value in content.values())
    if is_weights and (unnamed := [name for name in content if not isinstance(name, str)]):
        message = f"names weights by {unnamed[0]!r}, which is no text"
        return Verdict("weights", (Issue("error", str(file), message, "restore it, or train again"),), 1, True)
    issues = [*_spoiled(file, content), *(_card_issues(file, content) if is_weights else ())]
    return Verdict("weights" if is_weights else "checkpoint", tuple(issues), 1, recorded=True)


def _spoiled(file: Path, content: Any) -> Iterator[Issue]:
    if names := spoiled_tensors(content):
        shown = f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        remedy = "give weights of an earlier epoch, or train again with a smaller learning rate"
        yield Issue("error", str(file), f"holds NaN or infinite values ({shown})", remedy)


def _card_issues(file: Path, weights: Mapping[str, torch.Tensor]) -> Iterator[Issue]:
    card = card_of(file)
    if not card.is_file() or not is_card(card):
        message = f"has no card ({card.name}), so nothing says which weights it should hold"
        yield Issue("warning", str(file), message, "put back the card that the training wrote beside it")
        return
    try:
        content = read_card(file)
    except ValueError as error:
        yield _issue(card, error)
        return
    try:
        check_card(file, weights_hash(weights), content)
    except ValueError as error:
        yield _issue(file, error)


def _issue(file: Path, error: ValueError) -> Issue:
    """An issue from a message of the form FILE what; remedy, or FILE what: remedy."""
    text = " ".join(str(error).split()).removeprefix(str(file)).lstrip(": ")
    separator = "; " if "; " in text else ": "
    message, _, remedy = text.rpartition(separator)
    return Issue("error", str(file), message or text, remedy if message else "restore it from a copy")

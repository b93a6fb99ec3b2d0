"""Encode the findings of an image as the prompt of a network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

__all__ = ["EncodeFindings", "EncodeFindingsD", "EncodeFindingsDict", "EncodeFindingsd", "PromptEncoder"]

UNKNOWN, NOTHING_FOUND, FIRST_FINDING = 0, 1, 2


class PromptEncoder(Protocol):
    """What makes prompts of names, or of sentences: `EncodeFindings`, or a tokenizer for a text encoder of your own.

    Attributes:
        length: L, of every prompt.
        num_tokens: ids go from 0 to one less; None where that is not known.
    """

    @property
    def length(self) -> int: ...

    @property
    def num_tokens(self) -> int | None: ...

    @property
    def null_condition(self) -> torch.Tensor:
        """The prompt that says nothing, zeros (L,)."""

    def __call__(self, names: str | Iterable[str] | None) -> torch.Tensor:
        """Encode what is to be seen in one image: names or a sentence, nothing if empty, unknown if None; (L,)."""


class EncodeFindings(Transform):
    """Encode the names of findings as token ids.

    0 says that the findings are unknown and fills up the prompt, 1 says that nothing is found, and 2 + k is the k-th
    name of the vocabulary. Unknown and nothing found are two things: the first is the null prompt of classifier-free
    guidance (Ho and Salimans 2022, arXiv 2207.12598), the second describes a healthy image.

    Args:
        vocabulary: the names of all findings, each once; the order gives the ids.
        max_findings: length of the prompt, at least 1; by default that of the vocabulary, so that all fit.

    Raises:
        ValueError: where a name is empty or listed twice, or the length is below 1.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, vocabulary: Sequence[str], max_findings: int | None = None) -> None:
        if isinstance(vocabulary, str):
            raise ValueError(f"expected a sequence of findings, got the single string '{vocabulary}'.")
        self.vocabulary = tuple(str(name) for name in vocabulary)
        twice = sorted({name for name in self.vocabulary if self.vocabulary.count(name) > 1})
        if twice or "" in self.vocabulary:
            raise ValueError(f"the vocabulary of findings lists {', '.join(twice) or 'an empty name'}: each name once.")
        self.length = max(1, len(self.vocabulary)) if max_findings is None else int(max_findings)
        if self.length < 1:
            raise ValueError(f"max_findings must be at least 1, got {max_findings}.")

    @property
    def num_tokens(self) -> int:
        """Number of token ids: those of the findings, unknown, and nothing found."""
        return FIRST_FINDING + len(self.vocabulary)

    @property
    def null_condition(self) -> torch.Tensor:
        """The prompt that says nothing, zeros (length,)."""
        return torch.zeros(self.length)

    @property
    def empty_condition(self) -> torch.Tensor:
        """The prompt that says that nothing is found, (length,)."""
        return self([])

    def __call__(self, names: str | Iterable[str] | None) -> torch.Tensor:
        """Encode the findings of one image.

        Args:
            names: names of the vocabulary in any order, or one name; empty where nothing is found, None where it is
                unknown what there is. A name given twice counts once.

        Returns:
            A float32 tensor (length,) of ids, ascending, zeros at the end.

        Raises:
            ValueError: for a name that is not in the vocabulary, or more names than the prompt has room for.
        """
        if names is None:
            return self.null_condition
        given = [names] if isinstance(names, str) else list(names)
        unknown = [str(name) for name in given if name not in self.vocabulary]
        if unknown:
            known = ", ".join(self.vocabulary) or "none"
            raise ValueError(f"unknown finding {', '.join(repr(name) for name in unknown)}: the findings are {known}.")
        ids = sorted({FIRST_FINDING + self.vocabulary.index(name) for name in given}) or [NOTHING_FOUND]
        if len(ids) > self.length:
            raise ValueError(
                f"{len(ids)} findings ({', '.join(given)}) are more than max_findings={self.length}; the findings are "
                f"{', '.join(self.vocabulary)}."
            )
        return torch.tensor([*ids, *[UNKNOWN] * (self.length - len(ids))], dtype=torch.float32)


class EncodeFindingsd(MapTransform):
    """Dictionary-based version of :class:`EncodeFindings`.

    A key that is missing means that the findings are unknown, as in a data set that does not tell them, and receives
    the null prompt.

    Args:
        keys: keys of the findings.
        vocabulary: the names of all findings; the order gives the ids.
        max_findings: length of the prompt; by default that of the vocabulary.
    """

    backend: ClassVar[list[TransformBackends]] = EncodeFindings.backend

    def __init__(self, keys: KeysCollection, vocabulary: Sequence[str], max_findings: int | None = None) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys=True)
        self.encoder = EncodeFindings(vocabulary, max_findings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Encode the findings under every key."""
        d = dict(data)
        for key in self.keys:
            d[key] = self.encoder(d.get(key))
        return d


EncodeFindingsD = EncodeFindingsDict = EncodeFindingsd

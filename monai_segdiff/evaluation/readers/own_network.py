"""What the evaluation's own networks have in common: a file of their settings and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from monai_segdiff.errors import reading
from monai_segdiff.files import atomic_file
from monai_segdiff.networks.weights import spoiled_tensors

__all__ = ["OwnNetwork"]

_T = TypeVar("_T", bound="OwnNetwork")


class OwnNetwork(nn.Module):
    """A network that the evaluation trains and keeps.

    Attributes:
        form: what its files say that they are.
        kind: the same for messages.
        remedy: what helps where such a file cannot be read.
        settings: arguments to make it with, in JSON types.
    """

    form: ClassVar[str]
    kind: ClassVar[str]
    remedy: ClassVar[str]
    settings: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write it to a file, atomically; an OSError says why it cannot be written."""
        content = {"format": self.form, "settings": self.settings, "state_dict": self.state_dict()}
        with atomic_file(path) as temporary:
            torch.save(content, temporary)

    @classmethod
    def wrote(cls, content: Any) -> bool:
        """Whether `save` wrote what a file holds."""
        return isinstance(content, Mapping) and content.get("format") == cls.form

    @classmethod
    def restored(cls: type[_T], content: Mapping[str, Any], path: str | Path) -> _T:
        """The network that `save` wrote, in evaluation mode.

        Raises:
            UnreadableFileError: if settings and weights make no network, or a weight is not finite; names the file.
        """
        with reading(path, cls.kind, cls.remedy):
            network = cls(**content["settings"])
            network.load_state_dict(content["state_dict"])
            if spoiled_tensors(network.state_dict()):
                raise ValueError("it holds NaN or infinite values")
        return network.eval()

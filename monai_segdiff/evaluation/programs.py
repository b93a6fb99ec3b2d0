"""Networks that users bring: TorchScript files and exported programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["Program", "load_program"]


class Program:
    """A network from a file, called with images and checked for what it gives back.

    Args:
        name: the file's name, which stands beside every figure it yields.
        function: images (B, C, *spatial) to a tensor.
    """

    def __init__(self, name: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.name = name
        self._function = function

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Run it.

        Raises:
            ValueError: if the network refuses images of this shape, or returns no tensor with one row per image.
        """
        shape = tuple(images.shape)
        try:
            with torch.inference_mode():
                result = self._function(images)
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ValueError(
                f"{self.name} does not accept images of shape {shape} (batch, channels, *spatial): "
                f"{lines[-1] if lines else type(error).__name__}; give a network for this size and number of channels, "
                "exported with a dynamic batch size"
            ) from error
        if not isinstance(result, torch.Tensor) or result.ndim < 2 or result.shape[0] != shape[0]:
            got = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
            raise ValueError(
                f"{self.name} must return a tensor with one row per image; for images {shape} it gave {got}"
            )
        return result.float()


def load_program(path: str | Path) -> Program:
    """Load a TorchScript file (.pt, .ts, .pth) or a program saved by torch.export (.pt2).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"network file {path} does not exist")
    try:
        if path.suffix == ".pt2":
            function = torch.export.load(path).module()
        else:
            function = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ValueError(
            f"{path} is neither a TorchScript file nor a program of torch.export (.pt2): "
            "save it with torch.jit.trace(...).save(path) or torch.export.save(program, path)"
        ) from error
    return Program(path.name, function)

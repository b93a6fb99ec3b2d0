"""Networks that users bring: TorchScript files and exported programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from monai_segdiff.networks.weights import check_archive

__all__ = ["Program", "load_program"]


class Program:
    """A network from a file, called with images and checked for what it gives back.

    Args:
        name: the file's name, which stands beside every figure it yields.
        function: images (B, C, *spatial) to a tensor.
        expected: what it expects, in words, where that is known.
    """

    def __init__(self, name: str, function: Callable[[torch.Tensor], torch.Tensor], expected: str = "") -> None:
        self.name = name
        self.expected = expected
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
                f"{lines[-1] if lines else type(error).__name__}; {self._expects()}give a network for this size and "
                "number of channels, exported with a dynamic batch size"
            ) from error
        if not isinstance(result, torch.Tensor) or result.ndim < 2 or result.shape[0] != shape[0]:
            got = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
            raise ValueError(
                f"{self.name} must return a tensor with one row per image; for images {shape} it gave {got}"
            )
        return result.float()

    def _expects(self) -> str:
        return f"it expects {self.expected}; " if self.expected else ""


def load_program(source: str | Path | nn.Module) -> Program:
    """Load a TorchScript file (.pt, .ts, .pth) or a program saved by torch.export (.pt2), or take a module.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither, or damaged by its own checksums.
    """
    if isinstance(source, nn.Module):
        module = source.cpu().eval()
        return Program(type(module).__name__, module, _expected_by_weights(module))
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"network file {path} does not exist")
    check_archive(path, "a network")
    try:
        if path.suffix == ".pt2":
            exported = torch.export.load(path)
            return Program(path.name, exported.module(), _expected_by_export(exported))
        script = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ValueError(
            f"{path} is neither a TorchScript file nor a program of torch.export (.pt2): "
            "save it with torch.jit.trace(...).save(path) or torch.export.save(program, path)"
        ) from error
    return Program(path.name, script, _expected_by_weights(script))


def _expected_by_export(exported: torch.export.ExportedProgram) -> str:
    """Shape of the first input that the program was exported with; what may vary is shown by its symbol."""
    names = set(exported.graph_signature.user_inputs)
    for node in exported.graph.nodes:
        if node.op == "placeholder" and node.name in names and hasattr(node.meta.get("val"), "shape"):
            return f"images of shape ({', '.join(map(str, node.meta['val'].shape))})"
    return ""


def _expected_by_weights(module: nn.Module) -> str:
    """Channels and dimensions that the first convolution takes."""
    for weight in module.parameters():
        if weight.ndim in (4, 5):
            channels = weight.shape[1]
            return f"{weight.ndim - 2}D images of {channels} channel{'s' if channels != 1 else ''}"
    return ""

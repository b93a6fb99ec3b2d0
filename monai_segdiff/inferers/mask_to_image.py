"""The generator as one module: a label map goes in, an image comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor

from monai_segdiff.inferers.regression import RegressionInferer
from monai_segdiff.inferers.sampling import SamplingInferer
from monai_segdiff.inferers.xreal import XRealInferer
from monai_segdiff.transforms import EncodeMask

__all__ = ["MaskToImage"]


class MaskToImage(torch.nn.Module):
    """Join encoder, network and inferer to a function of the label map.

    ``state_dict`` and ``load_state_dict`` are the network's own, so that one file of weights serves both.

    ``torch.jit.trace`` takes the whole of it, for one shape of label maps and with the noise of the seed as constants:
    the checks of the label ids are not part of what is traced. ``torch.export`` takes the network alone, since grid and
    noise of a run are made on the host; what it gives can be sampled with the inferer like the network itself.

    Args:
        network: the network, as the inferer calls it.
        inferer: what samples, its seed being the generator's; or what calls a regression network.
        encoder: what turns a label map into the condition that the network was trained with.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: SamplingInferer | XRealInferer | RegressionInferer,
        encoder: EncodeMask,
    ) -> None:
        super().__init__()
        self.network = network
        self.inferer = inferer
        self.encoder = encoder

    def forward(self, label_map: torch.Tensor, indices: Sequence[int] | torch.Tensor | None = None) -> torch.Tensor:
        """Generate one image for each label map.

        Args:
            label_map: (B, 1, *spatial), label ids of an integer or floating type. Random values in [0, 1], which
                MONAI's bundle checks feed, are rounded.
            indices: index of each sample, B integers; 0 .. B - 1 by default, so that equal calls give equal images.

        Returns:
            The images, (B, C, *spatial), float32, in the range that the network was trained on.
        """
        labels = convert_to_tensor(label_map, track_meta=False)
        if labels.is_floating_point():
            whole = labels.round()
            if not torch.equal(whole, labels) and bool(labels.max() > 1):
                raise ValueError("the label map holds values that are no label ids: give whole numbers.")
            labels = whole
        condition = torch.stack([self.encoder(sample) for sample in labels])
        return self.inferer(condition, self.network, range(len(label_map)) if indices is None else indices)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Give the network's weights, as its own ``state_dict`` does."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load the network's weights, as its own ``load_state_dict`` does."""
        return self.network.load_state_dict(*args, **kwargs)

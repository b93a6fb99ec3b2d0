"""Operator: a label map to a synthetic image, by a trained bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.deploy.core import Fragment, Image, Operator, OperatorSpec

from monai_segdiff.generation import TrainedGenerator
from monai_segdiff.integrations.deploy.synthesis import synthesize
from monai_segdiff.transforms import CovariateValue

__all__ = ["MaskToImageOperator"]


class MaskToImageOperator(Operator):
    """Generate an image for a label map, on its grid.

    It samples as `monai_segdiff.generation` does everywhere, so the same seed gives the same image. The SDK's own
    operator for bundles would cast the image to whole numbers 0..255.

    Named input ``label_map``: ``Image`` from ``DICOMSegToLabelMapOperator``.

    Named output ``image``: ``Image`` of the synthetic image, float32, of the label map's shape and with its metadata.

    Args:
        fragment: the application.
        generator: what generates.
        spacing: voxel size in mm of the bundle's training images; None fits the whole field of view into its grid.
        covariates: what the network is told of the patient or image.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        generator: TrainedGenerator,
        spacing: Sequence[float] | None = None,
        covariates: Mapping[str, CovariateValue] | None = None,
        **kw: Any,
    ) -> None:
        self._generator, self._spacing, self._covariates = generator, spacing, covariates
        super().__init__(fragment, *args, **kw)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare input and output."""
        spec.input("label_map")
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Generate the image."""
        received = op_input.receive("label_map")
        about = received.metadata()
        values = torch.as_tensor(np.asarray(received.asnumpy()))[None]
        labels = MetaTensor(values, affine=torch.as_tensor(about["affine"]))
        image = synthesize(
            self._generator, labels, self._spacing, known=list(about["classes"]), covariates=self._covariates
        )
        op_output.emit(Image(image, dict(about)), "image")

"""Operator: a synthetic image and its label map to a DICOM series and segmentation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from monai_segdiff.data import SyntheticInfo, write_dicom_pair
from monai_segdiff.generation import TrainedGenerator
from monai_segdiff.transforms import CovariateValue

__all__ = ["SyntheticSeriesWriterOperator"]

_LOG = logging.getLogger(__name__)


class SyntheticSeriesWriterOperator(Operator):
    """Write a synthetic image series and the segmentation that it was made for as one study.

    The folder appears with both or not at all.

    Named inputs ``image``, ``Image`` from ``MaskToImageOperator``, and ``label_map``, ``Image`` from
    ``DICOMSegToLabelMapOperator``.

    Args:
        fragment: the application.
        folder: folder to create, with ``image`` and ``seg`` in it.
        modality: "CT", "MR", "CR" or "DX".
        generator: what the objects say that they were made by.
        covariates: what the network was told of the patient or image.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        modality: str,
        generator: TrainedGenerator,
        covariates: Mapping[str, CovariateValue] | None = None,
        **kw: Any,
    ) -> None:
        self._folder, self._modality, self._generator = folder, modality, generator
        self._covariates = dict(covariates or {})
        super().__init__(fragment, *args, **kw)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the inputs."""
        spec.input("image")
        spec.input("label_map")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write both.

        Raises:
            OSError: if the folder cannot be written, or is not empty.
        """
        image, labels = op_input.receive("image"), op_input.receive("label_map")
        about = labels.metadata()
        files, seg = write_dicom_pair(
            image.asnumpy(),
            labels.asnumpy(),
            about["affine"],
            about["classes"],
            self._folder,
            self._modality,
            source=about["source"],
            info=self._info(),
            channels=self._generator.channels,
        )
        _LOG.info("wrote %d images to %s, and %s", len(files), files[0].parent, seg)

    def _info(self) -> SyntheticInfo:
        made = self._generator
        settings: dict[str, Any] = {
            name: made.settings[name] for name in ("seed", "num_steps", "guidance_weight") if name in made.settings
        }
        how = ", ".join(f"{name} {value}" for name, value in {**settings, **self._covariates}.items())
        return SyntheticInfo(
            generator=f"monai_segdiff {made.name} {made.weights_sha256[:12]}",
            derivation=f"Synthetic image, generated under a label map by {made.name}, weights "
            f"{made.weights_sha256} ({how}); not an acquired image",
        )

"""Inference: the label map of a study, or one that was sent, to a synthetic image."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monai_segdiff.data import Case, case_name, file_extension
from monai_segdiff.data.layout import default_patient
from monai_segdiff.integrations.label.firewall.parameters import ImageParameters
from monai_segdiff.integrations.label.firewall.uploads import current_folder
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator

__all__ = ["GenerateImage"]


class GenerateImage(InferTask):
    """Generate an image for a label map.

    Args:
        pairs: what generates.
    """

    def __init__(self, pairs: PairGenerator) -> None:
        generator = pairs.generator
        settings = {"num_steps": "num_steps", "guidance": "guidance_weight"}
        config: dict[str, Any] = {
            key: generator.settings[name] for key, name in settings.items() if name in generator.settings
        }
        told = {"covariates": ""} if generator.covariates else {}
        super().__init__(
            InferType.OTHERS,
            labels=list(generator.classes),
            dimension=len(generator.image_size),
            description=f"synthetic image of a label map, by {pairs.name}; not for diagnostic use",
            config={"seed": 0, **config, "drop_classes": "", "similarity": 0.0, **told},
        )
        self.pairs = pairs

    def is_valid(self) -> bool:
        """Always True: the server does not start with a bundle that cannot be loaded."""
        return True

    def info(self) -> dict[str, Any]:
        """What clients are told, with the size that label maps must have, and which covariates there are."""
        generator = self.pairs.generator
        told = {"covariates": generator.covariates} if generator.covariates else {}
        return {**super().info(), "image_size": list(generator.image_size), **told}

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Generate.

        Args:
            request: ``label``, the label map's file; ``image``, the real image's file or nothing; ``shown``, what the
                client calls the study; and the parameters.

        Returns:
            A temporary file with the image, which goes with the request or which the caller removes, and what made it.

        Raises:
            RequestError: if the label map or a parameter is not possible.
        """
        label = Path(request["label"])
        image = Path(request["image"]) if request.get("image") else None
        case = Case(case_name(label), image, label, default_patient(request["shown"]))
        folder = Path(tempfile.mkdtemp(prefix="segdiff-", dir=current_folder()))
        try:
            pair = self.pairs.make(case, ImageParameters.read(request), folder / "pair", request["shown"])
            ending = file_extension(pair.image)
            handle, result = tempfile.mkstemp(prefix="segdiff-", suffix=ending, dir=current_folder())
            os.close(handle)
            shutil.move(pair.image, result)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return result, {**pair.facts, "source": request["shown"], "seed": pair.facts["parameters"]["seed"]}

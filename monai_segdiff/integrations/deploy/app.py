"""The MONAI Deploy application: a DICOM segmentation in, a synthetic image series with its segmentation out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application
from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesSelectorOperator

from monai_segdiff.integrations.deploy.bundles import bundle_modality, find_bundle, load_bundle
from monai_segdiff.integrations.deploy.generator_operator import MaskToImageOperator
from monai_segdiff.integrations.deploy.options import read_options
from monai_segdiff.integrations.deploy.output import claim_output
from monai_segdiff.integrations.deploy.segmentation_operator import DICOMSegToLabelMapOperator
from monai_segdiff.integrations.deploy.synthesis import told_covariates
from monai_segdiff.integrations.deploy.writer_operator import SyntheticSeriesWriterOperator

__all__ = ["SegDiffApp", "run"]

_RULES = json.dumps({"selections": [{"name": "segmentation", "conditions": {"Modality": "^SEG$"}}]})
_CONFIG = Path(__file__).with_name("app.yaml")
_FOLDER = "synthetic"


class SegDiffApp(Application):
    """Generate an image for a DICOM segmentation.

    Arguments are those of every MONAI Deploy application: ``-i`` names the folder with the segmentation, ``-o`` the
    folder for ``synthetic/image`` and ``synthetic/seg``, ``-m`` the bundle. How images are generated stands in
    ``app.yaml``, or in the file that ``HOLOSCAN_CONFIG_PATH`` names, and in environment variables, see `read_options`.
    """

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._held = ExitStack()

    def run(self) -> None:
        """Run the application; meanwhile no other run writes its output."""
        with self._held:
            super().run()

    def compose(self) -> None:
        """Load the bundle and connect the operators.

        Raises:
            FileNotFoundError: if there is no bundle, or it has no weights.
            ValueError: if an option is not possible, a covariate is none of the bundle's, or the input is no folder.
            FileExistsError: if the output folder holds results already, or another run writes to it.
            OSError: if the output folder cannot be written.
        """
        context: AppContext = Application.init_app_context(self.argv)
        folder, target = Path(context.input_path), Path(context.output_path) / _FOLDER
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder: name the folder that holds the DICOM segmentation with -i")
        self._held.enter_context(claim_output(target))
        options = read_options(Path(os.environ.get("HOLOSCAN_CONFIG_PATH") or _CONFIG))
        bundle = find_bundle(Path(context.model_path))
        modality = bundle_modality(bundle, options.modality)
        generator = load_bundle(bundle, options.overrides())
        told = told_covariates(generator, options)

        load = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=folder, must_load=False, name="loader"
        )
        select = DICOMSeriesSelectorOperator(self, rules=_RULES, all_matched=True, name="selector")
        read = DICOMSegToLabelMapOperator(
            self, generator=generator, options=options, folder=folder, name="segmentation"
        )
        generate = MaskToImageOperator(
            self, generator=generator, spacing=options.spacing, covariates=told, name="generator"
        )
        write = SyntheticSeriesWriterOperator(
            self, folder=target, modality=modality, generator=generator, covariates=told, name="writer"
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, read, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(read, generate, {("label_map", "label_map")})
        self.add_flow(read, write, {("label_map", "label_map")})
        self.add_flow(generate, write, {("image", "image")})


def run(argv: Sequence[str] | None = None) -> None:
    """Run the application in this process.

    Args:
        argv: program name and arguments; those of the process by default.
    """
    SegDiffApp([sys.executable, *(sys.argv if argv is None else argv)]).run()

"""Operator: the DICOM segmentation of a series to a label map of the bundle's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from monai.deploy.core import Fragment, Image, Operator, OperatorSpec

from monai_segdiff.generation import TrainedGenerator
from monai_segdiff.integrations.deploy.options import GenerationOptions
from monai_segdiff.integrations.deploy.synthesis import read_labels

__all__ = ["DICOMSegToLabelMapOperator"]


class DICOMSegToLabelMapOperator(Operator):
    """Read the one DICOM segmentation among the selected series as a label map, on its own grid.

    Named input ``study_selected_series_list``: list of ``StudySelectedSeries``, from ``DICOMSeriesSelectorOperator``.

    Named output ``label_map``: ``Image`` of the label map, (X, Y, Z) or (X, Y), ids of the bundle's classes; metadata
    ``affine`` (4, 4), index to RAS mm, ``classes``, class name to label id of the segments that there are, and
    ``source``, the file.

    Args:
        fragment: the application.
        generator: whose classes are wanted.
        options: which segments are which classes.
        folder: where the series come from, for messages.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        generator: TrainedGenerator,
        options: GenerationOptions,
        folder: Path,
        **kw: Any,
    ) -> None:
        self._generator, self._options, self._folder = generator, options, folder
        super().__init__(fragment, *args, **kw)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare input and output."""
        spec.input("study_selected_series_list")
        spec.output("label_map")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Read the segmentation.

        Raises:
            ValueError: if there is not exactly one, or it does not fit the bundle.
        """
        file = self._file(op_input.receive("study_selected_series_list"))
        labels, classes = read_labels(file, self._generator, self._options)
        affine = np.asarray(labels.affine, dtype=np.float64)
        about = {"affine": affine, "classes": classes, "source": str(file)}
        op_output.emit(Image(np.asarray(labels)[0], about), "label_map")

    def _file(self, studies: Any) -> Path:
        files = sorted(
            str(instance.get_native_sop_instance().filename)
            for study in studies or []
            for selected in study.selected_series
            for instance in selected.series.get_sop_instances()
        )
        if not files:
            raise ValueError(
                f"{self._folder} holds no DICOM segmentation (SEG): put one there, or name another with -i"
            )
        if len(files) > 1:
            raise ValueError(
                f"{self._folder} holds {len(files)} DICOM segmentations, {files[0]} and {files[1]} among them: "
                "keep one of them"
            )
        return Path(files[0])

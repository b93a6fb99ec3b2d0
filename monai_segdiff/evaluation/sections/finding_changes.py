"""What a finding has changed in a generated image, where the image before the finding is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.matching import manifest_records
from monai_segdiff.evaluation.measure.measure import Batch
from monai_segdiff.evaluation.pairs import PairReader

__all__ = ["FindingChanges"]

_ANATOMIES = "anatomyTr"  # where `generate` puts the images before their findings


class FindingChanges:
    """Mean absolute change of each image inside and outside the region of its findings, an extra of `measure`.

    In shares of the intensity range, to which both images are clipped. The region is whatever the region map labels.

    Args:
        inputs: both data sets.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._root = Path(inputs.synthetic.root)
        self._records: Mapping[str, dict[str, Any]] = manifest_records(inputs.synthetic)[0]
        self._reader: PairReader = inputs.synthetic_reader
        self.known = any(self.before(case) is not None for case in inputs.generated)

    def before(self, case: Case) -> Path | None:
        """The image before the finding: what the manifest names, or the file of the same name in `anatomyTr`.

        Args:
            case: a generated case.
        """
        named = self._records.get(case.id, {}).get("anatomy")
        if named is not None:
            file = self._root / named
        elif case.image is not None:
            file = case.image.parent.parent / _ANATOMIES / case.image.name
        return file if (named or case.image) and file.is_file() else None

    def region(self, case: Case) -> Path | None:
        """The region map: the case's own; where no finding was asked for, what the manifest says it was drawn in.

        Args:
            case: a generated case.
        """
        if case.region is not None:
            return case.region
        named = self._records.get(case.id, {}).get("region_source")
        return self._root / named if named is not None and (self._root / named).is_file() else None

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Changes (B, 2), inside and outside; NaN where the image before, the region, or one side of it is not there.

        Raises:
            ValueError: if a file is of another size than the images.
        """
        found = torch.full((len(batch.pairs), 2), torch.nan, dtype=torch.float64)
        for i, pair in enumerate(batch.pairs):
            before, region = self.before(pair.case), self.region(pair.case)
            if before is None or region is None:
                continue
            change = (pair.image - self._reader.image(replace(pair.case, image=before))).abs().double() / 2
            inside = self._reader.region(replace(pair.case, region=region)) > 0
            found[i] = torch.stack([change[inside].mean(), change[~inside].mean()])
        return found

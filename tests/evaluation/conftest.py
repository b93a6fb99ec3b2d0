"""A small phantom population and a segmenter for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import SegmentationDataset, make_ct_phantoms, read_dataset
from monai_segdiff.evaluation import PairReader, TrainedSegmenter, save_segmenter, train_segmenter


@pytest.fixture(scope="session")
def real(tmp_path_factory) -> Path:
    """24 patients, 4 slices each, 32x32."""
    root = tmp_path_factory.mktemp("phantoms") / "real"
    make_ct_phantoms(root, 24, 32, 2, 4, fractions=(0.5, 0.25, 0.25), progress=False)
    return root


@pytest.fixture(scope="session")
def real_set(real) -> SegmentationDataset:
    return read_dataset(real)


@pytest.fixture(scope="session")
def reader(real_set) -> PairReader:
    return PairReader(real_set.classes, real_set.intensity_range, 2)


@pytest.fixture(scope="session")
def segmenter(real_set, reader, tmp_path_factory) -> TrainedSegmenter:
    folder = tmp_path_factory.mktemp("cache")
    found = train_segmenter(real_set.splits["training"], reader, 1600, cache_dir=folder, progress=False)
    assert isinstance(found, TrainedSegmenter)
    return found


@pytest.fixture(scope="session")
def segmenter_file(segmenter, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("segmenter") / "segmenter.pt"
    save_segmenter(segmenter, file)
    return file

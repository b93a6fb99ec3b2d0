from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import check_dataset, prepare_dataset, read_dataset

RED, GREEN = (200, 0, 0), (0, 200, 0)


def painted(root: Path, palettes: list[list[tuple[int, int, int]]]) -> Path:
    """Pictures with classes 1 and 2, each file with a palette of its own."""
    ids = np.zeros((16, 16), np.uint8)
    ids[2:7], ids[9:14] = 1, 2
    for number, (first, second) in enumerate(palettes):
        for part, array in (("images", ids * 50), ("labels", ids)):
            (root / part).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(array, mode="P" if part == "labels" else "L")
            if part == "labels":
                picture.putpalette([0, 0, 0, *first, *second])
            picture.save(root / part / f"p{number}.png")
    return root


def test_one_palette_for_all_files_makes_indices_ids(tmp_path: Path) -> None:
    source = painted(tmp_path / "in", [[RED, GREEN]] * 3)
    assert [f for f in check_dataset(source, {"a": 1, "b": 2}) if f.severity == "error"] == []
    prepare_dataset(source, tmp_path / "out", {"a": 1, "b": 2}, size=16, progress=False)
    assert read_dataset(tmp_path / "out").classes == {"a": 1, "b": 2}


def test_an_index_of_two_colors_is_two_classes_and_refused(tmp_path: Path) -> None:
    source = painted(tmp_path / "in", [[RED, GREEN], [RED, GREEN], [GREEN, RED]])
    (error,) = [f for f in check_dataset(source, {"a": 1, "b": 2}) if f.severity == "error"]
    assert error.file.endswith("labels/p2.png")
    assert "paints id 1 as (0, 200, 0), that of" in error.message
    with pytest.raises(ValueError, match=r"p2\.png: its palette paints id 1 .*p0\.png as \(200, 0, 0\).*one palette"):
        prepare_dataset(source, tmp_path / "out", {"a": 1, "b": 2}, size=16, progress=False)
    assert not (tmp_path / "out").exists()

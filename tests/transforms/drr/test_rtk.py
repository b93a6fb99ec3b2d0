"""The same line integrals as ITK-RTK's Joseph projector on the same geometry."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from monai_segdiff.transforms import ProjectDRR

_WHY = "compares with ITK-RTK: pip install 'monai-segdiff[rtk]'"


@pytest.fixture(scope="module")
def volume() -> torch.Tensor:
    """Blobs of bone and tissue, cut by the two ends of the last axis as a limb is."""
    shape = (50, 44, 40)
    random = np.random.default_rng(2)
    tissue = gaussian_filter(random.random(shape), 3)
    x, y = np.meshgrid(np.arange(shape[0]) - 26, np.arange(shape[1]) - 20, indexing="ij")
    values = (np.hypot(x, y) < 15)[..., None] * (1 + 4 * (tissue - 0.5)) + (np.hypot(x - 4, y + 2) < 5)[..., None]
    return torch.as_tensor(values[None], dtype=torch.float32)


def _affine() -> np.ndarray:
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [4, -7, 30], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([1.5, -1.8, 2.0])
    affine[:3, 3] = (-20, 60, 300)
    return affine


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam": "parallel"},
        {"axis": "A", "detector_spacing": 3.0},
        {"axis": (1, 2, 3), "detector_spacing": (2.0, 3.0), "source_to_isocenter": 400.0, "source_to_detector": 700.0},
        {"isocenter": (10.0, 20.0, 340.0), "detector_spacing": 2.0},
    ],
    ids=["fitted", "parallel", "axis A", "oblique axis", "isocenter"],
)
def test_line_integrals_are_those_of_rtk(volume: torch.Tensor, options: dict[str, Any]) -> None:
    if not hasattr(pytest.importorskip("itk", reason=_WHY), "RTK"):
        pytest.skip(_WHY)
    ours, theirs = (
        ProjectDRR((0, 20, 45, 133, 250), (64, 48), **options, backend=backend).project(volume, _affine())
        for backend in ("torch", "rtk")
    )
    difference = (ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt()
    print(f"relative RMS difference to ITK-RTK: {difference:.2e}")
    assert theirs.max() > 30
    assert difference < 0.02


def test_without_rtk_its_backend_says_what_to_install(volume: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itk", None)
    projector = ProjectDRR((0,), (8, 8), backend="rtk")
    with pytest.raises(ImportError, match=r"pip install 'monai-segdiff\[rtk\]'"):
        projector.project(volume, _affine())

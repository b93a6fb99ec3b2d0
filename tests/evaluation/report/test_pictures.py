"""Slices stand the way radiologists look at them."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.pictures.tiles import upright


def affine(*columns: tuple[int, int, int]) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.tensor(columns, dtype=torch.float64).T
    return matrix


R, A, S = (1, 0, 0), (0, 1, 0), (0, 0, 1)
L, P, INFERIOR = (-1, 0, 0), (0, -1, 0), (0, 0, -1)


@pytest.mark.parametrize(
    ("axes", "corner"),
    [
        ((R, A, S), (-1, -1)),  # axial: index grows to the patient's right and front, which lie left and up
        ((L, P, S), (0, 0)),
        ((A, R, S), (-1, -1)),
        ((R, S, A), (-1, -1)),  # coronal: head up
        ((L, INFERIOR, A), (0, 0)),
        ((S, R, A), (-1, -1)),
        ((A, S, R), (-1, -1)),  # sagittal: front left, head up
        ((S, A, R), (-1, -1)),
    ],
)
def test_right_front_and_head_come_to_the_upper_left(axes, corner):
    image = torch.zeros(1, 4, 6)
    image[0, corner[0], corner[1]] = 1
    shown = upright(image, affine(*axes))
    assert shown[0, 0, 0] == 1
    along_body = [axis in (S, INFERIOR) for axis in axes[:2]]
    vertical = along_body if any(along_body) else [axis in (A, P) for axis in axes[:2]]
    assert shown.shape[1] == image.shape[1 + vertical.index(True)]


def test_png_is_transposed_only():
    image = torch.arange(6.0).reshape(1, 2, 3)
    assert torch.equal(upright(image, None), image.transpose(1, 2))


def test_volume_shows_its_middle_slice():
    volume = torch.zeros(1, 4, 4, 9)
    volume[..., 4] = 1
    assert (upright(volume, affine(R, A, S)) == 1).all()

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from PIL import Image

from monai_segdiff.handlers import ReconstructionPreview


def items(number: int, shape: tuple[int, ...] = (8, 8)) -> list[dict[str, torch.Tensor]]:
    """Image i has the gray level i / number in -1..1, its mask is white."""
    return [
        {"image": MetaTensor(torch.full((1, *shape), 2 * i / number - 1)), "label": torch.ones(1, *shape)}
        for i in range(number)
    ]


def run(preview: ReconstructionPreview, epochs: int = 1) -> None:
    engine = Engine(lambda *_: None)
    engine.state.device = torch.device("cpu")
    preview.attach(engine)
    engine.run([0], max_epochs=epochs)


def invert(inputs: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
    assert type(inputs) is torch.Tensor
    return network(-inputs)


def test_picture_has_input_reconstruction_and_target_in_rows(tmp_path: Path) -> None:
    preview = ReconstructionPreview(
        invert, torch.nn.Identity(), items(4), tmp_path, interval=2, num_samples=2, tile_size=16, input_key="label"
    )
    run(preview, epochs=3)
    assert [path.name for path in tmp_path.iterdir()] == ["preview_epoch=2.png"]
    pixels = np.array(Image.open(tmp_path / "preview_epoch=2.png"))[:, -(2 * 16 + 2) :]
    assert pixels.shape == (3 * 16 + 4, 2 * 16 + 2, 3)
    for column, gray in enumerate([0, 128]):  # items 0 and 2 of 4
        at = 18 * column + 8
        assert (pixels[[8, 26, 44], at, 0] == [255, 0, gray]).all()


def test_an_input_that_is_the_target_is_drawn_once(tmp_path: Path) -> None:
    run(ReconstructionPreview(invert, torch.nn.Identity(), items(1), tmp_path, tile_size=8))
    pixels = np.array(Image.open(tmp_path / "preview_epoch=1.png"))[:, -8:]
    assert pixels.shape == (8 + 2 + 8, 8, 3)
    assert (pixels[[4, 14], 4, 0] == [0, 255]).all()


def test_a_volume_shows_its_middle_slice_and_the_network_learns_nothing(tmp_path: Path) -> None:
    volume = items(1, (8, 8, 5))
    volume[0]["image"][..., 2] = 1.0
    network = torch.nn.Conv3d(1, 1, 1)
    outputs: list[torch.Tensor] = []

    def inferer(inputs: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        outputs.append(network(inputs))
        return outputs[-1]

    run(ReconstructionPreview(inferer, network, volume, tmp_path, tile_size=8))
    assert not outputs[0].requires_grad
    assert (np.array(Image.open(tmp_path / "preview_epoch=1.png"))[:8, -8:] == 255).all()


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="need 'mask', but hold"):
        run(ReconstructionPreview(invert, torch.nn.Identity(), items(1), tmp_path, input_key="mask"))

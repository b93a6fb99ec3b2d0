from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from PIL import Image

from monai_segdiff.files import claim_folder
from monai_segdiff.handlers import SamplePreview, class_color


def items(number: int, shape: tuple[int, ...] = (16, 16)) -> list[dict[str, torch.Tensor]]:
    """Item i is filled with label i + 1; its image is white."""
    return [
        {
            "image": MetaTensor(torch.ones(1, *shape)),
            "label": torch.full((2, *shape), float(i)),
            "label_map": torch.full((1, *shape), i + 1),
            "other": torch.zeros(1),
        }
        for i in range(number)
    ]


class EchoInferer:
    """Returns the network's output for the first channel of the condition, and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **arguments: Any) -> torch.Tensor:
        self.calls.append(arguments)
        return arguments["network"](arguments["inputs"][:, :1])


def run(preview: SamplePreview, epochs: int) -> None:
    engine = Engine(lambda *_: None)
    engine.state.device = torch.device("cpu")
    preview.attach(engine)
    engine.run([0], max_epochs=epochs)


def tiles_of(file: Path, width: int) -> np.ndarray:
    """The tiles of a picture, right of the names of its rows."""
    pixels = np.array(Image.open(file))
    names = pixels[:, : pixels.shape[1] - width]
    assert (names < 100).all(2).any(), "rows are named"
    return pixels[:, pixels.shape[1] - width :]


def test_picture_has_mask_generated_and_real_in_rows(tmp_path: Path) -> None:
    inferer = EchoInferer()
    network = torch.nn.Hardtanh()  # item 0 becomes gray (0), the others white (1)
    run(SamplePreview(inferer, network, items(6), tmp_path, interval=2, num_samples=3, tile_size=64), epochs=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preview_epoch=2.png", "preview_epoch=4.png"]
    pixels = tiles_of(tmp_path / "preview_epoch=4.png", 3 * 64 + 4)
    assert pixels.shape == (3 * 64 + 4, 3 * 64 + 4, 3)
    for column, item in enumerate([0, 2, 4]):  # evenly spaced
        at = 66 * column + 32
        assert tuple(pixels[32, at]) == class_color(item + 1)
        assert (pixels[66 + 32, at] == (128 if item == 0 else 255)).all()
        assert (pixels[132 + 32, at] == 255).all()


def test_one_run_at_a_time_draws_into_a_folder(tmp_path: Path) -> None:
    leftover = tmp_path / ".tmp-0123456789abcdef-preview_epoch=1.png"
    leftover.touch()
    with (
        claim_folder(tmp_path.parent / "other") as other,
        pytest.raises(FileExistsError, match="another run is writing to"),
    ):
        run(SamplePreview(EchoInferer(), torch.nn.Identity(), items(1), other), epochs=1)
    engine = Engine(lambda *_: None)
    engine.state.device = torch.device("cpu")
    for interval in (1, 2):  # two handlers of one run share it
        SamplePreview(EchoInferer(), torch.nn.Identity(), items(1), tmp_path, interval=interval).attach(engine)
    engine.run([0], max_epochs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preview_epoch=1.png", "preview_epoch=2.png"]


def test_masks_and_noise_are_the_same_each_time(tmp_path: Path) -> None:
    inferer = EchoInferer()
    run(SamplePreview(inferer, torch.nn.Identity(), items(3), tmp_path, num_samples=8), epochs=2)
    assert [call["indices"] for call in inferer.calls] == [[0, 1, 2], [0, 1, 2]]
    assert torch.equal(inferer.calls[0]["inputs"], inferer.calls[1]["inputs"])
    assert type(inferer.calls[0]["inputs"]) is torch.Tensor


def test_volume_shows_one_slice_and_real_row_can_be_left_out(tmp_path: Path) -> None:
    preview = SamplePreview(
        EchoInferer(), torch.nn.Identity(), items(2, (8, 8, 5)), tmp_path, tile_size=8, show_real=False
    )
    run(preview, epochs=1)
    assert tiles_of(tmp_path / "preview_epoch=1.png", 8 + 2 + 8).shape == (8 + 2 + 8, 8 + 2 + 8, 3)


def test_images_are_drawn_in_the_networks_range(tmp_path: Path) -> None:
    gray = [{**item, "image": 0.2 * item["image"]} for item in items(1)]
    preview = SamplePreview(EchoInferer(), torch.nn.Identity(), gray, tmp_path, tile_size=16, image_range=(0.0, 1.0))
    run(preview, epochs=1)
    pixels = tiles_of(tmp_path / "preview_epoch=1.png", 16)
    assert (pixels[18 + 8, 8] == 0).all(), "the network gave 0: black"
    assert (pixels[36 + 8, 8] == 51).all(), "the real image is 0.2"


def test_writer_gets_the_picture(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "events")) as writer:
        run(SamplePreview(EchoInferer(), torch.nn.Identity(), items(1), tmp_path, summary_writer=writer), epochs=2)
    events = EventAccumulator(str(tmp_path / "events")).Reload().Images("preview")
    assert [event.step for event in events] == [1, 2]
    assert (events[0].height, events[0].width) == np.array(Image.open(tmp_path / "preview_epoch=1.png")).shape[:2]


def test_missing_key_and_empty_data_set_are_explained(tmp_path: Path) -> None:
    without = [{key: value for key, value in items(1)[0].items() if key != "label_map"}]
    with pytest.raises(KeyError, match="need 'label_map'"):
        run(SamplePreview(EchoInferer(), torch.nn.Identity(), without, tmp_path), epochs=1)
    with pytest.raises(ValueError, match="empty"):
        run(SamplePreview(EchoInferer(), torch.nn.Identity(), [], tmp_path), epochs=1)

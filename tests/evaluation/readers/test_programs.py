"""Networks that users bring."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.evaluation.readers.programs import load_program


class Pool(torch.nn.Module):
    """Means over the halves of an 8x8 image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


@pytest.fixture(params=["pool.ts", "pool.pt2"])
def program(request, tmp_path):
    module, example = Pool(), torch.zeros(2, 1, 8, 8)
    file = tmp_path / request.param
    if file.suffix == ".pt2":
        batch = torch.export.Dim("batch", min=1, max=64)
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=({0: batch},)), file)
    else:
        torch.jit.trace(module, example).save(str(file))
    return module, load_program(file)


def test_gives_what_the_module_gives(program):
    module, loaded = program
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loaded(images), module(images), atol=1e-6)


def test_wrong_input_shape_is_explained(program):
    _, loaded = program
    with pytest.raises(ValueError, match=r"pool\.\w+ does not accept images of shape \(2, 1, 9, 9\)"):
        loaded(torch.zeros(2, 1, 9, 9))


def test_output_without_a_row_per_image_is_refused(tmp_path):
    torch.jit.trace(lambda x: x.mean(), torch.zeros(1, 1, 4, 4)).save(str(tmp_path / "mean.pt"))
    with pytest.raises(ValueError, match="one row per image"):
        load_program(tmp_path / "mean.pt")(torch.zeros(3, 1, 4, 4))


def test_a_message_says_what_is_expected(tmp_path):
    convolution = torch.nn.Conv2d(3, 4, 3)
    program = load_program(convolution)
    assert program.name == "Conv2d"
    with pytest.raises(ValueError, match=r"Conv2d does not accept .*it expects 2D images of 3 channels"):
        program(torch.zeros(2, 1, 8, 8))
    torch.jit.trace(convolution, torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "rgb.pt"))
    with pytest.raises(ValueError, match=r"rgb\.pt does not accept .*it expects 2D images of 3 channels"):
        load_program(tmp_path / "rgb.pt")(torch.zeros(2, 1, 8, 8))
    torch.export.save(torch.export.export(Pool(), (torch.zeros(2, 1, 8, 8),)), tmp_path / "fixed.pt2")
    with pytest.raises(ValueError, match=r"fixed\.pt2 does not accept .*it expects images of shape \(2, 1, 8, 8\)"):
        load_program(tmp_path / "fixed.pt2")(torch.zeros(3, 1, 8, 8))


def test_a_file_that_is_no_network(tmp_path):
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.pt is neither a TorchScript file nor a program"):
        load_program(tmp_path / "text.pt")
    with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist"):
        load_program(tmp_path / "none.pt")

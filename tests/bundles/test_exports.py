"""MONAI's exports of a trained bundle: the network alone, as a function of one tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_segdiff.generation import load_generator
from monai_segdiff.networks import OneTensorNetwork


def options(bundle: Any, file: Path) -> dict[str, Any]:
    configuration = {"config_file": bundle.config("inference.yaml"), "bundle_root": str(bundle.root)}
    return {**configuration, "filepath": str(file), "ckpt_file": str(bundle.weights), "use_trace": True}


def given(number: int) -> torch.Tensor:
    """Noisy image, six classes with their known flags, timesteps."""
    return torch.randn(number, 14, 16, 16, generator=torch.Generator().manual_seed(number))


def expected(bundle: Any, tensor: torch.Tensor) -> torch.Tensor:
    network = OneTensorNetwork(load_generator(bundle.root).network.cpu().eval(), (16, 16))
    with torch.no_grad():
        return network(tensor)


@pytest.mark.slow
def test_torchscript_of_the_network_is_the_network(trained_bundle: Any, tmp_path: Path) -> None:
    from monai.bundle import ckpt_export

    ckpt_export("export_def", **options(trained_bundle, tmp_path / "network.ts"), input_shape=[1, 14, 16, 16])
    exported = torch.jit.load(tmp_path / "network.ts")
    for number in (1, 3):
        torch.testing.assert_close(exported(given(number)), expected(trained_bundle, given(number)), atol=1e-5, rtol=0)


def test_the_shape_of_the_metadata_is_answered_with_the_right_one(trained_bundle: Any, tmp_path: Path) -> None:
    from monai.bundle import ckpt_export

    with pytest.raises(ValueError, match=r'give --input_shape "\[1,14,16,16\]"'):
        ckpt_export("export_def", **options(trained_bundle, tmp_path / "network.ts"))


@pytest.mark.slow
def test_onnx_of_the_network_is_the_network(trained_bundle: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnx and onnxscript, the extra `onnx`, are not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from monai.bundle import onnx_export

    onnx_export("export_def", **options(trained_bundle, tmp_path / "network.onnx"), input_shape=[2, 14, 16, 16])
    session = runtime.InferenceSession(str(tmp_path / "network.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: given(2).numpy()})
    np.testing.assert_allclose(found, expected(trained_bundle, given(2)).numpy(), atol=1e-4)

from __future__ import annotations

import pytest
import torch

from monai_segdiff.inferers import AutocastInferer, fast_autocast_dtype


@pytest.mark.parametrize(
    ("name", "inside"), [(None, torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_network_runs_in_the_type_and_the_result_is_float32_with_a_gradient(name, inside):
    network, x = torch.nn.Linear(4, 2), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    output = AutocastInferer(name)(x, network)
    assert seen == [inside]
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, network(x), atol=0.05, rtol=0)
    output.sum().backward()
    assert network.weight.grad is not None


def test_unknown_types_are_refused():
    with pytest.raises(ValueError, match="float64"):
        AutocastInferer("float64")


def test_bfloat16_is_taken_where_the_device_computes_in_it(monkeypatch):
    for supported, expected in ((True, "bfloat16"), (False, None)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda supported=supported: supported)
        assert fast_autocast_dtype("cuda") == expected
        assert fast_autocast_dtype(torch.device("cpu")) == expected
    assert fast_autocast_dtype("meta") is None

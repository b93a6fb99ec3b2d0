from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from monai.transforms import Compose, ScaleIntensityRanged

from monai_segdiff.inferers import ImageStart, SamplingInferer

from .oracles import GaussianNetwork, edm


def test_the_stock_evaluator_runs_it_like_any_inferer():
    items = [{"image": torch.full((1, 8, 8), value), "label": torch.zeros(1, 8, 8)} for value in (-1.0, 0.0, 1.0)]
    network = GaussianNetwork([0.5], std=0.01)
    network.train()
    inferer = SamplingInferer(edm(), num_steps=12)
    outputs = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        inferer=inferer,
        postprocessing=Compose([ScaleIntensityRanged("pred", -1, 1, 0, 1)]),
    )
    evaluator.add_event_handler(
        "ITERATION_COMPLETED", lambda engine: outputs.extend(from_engine("pred")(engine.state.output))
    )
    evaluator.run()
    assert [float(image.mean()) for image in outputs] == pytest.approx([0.25, 0.5, 0.75], abs=0.01)
    assert inferer.next_index == 3
    assert network.training


def test_a_prepare_batch_can_hand_over_indices_and_a_start():
    images = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    items = [{"image": image, "index": index} for index, image in enumerate(images)]

    def prepare_batch(batch, device, non_blocking, **kwargs):
        return (
            torch.zeros(2, 1, 8, 8),
            batch["image"],
            (batch["index"],),
            {"start": ImageStart(batch["image"], sigma=1e-5)},
        )

    outputs = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=GaussianNetwork([0.5]),
        inferer=SamplingInferer(edm(1e-6), num_steps=3),
        prepare_batch=prepare_batch,
    )
    evaluator.add_event_handler(
        "ITERATION_COMPLETED", lambda engine: outputs.extend(from_engine("pred")(engine.state.output))
    )
    evaluator.run()
    torch.testing.assert_close(torch.stack(outputs), images, atol=1e-4, rtol=0)

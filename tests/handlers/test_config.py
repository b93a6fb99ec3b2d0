from __future__ import annotations

from pathlib import Path

import torch
from monai.bundle import ConfigParser

CONFIG = {
    "network": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1, "bias": False},
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.1},
    "lr_scheduler": {
        "_target_": "torch.optim.lr_scheduler.LinearLR",
        "optimizer": "@optimizer",
        "start_factor": 0.5,
        "total_iters": 2,
    },
    "ema": "@train#handlers#1",
    "train": {
        "dataloader": {
            "_target_": "torch.utils.data.DataLoader",
            "dataset": "$[(__import__('torch').ones(2), __import__('torch').zeros(1))] * 4",
        },
        "handlers": [
            {
                "_target_": "monai_segdiff.handlers.ResumeCheckpoint",
                "directory": "@folder",
                "objects": {
                    "network": "@network",
                    "ema": "@ema",
                    "optimizer": "@optimizer",
                    "lr_scheduler": "@lr_scheduler",
                },
            },
            {
                "_target_": "monai_segdiff.handlers.ExponentialMovingAverage",
                "network": "@network",
                "relative_window": 1.0,
            },
            {"_target_": "monai_segdiff.handlers.ReproducibleRun", "seed": 0, "loader": "@train#dataloader"},
            {
                "_target_": "monai.handlers.LrScheduleHandler",
                "lr_scheduler": "@lr_scheduler",
                "print_lr": False,
                "epoch_level": False,
            },
            {"_target_": "monai_segdiff.handlers.GradientClipping", "max_norm": 1.0},
            {"_target_": "monai_segdiff.handlers.StopOnNonFiniteLoss"},
            {
                "_target_": "monai_segdiff.handlers.ExportWeights",
                "network": "$@ema.network",
                "path": "$@folder + '/models/model.pt'",
            },
        ],
        "trainer": {
            "_target_": "monai.engines.SupervisedTrainer",
            "device": "cpu",
            "max_epochs": 1,
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "optimizer": "@optimizer",
            "loss_function": {"_target_": "torch.nn.MSELoss"},
            "train_handlers": "@train#handlers",
        },
    },
}


def test_handlers_are_configured_like_any_monai_component(tmp_path: Path) -> None:
    parser = ConfigParser({**CONFIG, "folder": str(tmp_path)})
    parser.get_parsed_content("train#trainer").run()
    exported = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    saved = torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)
    assert torch.equal(exported["weight"], saved["ema"]["weight"])
    assert not torch.equal(exported["weight"], saved["network"]["weight"])
    assert torch.equal(saved["network"]["weight"], parser.get_parsed_content("network").weight)
    assert saved["lr_scheduler"]["last_epoch"] == 4

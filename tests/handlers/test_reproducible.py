from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from toy_training import build_training, discs

from monai_segdiff.data.seeded import EpochSampler
from monai_segdiff.diffusion import EDM, mix_seed
from monai_segdiff.engines import SegDiffusionPrepareBatch
from monai_segdiff.handlers import ReproducibleRun


def record_draws(seed: int, epochs: int, same_every_run: bool = False) -> list[torch.Tensor]:
    """The random numbers that the iterations of a run see, and the first image of each batch."""
    loader = torch.utils.data.DataLoader(discs(4), batch_size=2, sampler=EpochSampler(4))
    seen: list[torch.Tensor] = []
    engine = Engine(lambda _, batch: seen.append(torch.cat([torch.rand(3), batch["image"][0].flatten()])))
    ReproducibleRun(seed, loader, same_every_run).attach(engine)
    engine.run(loader, max_epochs=epochs)
    return seen


def test_draws_depend_on_seed_and_iteration_only() -> None:
    torch.manual_seed(1)
    first = record_draws(0, 2)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, record_draws(0, 2), strict=True))
    assert len({tuple(draws[:3].tolist()) for draws in first}) == 4
    assert not torch.equal(first[0][:3], record_draws(1, 1)[0][:3])


def test_epoch_reaches_sampler_and_data_set() -> None:
    draws = record_draws(0, 2)
    assert not torch.equal(draws[0][3:], draws[2][3:])


def test_same_every_run_leaves_the_epoch_out() -> None:
    draws = record_draws(0, 2, same_every_run=True)
    assert torch.equal(draws[0][3:], draws[2][3:])


def test_generator_is_put_back_at_the_end() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    record_draws(0, 1)
    assert torch.equal(torch.rand(4), expected)


def test_ranks_draw_different_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    first = record_draws(0, 1)
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    assert not torch.equal(first[0][:3], record_draws(0, 1)[0][:3])


def test_validation_does_not_disturb_training(tmp_path: Path) -> None:
    runs = [build_training(tmp_path / str(validate), 3, validate=validate) for validate in (True, False)]
    for run in runs:
        run.trainer.run()
    assert runs[0].evaluator.state.metrics["loss"] > 0
    assert torch.equal(runs[0].network.first.weight, runs[1].network.first.weight)


def test_validation_loss_is_comparable_from_epoch_to_epoch(tmp_path: Path) -> None:
    training = build_training(tmp_path, 1)
    losses = []
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        training.evaluator.run(epoch)
        losses.append(training.evaluator.state.metrics["loss"])
    assert losses[0] == losses[1]


def test_validation_loss_is_the_mean_squared_error_of_seeded_draws(tmp_path: Path) -> None:
    training = build_training(tmp_path, 1)
    training.evaluator.run()
    errors = []
    for iteration, batch in enumerate(training.evaluator.data_loader, start=1):
        torch.manual_seed(mix_seed(1, 0, iteration))
        x, target, (timesteps,), keywords = SegDiffusionPrepareBatch(EDM())(batch)
        with torch.no_grad():
            errors.append((training.ema.network(x, timesteps, **keywords) - target) ** 2)
    assert training.evaluator.state.metrics["loss"] == pytest.approx(torch.cat(errors).mean().item(), rel=1e-6)


def test_epoch_must_be_one_pass_over_the_loader() -> None:
    loader = torch.utils.data.DataLoader(discs(4), batch_size=2)
    engine = Engine(lambda *_: None)
    ReproducibleRun(0, loader).attach(engine)
    with pytest.raises(ValueError, match="an epoch is 5 iterations but the loader yields 2 batches"):
        engine.run(loader, epoch_length=5)


def test_workers_that_never_see_the_epoch_are_refused() -> None:
    loader = torch.utils.data.DataLoader(discs(4), num_workers=1, persistent_workers=True)
    engine = Engine(lambda *_: None)
    ReproducibleRun(0, loader).attach(engine)
    with pytest.raises(ValueError, match="persistent_workers=False"):
        engine.run(loader)


def test_workers_may_stay_where_the_epoch_comes_with_the_index() -> None:
    def images(persistent: bool) -> list[torch.Tensor]:
        loader = torch.utils.data.DataLoader(
            discs(4), batch_size=2, sampler=EpochSampler(4), num_workers=1, persistent_workers=persistent
        )
        seen: list[torch.Tensor] = []
        engine = Engine(lambda _, batch: seen.append(batch["image"]))
        ReproducibleRun(0, loader).attach(engine)
        engine.run(loader, max_epochs=2)
        return seen

    assert all(torch.equal(a, b) for a, b in zip(images(True), images(False), strict=True))

"""Progress of a training as a count of images, over all processes."""

from __future__ import annotations

import ignite.distributed as idist
from ignite.engine import Engine

__all__ = ["images_per_epoch", "images_seen"]


def images_per_epoch(engine: Engine) -> int:
    """Images that all processes see in an epoch.

    Args:
        engine: a trainer that has started, with a ``torch.utils.data.DataLoader``. Batches of any other count as an
            image each.
    """
    loader = engine.data_loader
    full_batches = engine.state.epoch_length * _batch_size(engine)
    if not hasattr(loader, "sampler"):
        return full_batches * idist.get_world_size()
    of_one = full_batches if loader.drop_last else min(full_batches, len(loader.sampler))
    return of_one * idist.get_world_size()


def images_seen(engine: Engine) -> int:
    """Images that all processes have seen by now, as the iterations say; the last batch of an epoch may be smaller.

    Args:
        engine: as for :func:`images_per_epoch`.
    """
    epochs, within = divmod(engine.state.iteration, engine.state.epoch_length)
    images = within * _batch_size(engine) * idist.get_world_size()
    return epochs * images_per_epoch(engine) + images


def _batch_size(engine: Engine) -> int:
    return getattr(engine.data_loader, "batch_size", None) or 1

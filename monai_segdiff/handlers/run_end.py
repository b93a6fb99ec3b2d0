"""What is done when a run ends, however it does; and folders that one run at a time writes to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_segdiff.files import claim_folder

__all__ = ["at_end", "claim_for_run"]

_ATTRIBUTE = "_segdiff_at_end"


def at_end(engine: Engine, function: Callable[[], object]) -> None:
    """Call a function when the run of an engine that is on ends: completed, terminated, or by an error.

    Ignite leaves it to the handlers of an error to raise it again, and the first that does so keeps the others from
    being called. So all that is to be done goes through this one.

    Args:
        engine: the engine.
        function: called once, without arguments.
    """
    stack: ExitStack | None = getattr(engine, _ATTRIBUTE, None)
    if stack is None:
        stack = ExitStack()
        setattr(engine, _ATTRIBUTE, stack)
        engine.add_event_handler(Events.EXCEPTION_RAISED, _fail)
    for event in (Events.COMPLETED, Events.TERMINATE):
        if engine.has_event_handler(_end, event):
            engine.remove_event_handler(_end, event)
        engine.add_event_handler(event, _end)  # after what writes to a folder at the end
    stack.callback(function)


def claim_for_run(engine: Engine, folder: str | Path) -> None:
    """Keep other runs from writing to a folder until the run of this engine ends, and clear what killed ones have left.

    In a parallel run rank 0 holds it. Handlers of one engine may share a folder.

    Args:
        engine: the engine, as it starts.
        folder: the folder; created if need be.

    Raises:
        FileExistsError: if another run is writing to it.
        OSError: if it cannot be made.
    """
    if idist.get_rank() != 0:
        return
    held: set[Path] = engine.__dict__.setdefault("_segdiff_folders", set())
    place = Path(folder).resolve()
    if place in held:
        return
    stack = ExitStack()
    stack.enter_context(claim_folder(folder))
    held.add(place)
    stack.callback(held.discard, place)
    at_end(engine, stack.close)


def _end(engine: Engine) -> None:
    getattr(engine, _ATTRIBUTE).close()


def _fail(engine: Engine, error: BaseException) -> None:
    _end(engine)
    raise error

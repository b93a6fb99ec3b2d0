"""Tasks that end with their server, and of which two of a kind do not work at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.tasks.task_process import end_with, in_task, one_at_a_time


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["plain", "in background"])
def test_a_process_ends_with_its_parent(ignored: bool) -> None:
    alive, held = os.pipe()  # open for as long as the child is there
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
            try:
                end_with(os.getppid())
                os.write(held, b"x")
                time.sleep(3600)
            finally:
                os._exit(0)
        time.sleep(3600)
        os._exit(0)
    os.close(held)
    assert os.read(alive, 1) == b"x"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    began = time.monotonic()
    assert os.read(alive, 1) == b""
    assert time.monotonic() - began < 900
    os.close(alive)


def test_the_second_of_a_kind_is_refused(tmp_path: Path) -> None:
    assert not in_task()
    with one_at_a_time(tmp_path, "training"):
        second = one_at_a_time(tmp_path, "training")
        with pytest.raises(RequestError, match="another training is running") as refused, second:
            pass
        assert refused.value.status == 429
        with one_at_a_time(tmp_path, "batch"):
            pass
    with one_at_a_time(tmp_path, "training"):
        pass

from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.handlers import atomic_write


def test_file_appears_complete_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_write(target) as file:
        file.write(b"half")
        assert not target.exists()
        file.write(b"whole")
    assert target.read_bytes() == b"halfwhole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def write_and_fail() -> None:
        with atomic_write(target) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)):
        write_and_fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_failed_write_names_file_and_remedy(tmp_path: Path) -> None:
    expected = pytest.raises(OSError, match=r"cannot write .*file\.bin.*No space left on device.*free space")
    with expected, atomic_write(tmp_path / "file.bin"):
        raise OSError(28, "No space left on device")


def test_leftover_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file.bin.tmp").write_bytes(b"a longer leftover than what comes now")
    with atomic_write(tmp_path / "file.bin") as file:
        file.write(b"new")
    assert (tmp_path / "file.bin").read_bytes() == b"new"
    assert not (tmp_path / "file.bin.tmp").exists()

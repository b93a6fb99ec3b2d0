from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.files import atomic_file, remove_leftovers, safe_name


def test_file_appears_complete_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.suffix == target.suffix
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def write_and_fail() -> None:
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"new")
            raise error

    with pytest.raises(type(error)):
        write_and_fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("No space left on device\nand a stack of C++ lines")]
)
def test_failed_write_names_file_and_remedy(tmp_path: Path, error: Exception) -> None:
    expected = pytest.raises(OSError, match=r"cannot write .*file\.bin: .*No space left on device; .*free some space")
    with expected, atomic_file(tmp_path / "file.bin"):
        raise error


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".tmp-1-file.bin").write_bytes(b"torn")
    (tmp_path / "kept.bin").write_bytes(b"kept")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept.bin"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a b/c", "a_b_c"), ("1.2+3-4_x", "1.2+3-4_x"), ("../up", "up"), ("..", "none"), ("Größe", "Gr__e")],
)
def test_a_name_is_no_path_and_never_empty(name, expected):
    assert safe_name(name, "none") == expected

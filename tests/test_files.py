from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff import files
from monai_segdiff.files import atomic_file, atomic_folder, claim_folder, inside, names_in, remove_leftovers, safe_name

HOLDS = """
import sys
from pathlib import Path
from monai_segdiff import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as path:
    if path.is_dir():
        (path / "begun").write_text("by another run")
    print(path, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_run(what: str, path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that is within the block of `atomic_file`, `atomic_folder` or `claim_folder`."""
    command = [sys.executable, "-c", HOLDS, what, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, Path(os.fsdecode(process.stdout.readline().strip()))
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def enter(context: Any) -> None:
    with context:
        pytest.fail("the block must not be entered")


def test_file_appears_complete_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.suffix == target.suffix
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_file(tmp_path / "file"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


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


def test_a_file_that_was_read_in_the_block_is_not_taken_for_the_one_that_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.bin") as caught, atomic_file(tmp_path / "file.bin") as target:
        target.write_bytes((tmp_path / "source.bin").read_bytes())
    assert "file.bin" not in str(caught.value)


def test_a_name_that_is_too_long_is_told_from_a_full_disk(tmp_path: Path) -> None:
    with atomic_file(tmp_path / ("x" * 250)) as temporary:
        temporary.write_bytes(b"just fits")
    with pytest.raises(OSError, match="give it a shorter name") as caught:
        enter(atomic_file(tmp_path / ("x" * 300) / "file"))
    assert caught.value.errno == errno.ENAMETOOLONG


def test_names_and_bytes_are_on_the_disk_when_a_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    with atomic_file(tmp_path / "new" / "file.bin") as temporary:
        pass
    folder = os.path.realpath(tmp_path)
    assert synced == [folder, f"{folder}/new/{temporary.name}", f"{folder}/new"]
    synced.clear()
    with atomic_folder(tmp_path / "data") as filled, atomic_file(filled / "part" / "file.bin"):
        pass
    inner = f"{folder}/{filled.name}"
    # the new folder's name as it is made; the rest once, before and after all of it has its name; threads have no order
    assert (synced[0], synced[-1]) == (inner, folder)
    assert sorted(synced[1:-1]) == sorted([inner, f"{inner}/part/file.bin", f"{inner}/part"])


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "data") as temporary:
        (temporary / "a").write_text("whole")
        assert not (tmp_path / "data").exists()
    assert names(tmp_path) == ["data", "data/a"]
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "other") as temporary:
        (temporary / "missing" / "a").write_text("half")
    assert names(tmp_path) == ["data", "data/a"]


def test_what_killed_runs_have_left_of_a_folder_is_removed_and_of_others_not(tmp_path: Path) -> None:
    for name in (".tmp-4711-data", ".tmp-0123456789abcdef-data", ".tmp-4711-data-2", ".tmp-4711-da"):
        (tmp_path / name / "imagesTr").mkdir(parents=True)
    (tmp_path / ".tmp-notes").mkdir()
    with atomic_folder(tmp_path / "data"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".tmp-4711-da",
        ".tmp-4711-data-2",
        ".tmp-notes",
        "data",
    ]


def test_a_folder_that_another_run_fills_stays_until_that_run_is_gone(tmp_path: Path) -> None:
    with another_run("atomic_folder", tmp_path / "data") as (process, theirs):
        with atomic_folder(tmp_path / "data"):
            assert (theirs / "begun").is_file()
        remove_leftovers(tmp_path)
        assert (theirs / "begun").is_file()
        process.send_signal(signal.SIGKILL)
        process.wait()
        remove_leftovers(tmp_path)
    assert names(tmp_path) == ["data"]


def test_a_file_that_another_run_writes_stays_until_that_run_is_gone(tmp_path: Path) -> None:
    with another_run("atomic_file", tmp_path / "deep" / "file.bin") as (process, theirs):
        with claim_folder(tmp_path):
            assert theirs.is_file()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with claim_folder(tmp_path):
            assert names(tmp_path) == ["deep"]


@pytest.mark.parametrize("what", [atomic_file, atomic_folder])
def test_what_another_run_took_for_a_leftover_before_it_was_locked_is_made_anew(
    what: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run removes what was just made, or holds its lock to do so."""
    lock, seen = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        if len(seen) == 1:
            remove = os.rmdir if seen[0].is_dir() else os.unlink
            remove(seen[0])
        if len(seen) == 2:
            raise BlockingIOError(errno.EWOULDBLOCK, "held")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with what(tmp_path / "data") as temporary:
        assert temporary.exists()
        assert temporary == seen[2]
    assert len(set(seen)) == 3
    assert names(tmp_path) == ["data"]


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".tmp-1-file.bin").write_bytes(b"torn")
    (tmp_path / "deep" / ".tmp-0123456789abcdef-file.bin").write_bytes(b"torn")
    (tmp_path / "kept.bin").write_bytes(b"kept")
    (tmp_path / ".tmp-4711-study").mkdir()
    (tmp_path / ".tmp-4711-study" / "slice.dcm").touch()
    (tmp_path / ".tmp-mine").touch()
    (tmp_path / ".tmp-my-notes").touch()
    (tmp_path / ".tmp-1-link").symlink_to(tmp_path / "kept.bin")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".tmp-mine", ".tmp-my-notes", "deep", "kept.bin"]


def test_what_killed_runs_have_left_does_not_fill_a_folder(tmp_path: Path) -> None:
    assert names_in(tmp_path / "none") == []
    for name in ("b", "a", ".hidden", ".tmp-4711-data", ".tmp-0123456789abcdef-data"):
        (tmp_path / name).touch()
    assert names_in(tmp_path) == [".hidden", "a", "b"]


@pytest.mark.parametrize(("depth", "left"), [(0, ["a", "a/b"]), (1, ["a/b"]), (2, []), (None, [])])
def test_leftovers_are_removed_as_deep_as_wanted(depth: int | None, left: list[str], tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        folder.mkdir(exist_ok=True)
        (folder / ".tmp-1-x").touch()
    remove_leftovers(tmp_path, depth)
    assert [path.parent.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob(".tmp*"))] == left


def test_leftovers_beyond_a_link_are_not_of_this_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".tmp-1-file.bin").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    remove_leftovers(tmp_path / "here")
    assert (tmp_path / "elsewhere" / ".tmp-1-file.bin").is_file()


def test_a_folder_is_of_one_run_at_a_time(tmp_path: Path) -> None:
    with another_run("claim_folder", tmp_path / "new" / "out") as (process, folder):
        with pytest.raises(FileExistsError, match=r"another run is writing to .*new/out: wait for it, or choose"):
            enter(claim_folder(folder))
        with claim_folder(folder.parent), claim_folder(tmp_path / "other"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with claim_folder(folder):
            assert names(folder) == ["begun"], "a lock leaves nothing behind"
            with pytest.raises(FileExistsError, match="another run"):
                enter(claim_folder(folder))
        with claim_folder(folder):
            pass


def test_a_worker_that_outlives_its_run_does_not_hold_the_folder(tmp_path: Path) -> None:
    (begun, begins), (ended, ends) = os.pipe(), os.pipe()
    with claim_folder(tmp_path):
        worker = os.fork()
        if worker == 0:  # a worker of a data loader
            os.close(ends)
            os.write(begins, b"x")
            os.read(ended, 1)
            os._exit(0)
        os.read(begun, 1)
        with pytest.raises(FileExistsError, match="another run"):
            enter(claim_folder(tmp_path))
    with claim_folder(tmp_path):
        os.close(ends)
        assert os.waitpid(worker, 0)[1] == 0


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / "out").rmdir()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with claim_folder(tmp_path / "out") as folder:
        assert folder.is_dir()
        with pytest.raises(FileExistsError, match="another run"):
            enter(claim_folder(folder))


def test_a_block_that_fails_leaves_no_empty_folder_and_what_was_there(tmp_path: Path) -> None:
    def fail(folder: Path, *files: str) -> None:
        with claim_folder(folder):
            for file in files:
                (folder / file).touch()
            raise KeyError

    (tmp_path / "old").mkdir()
    for folder, made in (("old", ()), ("empty", ()), ("begun", ("file",))):
        with pytest.raises(KeyError):
            fail(tmp_path / folder, *made)
    assert names(tmp_path) == ["begun", "begun/file", "old"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot make the folder .*file/out: Not a directory; a file is in the way"):
        enter(claim_folder(tmp_path / "file" / "out"))


@pytest.mark.parametrize("locks", ["none on this file system", "none on this system"])
def test_without_locks_everything_is_written_and_nothing_is_cleared(
    locks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if locks == "none on this system":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".tmp-1-data").mkdir()
    with claim_folder(tmp_path), atomic_folder(tmp_path / "data") as folder, atomic_file(folder / "file.bin"):
        pass
    assert names(tmp_path) == [".tmp-1-data", "data", "data/file.bin"], "it may be what another run is writing"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "link/x", "file-link", "..", "", ".", "a/..", "\0"])
def test_a_path_that_leaves_its_folder_is_refused(path: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    (root / "file-link").symlink_to(tmp_path / "x")
    with pytest.raises(ValueError, match=r"is no path inside .*root, which nothing may leave") as caught:
        inside(root, path)
    assert repr(path) in str(caught.value)


def test_a_link_to_itself_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match="'loop' is no path inside"):
        inside(tmp_path, "loop")


def test_a_path_inside_its_folder_is_given_as_the_folder_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert inside("root", "imagesTr/new.nii.gz") == Path("root/imagesTr/new.nii.gz")
    assert inside(tmp_path, tmp_path / "a") == tmp_path / "a"
    (tmp_path / "root").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    assert inside("alias", "a..b") == Path("alias/a..b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a b/c", "a_b_c"),
        ("1.2+3-4_x", "1.2+3-4_x"),
        ("../up", "up"),
        ("..", "none"),
        ("", "none"),
        ("Größe", "Gr__e"),
        ("a\0b\nc", "a_b_c"),
        ("-rf", "rf"),
    ],
)
def test_a_name_is_no_path_and_never_empty(name, expected):
    assert safe_name(name, "none") == expected


def test_a_long_name_is_cut_and_stays_apart_from_others():
    names = {safe_name("x" * 500 + end, "none") for end in ("", "y", "z")}
    assert len(names) == 3
    assert {len(name) for name in names} == {120}
    assert safe_name("x" * 120, "none") == "x" * 120

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from monai_segdiff.data import make_ct_phantoms, write_dataset
from monai_segdiff.digests import DIGESTS, digest_of, digests_of, read_digests, write_digests

ODD = ["plain.txt", "with blanks.txt", "back\\slash", "line\nbreak", "return\r", "sub/über.txt", "-dash"]


def folder(root: Path) -> Path:
    for name in ODD:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(name)
    return root


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert digest_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_folder_stands_for_all_that_it_holds(tmp_path: Path) -> None:
    root = folder(tmp_path)
    found = digests_of(root, [root])
    assert set(found) == set(ODD)
    assert found["sub/über.txt"] == digest_of(root / "sub" / "über.txt")
    assert digests_of(root, ["sub", root / "plain.txt"]).keys() == {"sub/über.txt", "plain.txt"}


def test_what_is_written_is_read_whatever_the_names(tmp_path: Path) -> None:
    found = digests_of(folder(tmp_path), [tmp_path])
    write_digests(tmp_path, found)
    assert read_digests(tmp_path) == found


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs the program sha256sum")
def test_the_usual_program_reads_the_list(tmp_path: Path) -> None:
    write_digests(tmp_path, digests_of(folder(tmp_path), [tmp_path]))
    command = ["sha256sum", "-c", "--strict", DIGESTS]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "line\nbreak").write_text("another")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0" * 63 + "  a", "line 2 is no SHA-256 with a name"),
        ("0" * 64 + "  ../a", "line 2 names '../a', which lies outside"),
        ("0" * 64 + "  /a", "line 2 names '/a', which lies outside"),
        ("0" * 64 + "  plain.txt", "line 2 names 'plain.txt' again"),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / DIGESTS).write_text(f"{'1' * 64}  plain.txt\n{line}\n")
    with pytest.raises(ValueError, match=f"{DIGESTS}: {message}"):
        read_digests(tmp_path)


def test_a_list_that_an_editor_of_windows_saved_is_read(tmp_path: Path) -> None:
    (tmp_path / DIGESTS).write_bytes(f"{'1' * 64} *plain.txt\r\n".encode())
    assert read_digests(tmp_path) == {"plain.txt": "1" * 64}


def test_a_data_set_that_is_built_says_what_all_its_files_hold(tmp_path: Path) -> None:
    dataset = make_ct_phantoms(tmp_path / "data", patients=3, size=16, slices_per_patient=1, progress=False)
    recorded = read_digests(dataset.root)
    (dataset.root / DIGESTS).unlink()
    assert recorded == digests_of(dataset.root, [dataset.root])
    assert len(recorded) == 7


def test_a_description_that_is_written_anew_takes_the_list_away(tmp_path: Path) -> None:
    dataset = make_ct_phantoms(tmp_path / "data", patients=3, size=16, slices_per_patient=1, progress=False)
    write_dataset(dataset.root, dataset)
    assert not (dataset.root / DIGESTS).exists()


def test_files_may_be_given_below_a_folder_that_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a")
    expected = digests_of(tmp_path / "out", ["a"])
    assert list(expected) == ["a"]
    for given in ("a", "out/a", Path("out") / "a"):
        assert digests_of("out", [given]) == expected


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"is no file: '.*/pipe'"):
        digest_of(tmp_path / "pipe")

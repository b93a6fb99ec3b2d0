"""The folder of studies without a server: what a kill at any moment leaves, and what processes write at once."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.store.datastore import StudyDatastore, is_synthetic, record_of
from monai_segdiff.integrations.label.store.studies import real_cases, synthetic_cases

from ..server import PATIENCE, wait_until

RECORD = {"synthetic": True, "source": "real", "seed": 3, "patient": "real", "parameters": {}}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An image and its label map, large enough for a kill to hit their writing."""
    rng = np.random.default_rng(0)
    image, label = tmp_path / "made" / "image.nii.gz", tmp_path / "made" / "label.nii.gz"
    image.parent.mkdir()
    nib.save(nib.Nifti1Image(rng.normal(size=(64, 64, 16)).astype(np.float32), np.eye(4)), image)
    nib.save(nib.Nifti1Image(rng.integers(0, 7, (64, 64, 16), np.uint8), np.eye(4)), label)
    return image, label


@pytest.fixture
def studies(tmp_path: Path, files: tuple[Path, Path]) -> Path:
    root = tmp_path / "studies"
    store = StudyDatastore(str(root))
    store.add_image("real", str(files[0]), {"patient": "real"})
    store.save_label("real", str(files[1]), "final", {})
    return root


def in_child(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def test_a_kill_at_any_moment_leaves_whole_pairs_only(studies: Path, files: tuple[Path, Path]) -> None:
    rng = random.Random(0)
    whole = [file.read_bytes() for file in files]

    def add_all() -> None:
        store = StudyDatastore(str(studies))
        for number in range(1000):
            if not (studies / f"pair{number}.nii.gz").is_file():
                store.add_pair(f"pair{number}", *files, RECORD)

    counts = []
    for number in range(8):
        child = in_child(add_all)
        if number % 2:  # in the middle of many, however slow the machine is
            made = len(list(studies.glob("pair*.nii.gz")))
            assert wait_until(lambda made=made: len(list(studies.glob("pair*.nii.gz"))) > made, every=0.001)
        time.sleep(rng.uniform(0.05, 0.5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        json.loads((studies / "datastore_v2.json").read_text())
        store = StudyDatastore(str(studies))
        made = [name for name in store.list_images() if name.startswith("pair")]
        for name in made:
            assert (studies / f"{name}.nii.gz").read_bytes() == whole[0]
            assert (studies / "labels" / "final" / f"{name}.nii.gz").read_bytes() == whole[1]
            assert is_synthetic(store, name)
            assert store.get_image_info(name)["source"] == store.get_label_info(name, "final")["source"] == "real"
        assert sorted(store.list_images()) == sorted([*made, "real"])
        assert [case.id for case in real_cases(store)] == ["real"]
        assert len(synthetic_cases(store)) == len(made)
        counts.append(len(made))
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert not list(studies.rglob(".tmp-*"))


def test_two_processes_lose_nothing_of_each_other(studies: Path, files: tuple[Path, Path]) -> None:
    def add(kind: str) -> None:
        store = StudyDatastore(str(studies))
        for number in range(15):
            if kind == "pair":
                store.add_pair(f"pair{number}", *files, RECORD)
            else:
                store.add_image(f"user{number}", str(files[0]), {"of": "a user"})
                store.save_label(f"user{number}", str(files[1]), "final", {"by": "a user"})

    children = [in_child(lambda kind=kind: add(kind)) for kind in ("pair", "user")]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    store = StudyDatastore(str(studies))
    assert len(store.list_images()) == 31
    assert len(store.get_labeled_images()) == 31
    for number in range(15):
        assert store.get_image_info(f"pair{number}")["synthetic"] is True
        assert store.get_image_info(f"user{number}")["of"] == "a user"
        assert store.get_label_info(f"user{number}", "final")["by"] == "a user"
    assert len(real_cases(store)) == 16


def test_whoever_waits_for_a_process_that_hangs_says_so(
    studies: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_segdiff.integrations.label.store.datastore_lock._TOLD_EVERY", 0.1)
    found: list[StudyDatastore] = []
    waiting = threading.Thread(target=lambda: found.append(StudyDatastore(str(studies))))
    with FileLock(str(studies / ".pairs.lock")):
        waiting.start()
        assert wait_until(lambda: len(caplog.messages) >= 2)
        assert not found
    waiting.join(PATIENCE)
    assert found[0].list_images() == ["real"]
    assert set(caplog.messages) == {
        f"waiting for {studies / '.pairs.lock'}, which another process holds: if it hangs, end it; "
        f"'fuser {studies / '.pairs.lock'}' shows which processes have the file open"
    }


def test_what_another_writes_at_the_same_time_of_the_clock_is_kept(studies: Path, files: tuple[Path, Path]) -> None:
    first, second, listed = StudyDatastore(str(studies)), StudyDatastore(str(studies)), studies / "datastore_v2.json"
    first.update_image_info("real", {"by": "the first"})
    written = listed.stat()
    second.update_image_info("real", {"note": "of the second"})
    os.utime(listed, ns=(written.st_atime_ns, written.st_mtime_ns))  # a file's time is of milliseconds
    first.add_image("other", str(files[0]), {})
    info = StudyDatastore(str(studies)).get_image_info("real")
    assert (info["by"], info["note"]) == ("the first", "of the second")


def test_a_synthetic_study_keeps_its_marks_and_label_map(studies: Path, files: tuple[Path, Path]) -> None:
    store = StudyDatastore(str(studies))
    store.add_pair("pair", *files, RECORD)
    store.update_image_info("pair", {"synthetic": False, "note": "pretty"})
    info = store.get_image_info("pair")
    assert (info["synthetic"], info["note"]) == (True, "pretty")
    with pytest.raises(RequestError, match="synthetic"):
        store.save_label("pair", str(files[1]), "final", {})
    with pytest.raises(RequestError, match="synthetic"):
        store.add_image("pair", str(files[0]), {})
    with pytest.raises(RequestError, match="synthetic"):
        store.remove_label("pair", "final")
    assert (studies / "labels" / "final" / "pair.nii.gz").is_file()
    store.remove_image("pair")
    assert not (studies / "synthetic" / "pair.json").exists()
    assert store.add_image("pair", str(files[0]), {}) == "pair"
    assert not is_synthetic(store, "pair")


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "..", "datastore_v2.json/../../x"])
def test_names_stay_in_the_folder(studies: Path, files: tuple[Path, Path], name: str) -> None:
    before = sorted(studies.parent.rglob("*"))
    store = StudyDatastore(str(studies))
    for write in (
        lambda: store.add_image(name, str(files[0]), {}),
        lambda: store.save_label(name, str(files[1]), "final", {}),
        lambda: store.save_label("real", str(files[1]), name, {}),
    ):
        with pytest.raises(RequestError, match="plain name"):
            write()
    assert sorted(studies.parent.rglob("*")) == before


def test_only_images_become_studies(studies: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    store = StudyDatastore(str(studies))
    with pytest.raises(RequestError, match="must end in one of"):
        store.add_image("datastore_v2", str(tmp_path / "x.json"), {})
    with pytest.raises(ImageNotFoundException):
        store.save_label("nobody", str(studies / "real.nii.gz"), "final", {})


def test_a_label_map_of_a_real_study_can_be_removed(studies: Path) -> None:
    store = StudyDatastore(str(studies))
    store.remove_label("real", "final")
    assert not (studies / "labels" / "final" / "real.nii.gz").exists()
    assert store.get_labeled_images() == []
    assert store.list_images() == ["real"]
    with pytest.raises(LabelNotFoundException):
        store.remove_label("real", "final")
    with pytest.raises(ImageNotFoundException):
        store.remove_image("nobody")


def test_of_linked_studies_the_links_are_removed(studies: Path, files: tuple[Path, Path]) -> None:
    for link, file in ((studies / "far.nii.gz", files[0]), (studies / "labels" / "final" / "far.nii.gz", files[1])):
        link.symlink_to(file)
    store = StudyDatastore(str(studies))
    assert [case.id for case in real_cases(store)] == ["far", "real"]
    store.remove_label("far", "final")
    assert store.get_labeled_images() == ["real"]
    store.remove_image("far")
    assert store.list_images() == ["real"]
    assert all(file.is_file() for file in files)
    assert not (studies / "far.nii.gz").is_symlink()


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _bomb(content: bytes) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape((4000, 4000, 4000))
    return gzip.compress(header.binaryblock + bytes(1000))


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"garbage", lambda content: b"", _cut, _bomb],
    ids=["garbage", "empty", "cut short", "too large"],
)
def test_what_is_no_image_is_not_stored(studies: Path, files: tuple[Path, Path], damage: Callable[..., bytes]) -> None:
    store = StudyDatastore(str(studies))
    before = {file: file.read_bytes() for file in studies.rglob("*.*") if file.is_file()}
    bad = files[0].with_name("bad.nii.gz")
    bad.write_bytes(damage(files[0].read_bytes()))
    with pytest.raises(RequestError, match="the image"):
        store.add_image("bad", str(bad), {})
    with pytest.raises(RequestError, match="the label map"):
        store.save_label("real", str(bad), "final", {})
    assert {file: file.read_bytes() for file in studies.rglob("*.*") if file.is_file()} == before


def test_readers_find_all_studies_while_the_list_is_built_anew(studies: Path, files: tuple[Path, Path]) -> None:
    store = StudyDatastore(str(studies))
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                found = (
                    "real" in store.list_images(),
                    store.status()["completed"] > 0,
                    "real" in store.json()["objects"],
                )
                if not all(found) or not store.get_label_uri("real", "final") or not store.get_image_info("real"):
                    wrong.append(found)
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(3):
            store.add_pair(f"pair{number}", *files, RECORD)
            for _ in range(8):
                store.refresh()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(store.list_images()) == 4


def test_a_damaged_record_is_named(studies: Path, files: tuple[Path, Path]) -> None:
    store = StudyDatastore(str(studies))
    store.add_pair("pair", *files, RECORD)
    (studies / "synthetic" / "pair.json").write_text("{")
    with pytest.raises(RuntimeError, match=r"pair\.json is damaged"):
        record_of(store, "pair")

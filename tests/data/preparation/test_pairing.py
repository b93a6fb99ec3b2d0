from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import pair_folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for folder, names in (("pictures", ("b.jpg", "a.jpg")), ("masks", ("a.png", "b.png"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    return tmp_path / "pictures", tmp_path / "masks"


def test_files_are_paired_by_name_whatever_the_extension(folders: tuple[Path, Path]) -> None:
    cases = pair_folders(*folders)
    assert [(c.id, c.image.name, c.label.name, c.patient) for c in cases] == [
        ("a", "a.jpg", "a.png", "a"),
        ("b", "b.jpg", "b.png", "b"),
    ]


def test_patients_come_from_the_table(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("image,patient,other\na,X,1\nb,X,2\n")
    assert [c.patient for c in pair_folders(*folders, tmp_path / "patients.csv")] == ["X", "X"]
    (tmp_path / "patients.csv").write_text("image,patient\na,X\n")
    with pytest.raises(ValueError, match=r"patients\.csv names no patient for case 'b'"):
        pair_folders(*folders, tmp_path / "patients.csv")


def test_single_files_and_empty_folders_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "c.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"c\.jpg has no partner"):
        pair_folders(*folders)
    with pytest.raises(FileNotFoundError, match="holds no images"):
        pair_folders(tmp_path / "nothing", folders[1])

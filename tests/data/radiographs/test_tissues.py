from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import TISSUE_KINDS, Tissue, read_tissues, tissue_file


def write(folder: Path, text: str) -> Path:
    file = folder / "tissues.csv"
    file.write_text(text)
    return file


def test_a_table_gives_each_id_its_tissue(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "# my atlas\nid,name,kind,hu,shell_mm,shaft_mm,margin_mm\n\n0,between,fat,,2,,5\n"
        '4,"femur, left",Bone,300,2.5,5\n7,rectus,muscle\n',
    )
    tissues = read_tissues(file)
    assert set(tissues) == {0, 4, 7}
    assert tissues[7] == Tissue("rectus", **{k: v for k, v in vars(TISSUE_KINDS["muscle"]).items() if k != "name"})
    assert (tissues[4].name, tissues[4].hu, tissues[4].shell_mm, tissues[4].shaft_mm) == ("femur, left", 300, 2.5, 5)
    assert tissues[4].shell_hu == TISSUE_KINDS["bone"].shell_hu
    assert tissues[0].margin_mm == 5


def test_the_atlas_table_comes_with_the_package() -> None:
    tissues = read_tissues("spl_knee_atlas")
    assert tissue_file("spl_knee_atlas").is_file()
    assert {tissues[i].name: tissues[i].shell_hu for i in (95, 96, 97, 98)} == dict.fromkeys(
        ("femur", "tibia", "fibula", "patella"), 1400
    )
    assert all(-120 < tissue.hu < 500 for tissue in tissues.values())
    assert tissues[0].margin_mm > 0
    assert len(tissues) == 50


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("id,name\n1,a\n", 1, "expected the heading"),
        ("id,name,kind,weight\n1,a,bone,3\n", 1, "weight"),
        ("id,name,kind\n1,a,wood\n", 2, "unknown kind 'wood'"),
        ("id,name,kind\n\n-1,a,bone\n", 3, "whole number"),
        ("id,name,kind\n1,a,bone\n1,b,fat\n", 3, "there already, as 'a'"),
        ("id,name,kind,hu\n1,a,bone,dense\n", 2, "hu must be a number, got 'dense'"),
        ("id,name,kind,hu\n1,a,bone,9000\n", 2, "between -1024 and 4000"),
        ("id,name,kind,shell_mm\n1,a,bone,-1\n", 2, "shell_mm must be between 0"),
        ("id,name,kind,margin_mm\n1,a,bone,5\n", 2, "belong to id 0"),
        ("id,name,kind\n1,a,b,c\n", 2, "into quotes"),
        ("id,name,kind\n1\n", 2, "unknown kind ''"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, text: str, line: int, why: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ValueError, match=why) as error:
        read_tissues(file)
    assert f"{file.resolve()}, line {line}:" in str(error.value)


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="spl_knee_atlas"):
        read_tissues(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="names no tissue"):
        read_tissues(write(tmp_path, "id,name,kind\n"))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(ValueError, match=r"binary\.csv cannot be read as a table of tissues.*save it as UTF-8 text"):
        read_tissues(tmp_path / "binary.csv")

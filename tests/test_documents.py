from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from monai_segdiff.documents import first_repeated, parse_yaml, read_json, read_table, read_text, read_yaml
from monai_segdiff.errors import UnreadableFileError


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "some.file"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_as_editors_save_it(tmp_path: Path, encoding: str) -> None:
    assert read_text(written(tmp_path, "größe".encode(encoding)), "text") == "größe"


@pytest.mark.parametrize("content", ["größe".encode("latin-1"), b"a\0b", "größe".encode("utf-32")])
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableFileError, match=r"some\.file cannot be read as a note .*; save it as UTF-8 text"):
        read_text(written(tmp_path, content), "a note")


def test_a_file_that_is_too_large_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"some\.file has 11 bytes, which is too much for a note"):
        read_text(written(tmp_path, "x" * 11), "a note", most_bytes=10)
    with pytest.raises(FileNotFoundError, match="other does not exist"):
        read_json(tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice in one object"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("[" * 102 + "]" * 102, "it is nested more than 100 deep"),
        ("[" * 100_000 + "]" * 100_000, "it is nested too deeply"),
        ("{" + "".join(f'"{i}": {i}, ' for i in range(100_000)) + '"99999": 1}', "the key '99999' occurs twice"),
    ],
)
def test_json_that_says_two_things_or_too_much_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"some\.file cannot be read as JSON \({reason}.*\); restore it"):
        read_json(written(tmp_path, content))


def test_json_and_yaml_are_plain_data(tmp_path: Path) -> None:
    content = '{"a": [1, 2.5, null, true, "$text"], "b": {"@c": "&d"}}'
    expected = {"a": [1, 2.5, None, True, "$text"], "b": {"@c": "&d"}}
    assert read_json(written(tmp_path, content)) == read_yaml(written(tmp_path, content)) == expected


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [", "while parsing"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("[" * 101 + "]" * 101, "it is nested more than 100 deep"),
        (bomb(9), "its aliases multiply its content"),
        ("a: &a [1, *a]", r"the alias \*a stands within what it is for"),
        ("- a\n--- b", "expected a single document"),
        ("a: 1\nb: {c: [{d: 1, e: 2, d: 3}]}", "the key 'd' occurs twice in one mapping"),
    ],
)
def test_yaml_that_makes_objects_or_grows_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"some\.file cannot be read as YAML \({reason}.*\); restore it"):
        read_yaml(written(tmp_path, content))


def test_aliases_of_moderate_size_are_what_they_stand_for() -> None:
    assert parse_yaml("a: &a {k: 1}\nb: *a\nc: {<<: *a, l: 2}") == {"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2}}
    assert parse_yaml("a: &a {k: 1}\nb: &b {<<: *a, k: 2}\nc: {<<: *b, <<: *a, k: 3}")["c"] == {"k": 3}
    assert parse_yaml("1: a\n'1': b") == {1: "a", "1": "b"}
    assert parse_yaml("") is None
    assert isinstance(parse_yaml("a: 1", load=yaml.compose), yaml.MappingNode)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_whatever_separates_its_cells(tmp_path: Path, delimiter: str, end: str) -> None:
    lines = ["name, patient", '"a, b; c",p1', "", "d , "]
    content = end.join(line.replace(",", delimiter) if '"' not in line else line for line in lines)
    content = content.replace('",p1', f'"{delimiter}p1')
    table = read_table(written(tmp_path, content))
    assert table.columns == ("name", "patient")
    assert list(table) == [(2, {"name": "a, b; c", "patient": "p1"}), (4, {"name": "d", "patient": ""})]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ("a,b,a\n1,2,3", "two columns named 'a'"),
        (",".join(map(str, range(50_000))) + ",49999", "two columns named '49999'"),
        ("a,b\n1", "line 2: there are 1 cells where the header has 2"),
        ("a,b\n1,2,3", "line 2: there are 3 cells where the header has 2"),
        ('a,b\n1,"2', "unexpected end of data"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"some\.file.*{reason}"):
        read_table(written(tmp_path, content))


@pytest.mark.parametrize(("values", "expected"), [([], None), ([1, 2, 3], None), ([3, 1, 2, 1, 3], 1), (["", ""], "")])
def test_the_first_value_that_comes_again(values: list[Any], expected: Any) -> None:
    assert first_repeated(values) == expected
    assert first_repeated(iter(values)) == expected


@pytest.mark.parametrize("read", [read_json, read_yaml, read_table])
def test_a_folder_is_no_file(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read(tmp_path)


def test_tables_of_too_many_lines_are_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,name\n" + "1,a\n" * 5)
    assert len(list(read_table(tmp_path / "t.csv", most_lines=6))) == 5
    with pytest.raises(UnreadableFileError, match=r"t\.csv cannot be read as a table .*more than 5 lines"):
        read_table(tmp_path / "t.csv", most_lines=5)

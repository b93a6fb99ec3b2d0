from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.files import claim_folder, names_in
from monai_segdiff.integrations import make_label_app


def test_the_folder_holds_what_the_server_starts_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-app", str(tmp_path / "app")]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "app"
    assert (tmp_path / "app" / "main.py").is_file()
    assert (tmp_path / "app" / "compat" / "sitecustomize.py").is_file()


def test_made_again_it_keeps_what_was_trained(tmp_path: Path) -> None:
    root = make_label_app(tmp_path / "app")
    (root / "model").mkdir()
    (root / "model" / "model.pt").write_text("weights")
    (root / "main.py").write_text("# SegDiffApp, of long ago")
    make_label_app(root)
    assert (root / "model" / "model.pt").read_text() == "weights"
    assert "long ago" not in (root / "main.py").read_text()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print()")
    with pytest.raises(ValueError, match="give a new folder"):
        make_label_app(tmp_path)
    assert (tmp_path / "main.py").read_text() == "print()"


def test_a_run_that_was_killed_while_it_made_the_folder_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, copied = shutil.copyfile, []

    def killed(source: Path, target: Path) -> None:
        copied.append(copy(source, target))
        if len(copied) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", killed)
    with pytest.raises(KeyboardInterrupt):
        make_label_app(tmp_path / "app")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "app").rglob("*.py")] == ["main.py"]
    (tmp_path / "app" / ".tmp-4711-main.py").write_text("half")
    make_label_app(tmp_path / "app")
    assert names_in(tmp_path / "app") == ["compat", "main.py"] == sorted(os.listdir(tmp_path / "app"))


def test_a_folder_that_another_run_makes_is_left_alone(tmp_path: Path) -> None:
    with claim_folder(tmp_path), pytest.raises(FileExistsError, match="another run is writing"):
        make_label_app(tmp_path)


def test_nothing_is_written_beyond_a_link(tmp_path: Path) -> None:
    root = make_label_app(tmp_path / "app")
    shutil.rmtree(root / "compat")
    (tmp_path / "elsewhere").mkdir()
    (root / "compat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no path inside"):
        make_label_app(root)
    assert not list((tmp_path / "elsewhere").iterdir())

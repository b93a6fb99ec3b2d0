from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.__main__ import main
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

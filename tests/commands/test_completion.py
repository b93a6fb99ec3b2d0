"""Verb `completion`: a script that bash completes the command line with."""

from __future__ import annotations

import builtins
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.__main__ import main

COMPLETE = """
source {script}
function=$(complete -p monai-segdiff | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=(monai-segdiff {words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$function monai-segdiff
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_verbs_options_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="shtab, the extra `completion`, is not installed")
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "plan.yaml").touch()
    for words, expected in (
        ("tr", {"train"}),
        ("train --ima", {"--images"}),
        ("completion z", {"zsh"}),
        (f"train --plan {tmp_path}/pl", {f"{tmp_path}/plan.yaml"}),
    ):
        program = COMPLETE.format(script=script, words=words)
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == expected, words


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_a_script_that_names_the_verbs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="shtab, the extra `completion`, is not installed")
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("monai-segdiff", "check-data", "tracking"))


def test_without_shtab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "shtab":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == "error: completion needs shtab: pip install 'monai-segdiff[completion]'\n"

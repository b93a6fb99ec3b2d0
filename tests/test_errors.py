from __future__ import annotations

import subprocess
import sys

import pytest
from monai.bundle import ConfigParser
from monai.transforms import Compose

from monai_segdiff.errors import root_cause, unwrapped_errors


def refuse(data):
    raise ValueError("a.nii.gz is bad: repair it")


def test_the_cause_below_monais_layers_is_found():
    parser = ConfigParser({"run": "$f()"}, globals={"f": lambda: Compose([refuse])({})})
    with pytest.raises(ValueError, match=r"a\.nii\.gz is bad"), unwrapped_errors():
        parser.get_parsed_content("run")


def test_an_exception_that_says_something_itself_stands_for_itself():
    clear = OSError("cannot write b.nii.gz: free some space")
    clear.__cause__ = RuntimeError("unexpected pos 64 vs 0")
    outer = RuntimeError("applying transform")
    outer.__cause__ = clear
    assert root_cause(outer) is clear
    assert root_cause(clear) is clear
    lonely = RuntimeError("diverged")
    assert root_cause(lonely) is lonely
    with pytest.raises(RuntimeError, match="diverged"), unwrapped_errors():
        raise lonely


def test_the_cause_is_the_last_line_of_an_uncaught_exception():
    program = (
        "from monai_segdiff.errors import show_cause_last\n"
        "show_cause_last()\n"
        "try:\n    raise ValueError('a.nii.gz is bad: repair it')\n"
        "except ValueError as error:\n    raise RuntimeError('failed to evaluate') from error\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1] == "ValueError: a.nii.gz is bad: repair it"
    assert "RuntimeError: failed to evaluate" in done.stderr


def test_ctrl_c_is_told_in_one_line():
    program = "from monai_segdiff.errors import show_cause_last\nshow_cause_last()\nraise KeyboardInterrupt\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode in (130, -2)  # of the signal, as shells expect
    assert done.stderr == "stopped; run the same command again to go on\n"

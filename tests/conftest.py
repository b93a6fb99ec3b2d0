from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def segdiff_data() -> Path:
    """Folder of real sample data."""
    folder = os.environ.get("SEGDIFF_DATA")
    if not folder:
        pytest.skip("set SEGDIFF_DATA to the folder of real sample data to run this test")
    if not Path(folder).is_dir():
        pytest.skip(f"SEGDIFF_DATA={folder} is not a folder")
    return Path(folder).resolve()

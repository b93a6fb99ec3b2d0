from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.integrations.label.firewall.uploads import current_folder, request_folder


def test_a_request_has_a_folder_while_it_is_answered() -> None:
    assert current_folder() is None
    seen: list[Path] = []

    def answer() -> None:
        with request_folder() as folder:
            seen.append(folder)
            assert current_folder() == folder
            (folder / "sent").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        answer()
    assert current_folder() is None
    assert not seen[0].exists()

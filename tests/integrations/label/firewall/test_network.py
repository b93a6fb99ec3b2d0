from __future__ import annotations

from typing import Any

import pytest

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.network import check_origin, listen_on_loopback, one_process

ALLOWED = ["https://viewer.example"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8000"},
        {"host": "localhost"},
        {"host": "[::1]:8000"},
        {},
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"},
        {"host": "127.0.0.1:8000", "origin": "https://viewer.example"},
    ],
)
def test_own_pages_and_named_ones_may_ask(headers: dict[str, str]) -> None:
    check_origin(headers, ALLOWED, local=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8000", "origin": "http://evil.example"},
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:9000"},
        {"host": "127.0.0.1:8000", "origin": "null"},
        {"origin": "null"},
        {"host": "127.0.0.1", "origin": "http://["},
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_other_pages_may_not(headers: dict[str, str], local: bool) -> None:
    with pytest.raises(RequestError):
        check_origin(headers, ALLOWED, local=local)


def test_a_name_that_a_page_makes_stand_for_this_machine_is_none_of_its_names() -> None:
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    with pytest.raises(RequestError, match="--host"):
        check_origin(headers, (), local=True)
    check_origin(headers, (), local=False)


class Config:
    """uvicorn's, as far as it is read."""

    def __init__(self, host: str, workers: int = 1) -> None:
        self.host, self.workers = host, workers


def test_where_the_server_listens_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py", "start_server", "--app", "app"])
    with pytest.raises(RuntimeError, match="give --host"):
        listen_on_loopback(None)
    config: Any = Config("0.0.0.0")
    for given in ("--host", "-i", "--host=10.0.0.1"):
        monkeypatch.setattr("sys.argv", ["main.py", "start_server", given])
        assert not listen_on_loopback(config)
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert not listen_on_loopback(config)
    assert config.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "becomes", "local"), [("0.0.0.0", "127.0.0.1", True), ("10.0.0.1", "10.0.0.1", False)]
)
def test_every_network_is_no_default(monkeypatch: pytest.MonkeyPatch, host: str, becomes: str, local: bool) -> None:
    config: Any = Config(host)
    monkeypatch.setattr("sys.argv", ["main.py", "start_server"])
    assert listen_on_loopback(config) is local
    assert config.host == becomes


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one_process(None)
    one: Any = Config("127.0.0.1")
    two: Any = Config("127.0.0.1", 2)
    one_process(one)
    with pytest.raises(RuntimeError, match="WEB_CONCURRENCY"):
        one_process(two)
    monkeypatch.setattr("sys.argv", ["main.py", "start_server", "--workers=2"])
    with pytest.raises(RuntimeError, match="without --workers"):
        one_process(one)

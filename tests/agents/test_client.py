from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from agents.client import ControlClient, Outcome, Result, TokenUnavailable, checked_url, retry_after

from .server import Scripted, control_plane

READING: dict[str, Any] = {"instance_id": "vast_1", "seq": 1}


def post(server: Scripted, times: int = 1) -> Outcome:
    client = ControlClient(server.url, lambda: "secret", timeout=5)
    try:
        return [client.post_status(READING) for _ in range(times)][-1]
    finally:
        client.close()


def test_a_reading_is_posted_with_its_token_and_accepted() -> None:
    with control_plane() as server:
        outcome = post(server)
    assert outcome.result is Result.ACCEPTED
    assert outcome.reply is not None
    assert outcome.reply.status == "running"
    assert (server.paths, server.tokens) == (["/api/agent/status"], ["Bearer secret"])
    assert server.received == [READING]


def test_one_connection_serves_many_heartbeats() -> None:
    with control_plane() as server:
        post(server, times=3)
    assert (len(server.received), server.connections) == (3, 1)


def test_a_kept_connection_that_the_server_closed_is_opened_anew_at_once() -> None:
    answer = Scripted().accepted("vast_1")
    with control_plane((answer[0], {"Connection": "close-silently"}, answer[2])) as server:
        outcome = post(server, times=2)
    assert outcome.result is Result.ACCEPTED
    assert server.connections == 2


def test_a_path_in_the_control_url_is_kept() -> None:
    with control_plane() as server:
        server.url += "/dumont/"
        post(server)
    assert server.paths == ["/dumont/api/agent/status"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_says_what_to_do(status: int) -> None:
    with control_plane((status, {}, b"{}")) as server:
        outcome = post(server)
    assert outcome.result is Result.UNAUTHORISED
    assert "enrolment command for vast_1" in outcome.problem


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_reading_is_not_worth_repeating(status: int) -> None:
    with control_plane((status, {}, b'{"error": "no\x07"}')) as server:
        outcome = post(server)
    assert outcome.result is Result.REFUSED
    assert "no " in outcome.problem


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {}, b"<html>sign in</html>"), "not JSON"),
        ((200, {}, b""), "not JSON"),
        ((200, {}, b'{"received": 1}'), "does not confirm"),
        ((200, {}, b"x" * 200_000), "too long"),
        ((200, {"Content-Length": "many"}, b""), "not JSON"),
        ((301, {"Location": "https://elsewhere.example"}, b""), "--control-url"),
        ((404, {}, b""), "check --control-url"),
        ((500, {}, b"<h1>oops</h1>"), "500"),
        ((503, {"X": "y" * 70_000}, b""), "cannot reach"),
        ((200, {"Content-Length": "10", "Connection": "close-silently"}, b"short"), "not JSON"),
    ],
)
def test_an_answer_that_makes_no_sense_is_tried_again_later(
    answer: tuple[int, dict[str, str], bytes], says: str
) -> None:
    if answer[1].get("Content-Length") == "many":
        answer[1]["Connection"] = "close-silently"
    with control_plane(answer) as server:
        outcome = post(server)
    assert outcome.result is Result.UNAVAILABLE
    assert says in outcome.problem


def test_the_connection_is_usable_after_a_huge_answer() -> None:
    with control_plane((200, {}, b"x" * 500_000)) as server:
        assert post(server, times=2).result is Result.ACCEPTED


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


def test_a_server_that_is_down_is_unavailable(closed_port: int) -> None:
    outcome = post(Scripted(url=f"http://127.0.0.1:{closed_port}"))
    assert outcome.result is Result.UNAVAILABLE
    assert "check --control-url and the network" in outcome.problem


def test_a_server_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = ControlClient(f"http://127.0.0.1:{silent.getsockname()[1]}", lambda: "t", timeout=0.1)
        outcome = client.post_status(READING)
    assert outcome.result is Result.UNAVAILABLE
    assert "timed out" in outcome.problem


def test_plain_http_behind_https_is_unavailable() -> None:
    with control_plane() as server:
        outcome = post(Scripted(url=server.url.replace("http:", "https:")))
    assert outcome.result is Result.UNAVAILABLE


def test_a_bad_certificate_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ssl.SSLCertVerificationError("x")
    error.verify_message = "self-signed certificate"
    client = ControlClient("https://control.example", lambda: "t")

    def refuse(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(client, "_exchange", refuse)
    assert "certificate is not valid: self-signed" in client.post_status(READING).problem


def test_a_missing_token_is_for_a_person_to_mend() -> None:
    def no_token() -> str:
        raise TokenUnavailable("no token: cannot read it")

    outcome = ControlClient("http://127.0.0.1:9", no_token).post_status(READING)
    assert outcome == Outcome(Result.UNAUTHORISED, problem="no token: cannot read it")


def test_a_renewed_token_is_used_at_the_next_post() -> None:
    tokens = iter(["old", "new"])
    with control_plane() as server:
        client = ControlClient(server.url, lambda: next(tokens))
        client.post_status(READING)
        client.post_status(READING)
        client.close()
    assert server.tokens == ["Bearer old", "Bearer new"]


def test_retry_after_is_passed_on() -> None:
    with control_plane((429, {"Retry-After": "7"}, b"")) as server:
        assert post(server).retry_after == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("999999", 300), ("soon", None), ("-5", None), ("", None), ("9" * 400, 300)],
)
def test_retry_after_is_bounded(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=3)
    assert retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0


@pytest.mark.parametrize(
    "url",
    [
        "dumont.example",
        "ftp://dumont.example",
        "https://",
        "https://user:pw@dumont.example",
        "https://dumont.example/?a=1",
        "https://dumont.example:99999",
        "https://a..b",
    ],
)
def test_an_unusable_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        checked_url(url)


def test_a_usable_address_loses_its_last_slash() -> None:
    assert checked_url("https://dumontcloud.com/") == "https://dumontcloud.com"

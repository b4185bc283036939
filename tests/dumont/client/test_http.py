"""The client: the API's own words, and a token that goes nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dumont.client.addresses import checked, is_loopback
from dumont.client.errors import BadAddress, Refused, Unreachable
from dumont.client.http import Client
from dumont.client.units import duration, plain

BASE = "https://dumont.example.org"


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client(BASE, "token", transport=httpx.MockTransport(answer))


def answering(*replies: Any, seen: list[httpx.Request] | None = None) -> Client:
    left = list(replies)

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return client(answer)


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        ({"json": {"error": {"code": "conflict", "message": "awake already"}}}, "conflict", "awake already"),
        ({"json": {"error": {"code": "x"}}}, "", '{"error":{"code":"x"}}'),
        ({"json": {"error": "odd"}}, "", '{"error":"odd"}'),
        ({"json": [1]}, "", "[1]"),
        ({"text": "<h1>Oops</h1>"}, "", "<h1>Oops</h1>"),
        ({"text": ""}, "", "Conflict"),
    ],
)
def test_a_refusal_is_told_in_the_apis_own_words(reply: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        answering(httpx.Response(409, **reply)).get("/api/x")
    assert (refused.value.status, refused.value.code, refused.value.message) == (409, code, message)


def test_what_is_wrong_with_each_field_is_kept() -> None:
    error = {"code": "invalid", "message": "No.", "fields": {"limit": "Too big.", "n": 1}}
    with pytest.raises(Refused) as refused:
        answering(httpx.Response(400, json={"error": error})).put("/api/x", {})
    assert refused.value.fields == {"limit": "Too big.", "n": "1"}


def test_a_redirect_is_not_followed() -> None:
    seen: list[httpx.Request] = []
    moved = httpx.Response(301, headers={"Location": "https://evil.example.org/api/x"})
    with pytest.raises(Refused, match="use that address"):
        answering(moved, seen=seen).get("/api/x")
    assert len(seen) == 1


def test_a_link_to_another_server_is_followed_on_this_one() -> None:
    seen: list[httpx.Request] = []
    pages = answering(
        {"n": 1, "next": "http://evil.example.org/api/x?cursor=a%3D"}, {"n": 2, "next": None}, seen=seen
    ).pages("/api/x", {"limit": 1})
    assert [page["n"] for page in pages] == [1, 2]
    assert str(seen[1].url) == f"{BASE}/api/x?cursor=a%3D"


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<h1>Welcome to the hotel</h1>"),
        httpx.Response(200, json=[1]),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError(""),
    ],
    ids=str,
)
def test_what_is_no_answer_is_no_answer(reply: Any) -> None:
    with pytest.raises(Unreachable, match=r"dumont\.example\.org"):
        answering(reply).post("/api/x")


def test_a_stream_that_is_refused_or_breaks_off_says_so() -> None:
    with (
        pytest.raises(Refused, match="gone"),
        answering(httpx.Response(410, json={"error": {"message": "gone"}})).stream("/api/x"),
    ):
        pass
    with pytest.raises(Unreachable), answering(httpx.ReadError("reset")).stream("/api/x"):
        pass


def test_a_stream_asks_for_the_bytes_as_they_are() -> None:
    seen: list[httpx.Request] = []
    plain_reply = httpx.Response(
        200, headers={"Content-Encoding": "identity"}, stream=httpx.ByteStream(b"bytes")
    )
    with answering(plain_reply, seen=seen).stream("/api/x") as reply:
        assert b"".join(reply.iter_raw()) == b"bytes"
    assert seen[0].headers["Accept-Encoding"] == "identity"


def test_a_stream_that_comes_encoded_all_the_same_is_refused() -> None:
    encoded = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b"))
    with pytest.raises(Unreachable, match="as gzip"), answering(encoded).stream("/api/x"):
        pass


def test_who_has_no_token_sends_none() -> None:
    seen: list[httpx.Request] = []
    anybody = Client(
        BASE, None, transport=httpx.MockTransport(lambda r: seen.append(r) or httpx.Response(204))
    )
    assert anybody.delete("/api/x") == {}
    anybody.close()
    assert "Authorization" not in seen[0].headers


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://Dumont.Example.org/", "https://dumont.example.org"),
        ("https://h:8443", "https://h:8443"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_an_address_names_a_server(given: str, address: str) -> None:
    assert checked(given) == address


@pytest.mark.parametrize(
    "given",
    ["", "h", "ftp://h", "http://h", "http://localhost.evil.org", "https://h/x", "https://h?x", "https://[x"],
)
def test_another_address_is_refused(given: str) -> None:
    with pytest.raises(BadAddress):
        checked(given)


def test_plain_http_is_for_those_who_say_so() -> None:
    assert checked("http://h", plain_http=True) == "http://h"
    assert [is_loopback(h) for h in ("localhost", "127.9.9.9", "::1", "10.0.0.1", "h")] == [True] * 3 + [
        False
    ] * 2


def test_text_of_others_is_one_printable_line() -> None:
    assert plain("a\x1b[31m\x07\x9b‮b\r\nc d\ud800") == "a\\x1b[31m\\x07\\x9b\\u202eb  c d\\ud800"


def test_durations_are_short() -> None:
    assert [duration(s) for s in (-5, 0, 42.4, 151, 3751)] == ["0s", "0s", "42s", "2:31", "1:02:31"]

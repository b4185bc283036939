from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from agents.snapshot.urls import BATCH, FRESH_SECONDS, Downloads, Signed, Uploads


def signed(key: str) -> Signed:
    return Signed(key, f"http://store/{key}", {})


def ask_together(uploads: Uploads, count: int, gate: threading.Event, asked: list[Any]) -> dict[int, str]:
    """One thread asks, the others come while it waits for its answer."""
    got: dict[int, str] = {}

    def get(number: int) -> None:
        try:
            got[number] = uploads.get({"number": number}).key
        except ValueError as error:
            got[number] = str(error)

    threads = [threading.Thread(target=get, args=(number,)) for number in range(count)]
    threads[0].start()
    while not asked:
        pass
    for thread in threads[1:]:
        thread.start()
    while len(uploads._waiting) < count - 1:
        pass
    gate.set()
    for thread in threads:
        thread.join()
    return got


def test_those_who_wait_are_asked_for_in_one_request() -> None:
    gate, asked = threading.Event(), []

    def ask(wishes: list[dict[str, Any]]) -> list[Signed]:
        asked.append(len(wishes))
        gate.wait(5)
        return [signed(str(wish["number"])) for wish in wishes]

    got = ask_together(Uploads(ask), 150, gate, asked)
    assert got == {number: str(number) for number in range(150)}
    assert asked == [1, BATCH, 49]


@pytest.mark.parametrize("answer", [ValueError("refused"), []])
def test_a_refusal_reaches_everyone_it_was_asked_for(answer: Any) -> None:
    gate, asked = threading.Event(), []

    def ask(wishes: list[dict[str, Any]]) -> list[Signed]:
        asked.append(len(wishes))
        gate.wait(5)
        if isinstance(answer, Exception):
            raise answer
        return []

    got = ask_together(Uploads(ask), 10, gate, asked)
    assert len(got) == 10
    assert asked == [1, 9]


@pytest.fixture
def asked() -> list[list[str]]:
    return []


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def downloads(asked: list[list[str]], now: list[float]) -> Downloads:
    def ask(keys: list[str]) -> list[Signed]:
        asked.append(keys)
        return [signed(key) for key in keys]

    found = Downloads(ask, lambda: now[0])
    found.expect([str(number) for number in range(250)])
    return found


def test_downloads_are_asked_for_ahead_in_batches(downloads: Downloads, asked: list[list[str]]) -> None:
    for number in range(250):
        assert downloads.get(str(number)) == signed(str(number))
    assert [len(keys) for keys in asked] == [100, 100, 50]


def test_an_old_url_is_asked_for_anew(downloads: Downloads, asked: list[list[str]], now: list[float]) -> None:
    downloads.get("0")
    now[0] = FRESH_SECONDS + 1
    downloads.get("3")
    assert asked[1][0] == "3"


def test_a_refused_url_is_asked_for_anew_once(downloads: Downloads, asked: list[list[str]]) -> None:
    first = downloads.get("0")
    assert first
    downloads.forget(first)
    second = downloads.get("0")
    downloads.forget(first)
    assert downloads.get("0") is second
    assert len(asked) == 2


def test_what_nobody_expected_is_asked_for_alone(downloads: Downloads, asked: list[list[str]]) -> None:
    downloads.get("manifest")
    assert asked == [["manifest"]]


def test_a_key_the_answer_leaves_out_has_no_url() -> None:
    nothing: Callable[[list[str]], list[Signed]] = lambda keys: []  # noqa: E731
    assert Downloads(nothing).get("x") is None

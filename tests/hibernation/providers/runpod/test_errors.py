"""Every documented refusal, and that no bytes at all are anything else than a success or a typed failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.errors import (
    BadOrder,
    LaunchDeferred,
    NoCapacity,
    NotFound,
    OfferGone,
    OutOfCredit,
    ProviderDenied,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.providers.replies import Pause, Reply
from hibernation.providers.runpod.errors import SPEND_PAUSE_SECONDS, failure_of, pause
from tests.fakes.runpod.problems import BLOCKED, NO_CAPACITY

HTML = b"<html><body>502 Bad Gateway</body></html>"
NO_GPU = "There are not enough free GPUs on the host machine to start this pod."


def problem(status: int, detail: Any, **headers: str) -> Reply:
    body = {"title": "Title", "status": status, "detail": detail}
    return Reply(
        status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize(
    ("reply", "call", "launch"),
    [
        (problem(400, NO_CAPACITY), NoCapacity, NoCapacity),
        (problem(400, "There are no longer any instances available with enough disk space."), NoCapacity, NoCapacity),
        (problem(400, NO_GPU), NoCapacity, NoCapacity),
        (problem(400, "No GPU capacity in EU-RO-1"), NoCapacity, NoCapacity),
        (problem(400, "mounts are mutually exclusive"), ProviderRefused, ProviderRefused),
        (problem(400, "the mount cannot be stocked"), ProviderRefused, ProviderRefused),
        (problem(400, "You have reached your spend limit."), RateLimited, LaunchDeferred),
        (problem(401, "invalid bearer token"), ProviderDenied, ProviderDenied),
        (problem(402, "balance too low"), OutOfCredit, OutOfCredit),
        (problem(403, "access denied"), ProviderDenied, ProviderDenied),
        (problem(403, "your account cannot access this gpu pool"), ProviderDenied, OfferGone),
        (BLOCKED, ProviderError, ProviderError),
        (problem(404, "pod not found"), NotFound, OfferGone),
        (Reply(404, HTML), ProviderError, ProviderError),
        (Reply(404, b""), ProviderError, ProviderError),
        (problem(409, "Action start is not valid"), ProviderRefused, ProviderRefused),
        (problem(422, "Request validation failed."), ProviderRefused, BadOrder),
        (problem(418, "a teapot"), ProviderError, ProviderError),
        (problem(429, "rate limit exceeded"), RateLimited, LaunchDeferred),
        (Reply(429, HTML), RateLimited, LaunchDeferred),
        (problem(500, NO_CAPACITY), ProviderUnavailable, ProviderUnavailable),
        (Reply(502, HTML), ProviderUnavailable, ProviderUnavailable),
        (Reply(200, HTML), ProviderUnavailable, ProviderUnavailable),
        (Reply(201, b'{"id": "po'), ProviderUnavailable, ProviderUnavailable),
        (Reply(302, b""), ProviderError, ProviderError),
    ],
)  # fmt: skip
def test_each_refusal_is_told_apart(reply: Reply, call: type, launch: type) -> None:
    assert type(failure_of(reply)) is call
    assert type(failure_of(reply, launching=True)) is launch


@pytest.mark.parametrize("reply", [Reply(204), Reply(200, b"{}"), Reply(201, b'{"id": "a"}')])
def test_a_success_is_no_failure(reply: Reply) -> None:
    assert failure_of(reply) is None


@given(st.integers(100, 599), st.binary() | st.text().map(str.encode), st.booleans())
def test_any_bytes_are_a_success_or_a_typed_failure(status: int, body: bytes, launching: bool) -> None:
    failure = failure_of(Reply(status, body), launching=launching)
    assert failure is None or isinstance(failure, ProviderError | NotFound)


@given(
    st.integers(200, 599),
    st.dictionaries(
        st.sampled_from(["title", "status", "detail", "errors"]),
        st.recursive(st.none() | st.text(), st.lists),
    ),
)
def test_a_launch_answered_by_a_server_that_failed_may_exist(status: int, body: dict[str, Any]) -> None:
    failure = failure_of(Reply(status, json.dumps(body).encode()), launching=True)
    assert (failure is None) == (status < 300)
    if status >= 500:
        assert not isinstance(failure, ProviderRefused)


def test_what_was_sent_comes_back_in_no_error() -> None:
    reply = problem(422, "env.A: value-of-a-variable is too long")
    failure = failure_of(reply, launching=True, secrets=("value-of-a-variable",))
    assert "value-of-a-variable" not in str(failure)
    assert "•••" in str(failure)


def test_the_violations_are_told() -> None:
    body = {"title": "Unprocessable Entity", "detail": "failed", "errors": ["$.gpu: is required", 7]}
    assert "$.gpu: is required" in str(failure_of(Reply(422, json.dumps(body).encode())))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"ratelimit": '"minute";r=0;t=17, "hour";r=2800;t=1812'}, 17.0),
        ({"ratelimit": '"minute";r=0;t=17, "hour";r=0;t=1812'}, 1812.0),
        ({"ratelimit": '"minute";r=5;t=17'}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_refusal_for_haste_says_how_long(headers: dict[str, str], seconds: float | None) -> None:
    assert pause(Reply(429, b"", headers)) == Pause(seconds)


def test_the_spend_limit_lasts_long() -> None:
    failure = failure_of(problem(400, "spend limit"), launching=True)
    assert isinstance(failure, LaunchDeferred)
    assert failure.retry_after == SPEND_PAUSE_SECONDS

"""Every documented shape of a refusal, and that no bytes at all are anything else than a success or a typed failure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.errors import (
    BadOrder,
    DumontError,
    LaunchDeferred,
    LaunchLeftover,
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
from hibernation.providers.replies import Pause, Reply, redacted
from hibernation.providers.vast.errors import SPEND_PAUSE_SECONDS, failure_of
from hibernation.providers.vast.replies import pause, read

GONE_ASK = {
    "success": False,
    "error": "invalid_args",
    "msg": "error 404/3603: no_such_ask Ask 1 is not available",
}
TOO_FAST = {"detail": "API requests too frequent endpoint threshold=4.5"}
HTML = b"<html><body>502 Bad Gateway: invalid_args no_such_ask auth_error</body></html>"


def reply(status: int, body: Any, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, raw, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"success": False, "error": "auth_error", "msg": "Invalid user key"}, ProviderDenied),
        (401, {"msg": "Invalid user key"}, ProviderDenied),
        (403, {"error": "auth_error", "msg": "login is required"}, ProviderDenied),
        (404, {"msg": "Your 2FA session has expired"}, ProviderDenied),
        (403, {"message": "the key lacks instance_write"}, ProviderDenied),
        (404, {"success": False, "error": "no_such_instance", "msg": "Instance 5 not found"}, NotFound),
        (404, {"error": "not_found"}, NotFound),
        (404, {"detail": "Not Found"}, ProviderError),
        (404, b"<html>404</html>", ProviderError),
        (410, {"success": False, "error": "deprecated_endpoint", "msg": "use v1"}, ProviderError),
        (429, TOO_FAST, RateLimited),
        (429, b"Too Many Requests", RateLimited),
        (200, TOO_FAST | {"success": False}, RateLimited),
        (400, {"error": "invalid_args", "msg": "bad label"}, ProviderRefused),
        (200, {"success": False, "msg": "Resources are currently unavailable, change queued."}, NoCapacity),
        (200, {"success": False, "error": "insufficient_credit"}, OutOfCredit),
        (200, {"success": False}, ProviderError),
        (200, {"success": "false"}, ProviderError),
        (200, {"error": "something"}, ProviderError),
        (200, b"[]", ProviderUnavailable),
        (200, b'{"success": tr', ProviderUnavailable),
        (500, {"error": "server_error"}, ProviderUnavailable),
        (502, HTML, ProviderUnavailable),
        (308, b"", ProviderError),
    ],
)  # fmt: skip
def test_a_refusal_is_told_by_its_words(status: int, body: Any, expected: type) -> None:
    assert type(failure_of(reply(status, body))) is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, GONE_ASK, OfferGone),
        (410, {"error": "no_such_ask", "msg": "no longer available"}, OfferGone),
        (400, {"error": "invalid_args", "msg": "no_such_ask"}, OfferGone),
        (403, {"error": "invalid_args", "msg": "this is a host-only offer"}, OfferGone),
        (400, {"error": "invalid_args", "msg": "bad image"}, BadOrder),
        (400, {"error": "invalid_price"}, BadOrder),
        (400, {"error": "no_ssh_key_for_vm"}, BadOrder),
        (422, {"detail": [{"loc": ["body", "disk"], "msg": "too small", "input": "secret"}]}, BadOrder),
        (400, {"error": "insufficient_credit"}, OutOfCredit),
        (402, {"msg": "Insufficient credit."}, OutOfCredit),
        (400, {"error": "spend_rate_limit"}, LaunchDeferred),
        (429, TOO_FAST, LaunchDeferred),
        (429, b"Too many requests", LaunchDeferred),
        (200, {"success": False, "error": "no_such_ask"}, OfferGone),
        (200, {"success": False, "msg": "hm"}, ProviderError),
        (400, {"error": "bid_too_low", "new_contract": 555}, LaunchLeftover),
        (200, {"success": False, "new_contract": "555"}, LaunchLeftover),
        (502, {"error": "no_such_ask", "new_contract": 555}, LaunchLeftover),
        (400, HTML, ProviderError),
        (502, HTML, ProviderUnavailable),
        (504, b"", ProviderUnavailable),
        (404, {"error": "not_found"}, ProviderError),
    ],
)
def test_a_launch_that_failed_is_told_by_its_words(status: int, body: Any, expected: type) -> None:
    failure = failure_of(reply(status, body), launching=True)
    assert type(failure) is expected
    assert not isinstance(failure, LaunchLeftover) or failure.contract_id == "555"


@pytest.mark.parametrize(
    "body", [{"success": True, "new_contract": 5}, {"id": 1, "credit": 3.5}, {"error": None}]
)
def test_a_success_is_no_failure(body: Any) -> None:
    assert failure_of(reply(200, body)) is None


def test_a_spending_limit_is_waited_for_long() -> None:
    failure = failure_of(reply(400, {"error": "spend_rate_limit"}), launching=True)
    assert isinstance(failure, LaunchDeferred)
    assert failure.retry_after == SPEND_PAUSE_SECONDS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (reply(429, b"too fast", retry_after="7"), Pause(7.0)),
        (reply(429, {"retry_after": 3.5}), Pause(3.5)),
        (reply(429, TOO_FAST), Pause(None, 4.5)),
        (reply(429, b"threshold=3.0"), Pause(None, 3.0)),
        (reply(429, TOO_FAST, retry_after="9"), Pause(9.0, 4.5)),
        (reply(429, b"", retry_after="1e12"), Pause(3600.0)),
        (reply(429, b"", retry_after="soon"), Pause()),
        (reply(429, {"retry_after": "nan"}), Pause()),
    ],
)
def test_how_long_to_wait_is_read_from_wherever_it_stands(given: Reply, expected: Pause) -> None:
    assert pause(given) == expected


def test_a_date_to_come_back_is_understood() -> None:
    later = (datetime.now(UTC) + timedelta(seconds=100)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert pause(reply(429, b"", retry_after=later)).seconds == pytest.approx(100, abs=3)


def test_a_spent_day_of_searches_is_waited_for() -> None:
    later = datetime.now(UTC).timestamp() + 5000
    spent = reply(429, {"error": "search_quota_exceeded"}, x_ratelimit_reset=str(later))
    assert pause(spent).seconds == pytest.approx(5000, abs=3)
    failure = failure_of(spent)
    assert isinstance(failure, RateLimited)
    assert failure.retry_after == pytest.approx(5000, abs=3)


def test_nothing_secret_is_repeated() -> None:
    body = {"error": "invalid_args", "msg": "env A=value-of-a-variable of key-of-nobody is too long"}
    failure = failure_of(
        reply(400, body), launching=True, secrets=("value-of-a-variable", "key-of-nobody", "a")
    )
    assert str(failure) == "vast.ai answered 400: invalid_args: env A=••• of ••• is too long"
    assert redacted("key-of-nobody-2", ("key-of", "key-of-nobody-2")) == "•••"


def test_what_a_validation_repeats_of_the_order_is_left_out() -> None:
    body = {"detail": [{"msg": "too long", "input": {"env": "value"}}, 7]}
    assert "value" not in str(failure_of(reply(422, body)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_KEYS = ("success", "error", "msg", "message", "detail", "retry_after", "new_contract")
_BODIES = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.dictionaries(st.sampled_from(_KEYS), _JSON).map(lambda found: json.dumps(found).encode())
)


@given(
    status=st.integers(100, 999),
    body=_BODIES,
    headers=st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset"]), st.text(max_size=20)),
    launching=st.booleans(),
)
def test_any_bytes_are_a_success_or_a_typed_failure(
    status: int, body: bytes, headers: dict[str, str], launching: bool
) -> None:
    given = Reply(status, body, headers)
    failure = failure_of(given, launching=launching)
    assert failure is None or isinstance(failure, DumontError)
    assert failure is not None or (200 <= status < 300 and read(given).json is not None)
    assert not (
        launching and isinstance(failure, ProviderRefused) and status >= 500 and read(given).json is None
    )
    wait = pause(given)
    assert all(value is None or 0 <= value <= 1e6 for value in (wait.seconds, wait.threshold))


def test_json_too_deep_to_read_is_no_success() -> None:
    assert isinstance(failure_of(Reply(200, b"[" * 100_000)), ProviderUnavailable)

"""Posts readings to the control plane over one kept connection, and tells plainly what came of it. Never raises."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from agents.protocol import (
    AGENT_VERSION,
    PROTOCOL_VERSION,
    STATUS_PATH,
    MalformedReply,
    Reply,
    encode,
    parse_reply,
)

TIMEOUT_SECONDS = 10.0
MAX_REPLY_BYTES = 64 * 1024
REPLY_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 300.0


class Result(Enum):
    """``REFUSED``: sending the same again is useless. ``UNAUTHORISED``: a person must act. Both others: obvious."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNAUTHORISED = "unauthorised"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one post. ``problem`` is a sentence; ``retry_after`` seconds the server asked for, ≤ 300."""

    result: Result
    reply: Reply | None = None
    problem: str = ""
    retry_after: float | None = None


class TokenUnavailable(Exception):
    """There is no usable token; the message says where it was looked for."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class ControlClient:
    """One control plane, one token. ``token`` is asked at every post, so a renewed token is used without a restart.

    ``control_url`` must have passed ``checked_url``. Posting is safe to repeat: the sequence number tells.
    """

    def __init__(self, control_url: str, token: Callable[[], str], timeout: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(control_url)
        self._path = parts.path.rstrip("/") + STATUS_PATH
        self._token = token
        self._connection = _connection(parts.scheme, parts.hostname or "", parts.port, timeout)

    def post_status(self, reading: Mapping[str, Any]) -> Outcome:
        try:
            headers = {**_HEADERS, "Authorization": f"Bearer {self._token()}"}
        except TokenUnavailable as error:
            return Outcome(Result.UNAUTHORISED, problem=str(error))
        try:
            answer = self._exchange(encode(reading), headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Outcome(Result.UNAVAILABLE, problem=_network_problem(error))
        return _outcome(answer, str(reading["instance_id"]))

    def close(self) -> None:
        self._connection.close()

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        reused = self._connection.sock is not None
        try:
            return self._exchange_once(body, headers)
        except (ConnectionError, http.client.BadStatusLine):
            # A server may close an idle connection just as we use it; a fresh one shows whether it is up.
            self.close()
            if not reused:
                raise
            return self._exchange_once(body, headers)

    def _exchange_once(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        self._connection.request("POST", self._path, body, dict(headers))
        response = self._connection.getresponse()
        answer = _Answer(
            response.status, {k.lower(): v for k, v in response.getheaders()}, read_body(response)
        )
        if response.length == 0:
            response.close()  # Read to its end, which keeps the connection usable.
        if not response.isclosed():
            self.close()
        return answer


_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": f"dumont-agent/{AGENT_VERSION} protocol/{PROTOCOL_VERSION}",
}


def checked_url(url: str) -> str:
    """``url`` as a usable base address, or ``ValueError`` with a sentence."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the address must not contain a user, a password, '?' or '#'")
    _ = parts.port, parts.hostname.encode("idna")  # Each raises ValueError for what is not one.
    return url.rstrip("/")


def _connection(scheme: str, host: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=timeout)


def read_body(response: http.client.HTTPResponse) -> bytes:
    """At most a little over the longest sane reply: a huge or dripping body must not hold the agent."""
    deadline = time.monotonic() + REPLY_SECONDS
    body = b""
    while len(body) <= MAX_REPLY_BYTES and time.monotonic() < deadline:
        piece = response.read1(MAX_REPLY_BYTES)
        if not piece:
            break
        body += piece
    return body


def _outcome(answer: _Answer, instance_id: str) -> Outcome:
    if answer.status in (401, 403):
        return Outcome(Result.UNAUTHORISED, problem=_unauthorised(answer.status, instance_id))
    if answer.status in (400, 413, 415, 422):
        return Outcome(
            Result.REFUSED, problem=f"the server refuses this reading ({answer.status}): {_text(answer)}"
        )
    if answer.status not in (200, 201, 202):
        return Outcome(
            Result.UNAVAILABLE, problem=_status_problem(answer), retry_after=retry_after(answer.headers)
        )
    if len(answer.body) > MAX_REPLY_BYTES:
        return Outcome(
            Result.UNAVAILABLE, problem="the answer is too long; is this the control plane's address?"
        )
    try:
        return Outcome(Result.ACCEPTED, reply=parse_reply(answer.body, instance_id))
    except MalformedReply as error:
        return Outcome(Result.UNAVAILABLE, problem=str(error))


def _unauthorised(status: int, instance_id: str) -> str:
    return (
        f"the server does not accept the token ({status}). Get a new enrolment command for {instance_id} from the "
        "control plane and put its token in place; it is used without a restart"
    )


def _status_problem(answer: _Answer) -> str:
    if 300 <= answer.status < 400:
        return f"the server redirects to {answer.headers.get('location', '?')[:100]!r}: give --control-url that address"
    if answer.status == 404:
        return "the server has no such address (404): check --control-url and --instance-id"
    return f"the server answers {answer.status}: {_text(answer)}"


def _text(answer: _Answer) -> str:
    return "".join(c if c.isprintable() else " " for c in answer.body[:160].decode(errors="replace"))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait, 0–300, from a number or a date; None if it does not say."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = (
            float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _network_problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid: {error.verify_message}"
    return f"cannot reach the server: {error or type(error).__name__}; check --control-url and the network"

"""Calls of a provider's HTTP interface: a permit first, one request, the answer or a typed error.

Reads are repeated a little; what changes something is sent once, and a launch on a connection of its own, so that
nothing below us can send it again. What the provider's answers mean is told by the client that uses this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from hibernation.domain.errors import (
    DumontError,
    LaunchDeferred,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.providers.limiter import Limiter
from hibernation.providers.replies import Pause, Reply, redacted

# It tells every URL, and that of a log lets anybody read it.
logging.getLogger("httpx").setLevel(logging.WARNING)

READ_TIMEOUT = httpx.Timeout(20.0, connect=5.0, pool=5.0)
# Its answer is worth waiting for: without it the machine must be looked for.
_LAUNCH_TIMEOUT = httpx.Timeout(60.0, connect=5.0, pool=5.0)
NO_KEEPING = httpx.Limits(max_keepalive_connections=0)
_TRIES = 3
_LONGEST_ANSWER = 32 << 20
_LONGEST_READ_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Request:
    """``call`` is the kind that the limiter counts, ``who`` the name of the place in its line."""

    method: str
    path: str
    call: str
    who: str
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: object = field(default=None, repr=False)
    urgent: bool = False


class FailureOf(Protocol):
    def __call__(
        self, reply: Reply, *, launching: bool = False, secrets: Collection[str] = ()
    ) -> DumontError | None:
        """The failure that an answer tells, or ``None`` for a success. Total: any bytes are one or the other.

        ``launching``: the call may have rented something, so that only what is certain becomes a ``ProviderRefused``.
        ``secrets`` may be in the answer, and must not be in the error.
        """


class Caller:
    """``provider`` is its name for people, ``pause_of`` how long a refusal for haste wants no such call.

    Every call raises ``RateLimited`` where its permit takes too long. Thread-safe. ``close`` ends the connections.
    """

    def __init__(
        self,
        provider: str,
        url: str,
        api_key: str,
        limiter: Limiter,
        failure_of: FailureOf,
        pause_of: Callable[[Reply], Pause],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._provider, self._key, self._limiter = provider, api_key, limiter
        self._failure_of, self._pause_of, self._sleep = failure_of, pause_of, sleep
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": "dumont"}
        context = httpx.create_ssl_context()
        self._http = httpx.Client(base_url=url, headers=headers, timeout=READ_TIMEOUT, verify=context)
        self._launches = httpx.Client(
            base_url=url, headers=headers, timeout=_LAUNCH_TIMEOUT, verify=context, limits=NO_KEEPING
        )

    def close(self) -> None:
        self._http.close()
        self._launches.close()

    def ask(self, request: Request) -> Reply:
        """A read of what always exists: what failed on the way or at the other end is asked again a few times."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self.tell(request)
            except NotFound as error:
                raise ProviderError(error.message) from error
            except RateLimited:
                raise
            except ProviderUnavailable:
                if attempt == _TRIES:
                    raise
                self._sleep(0.2 * 3 ** (attempt - 1))
        raise AssertionError

    def tell(self, request: Request) -> Reply:
        """One request, after its permit; a successful answer or its failure."""
        self._limiter.acquire(request.call, request.who, urgent=request.urgent)
        reply = self._send(self._http, request, (self._key,))
        failure = self._failure_of(reply, secrets=(self._key,))
        if isinstance(failure, RateLimited):
            failure.retry_after = self._heed(request.call, reply, failure.retry_after)
        if failure is not None:
            raise failure
        return reply

    def launch(self, request: Request, secrets: Collection[str] = ()) -> Reply:
        """At most one request, ever. A ``ProviderRefused`` says that nothing was rented; no permit is one."""
        try:
            self._limiter.acquire(request.call, request.who)
        except RateLimited as error:
            raise LaunchDeferred(error.message, error.retry_after) from error
        except ProviderUnavailable as error:
            raise LaunchDeferred(error.message) from error
        secrets = (self._key, *secrets)
        reply = self._send(self._launches, request, secrets)
        failure = self._failure_of(reply, launching=True, secrets=secrets)
        if isinstance(failure, LaunchDeferred):
            failure.retry_after = self._heed(request.call, reply, failure.retry_after)
        if failure is not None:
            raise failure
        return reply

    def _heed(self, call: str, reply: Reply, seconds: float) -> float:
        """Let everybody else wait too. Our seconds until another try: ``seconds`` of the provider's or more."""
        wanted, least = self._pause_of(reply), seconds * self._limiter.scale
        try:
            return max(least, self._limiter.penalize(call, wanted.seconds, wanted.threshold))
        except ProviderUnavailable:
            return least

    def _send(self, client: httpx.Client, request: Request, secrets: Collection[str]) -> Reply:
        params = dict(request.params) or None
        try:
            with client.stream(request.method, request.path, params=params, json=request.body) as response:
                return read_all(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = redacted(str(error), secrets) or type(error).__name__
            raise ProviderUnavailable(f"{request.call} got no answer from {self._provider}: {why}") from None


def read_all(response: httpx.Response) -> Reply:
    """Bounded in size and in time: an answer that drips would outlast every timeout of a single read."""
    deadline = time.monotonic() + _LONGEST_READ_SECONDS
    body = bytearray()
    for block in response.iter_bytes():
        body += block
        if len(body) > _LONGEST_ANSWER or time.monotonic() > deadline:
            raise httpx.ReadError("the answer does not end")
    return Reply(response.status_code, bytes(body), {k.lower(): v for k, v in response.headers.items()})

"""vast.ai's HTTP interface: one method for a call, plain rows in and out, typed errors.

Reads are repeated a little; what changes something is sent once, and a launch on a connection of its own, so that
nothing below us can send it again. Nothing logged or raised here holds the key, an environment or a log's URL.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from hibernation.domain.errors import (
    LaunchDeferred,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.providers.vast.errors import failure_of, redacted
from hibernation.providers.vast.limiter import Limiter
from hibernation.providers.vast.limits import Call
from hibernation.providers.vast.replies import Reply, contract_id, pause, read

# It tells every URL, and that of a log lets anybody read it.
logging.getLogger("httpx").setLevel(logging.WARNING)

PAGE = 25
_MOST_PAGES = 1000
_TRIES = 3
_READ = httpx.Timeout(20.0, connect=5.0, pool=5.0)
# Its answer is worth waiting for: without it the machine must be looked for.
_LAUNCH = httpx.Timeout(60.0, connect=5.0, pool=5.0)
_LONGEST_ANSWER = 32 << 20
_LONGEST_READ_SECONDS = 90.0
_LOG_TRIES = 6
_LOG_PAUSE_SECONDS = 0.3

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    call: Call
    who: str
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: object = field(default=None, repr=False)
    urgent: bool = False


class VastClient:
    """Every call first gets a permit of ``limiter``, and raises ``RateLimited`` where that takes too long.

    Thread-safe. ``close`` ends its connections.
    """

    def __init__(
        self, url: str, api_key: str, limiter: Limiter, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._key = api_key
        self._limiter = limiter
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": "dumont"}
        context = httpx.create_ssl_context()
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_READ, verify=context)
        self._launches = httpx.Client(
            base_url=url, headers=headers, timeout=_LAUNCH, verify=context, limits=fresh
        )
        self._elsewhere = httpx.Client(timeout=_READ, verify=context, limits=fresh)

    def close(self) -> None:
        for client in (self._http, self._launches, self._elsewhere):
            client.close()

    def search(self, query: Mapping[str, Any], *, who: str, urgent: bool = False) -> list[Row]:
        """One page of offers: at most 64, whatever ``limit`` in the query says."""
        found = self._ask(
            _Request("POST", "/api/v0/bundles/", Call.SEARCH, who, body=dict(query), urgent=urgent)
        )
        return _rows(found, "offers")

    def create(
        self, offer_id: str, order: Mapping[str, Any], *, who: str, secrets: Collection[str] = ()
    ) -> str:
        """Rent ``offer_id`` and return the contract's id. At most one request, ever.

        A ``ProviderRefused`` says that nothing was rented, a ``LaunchLeftover`` what was; anything else that it is
        unknown.
        """
        secrets = (self._key, *secrets)
        request = _Request("PUT", f"/api/v0/asks/{_number(offer_id)}/", Call.CREATE, who, body=dict(order))
        try:
            self._limiter.acquire(request.call, who)
        except RateLimited as error:
            raise LaunchDeferred(error.message, error.retry_after) from error
        except ProviderUnavailable as error:
            raise LaunchDeferred(error.message) from error
        reply = self._send(self._launches, request, secrets)
        failure = failure_of(reply, launching=True, secrets=secrets)
        if isinstance(failure, LaunchDeferred):
            failure.retry_after = self._heed(request.call, reply, failure.retry_after)
        if failure is not None:
            raise failure
        made = read(reply).contract_id
        if not made:
            raise ProviderError("vast.ai took the order without naming a contract.")
        return made

    def list_instances(self, *, who: str = "list") -> list[Row]:
        """Every instance of the account. Complete, or an error: the pages must add up to the total they tell."""
        rows: dict[str, Row] = {}
        token, seen = "", set[str]()
        for page in range(_MOST_PAGES):
            found = self._list_page(token, who, urgent=page > 0)
            rows.update((_own_id(row), row) for row in _rows(found, "instances"))
            token = _next_token(found)
            if not token:
                return _complete(list(rows.values()), found.get("total_instances"))
            if token in seen:
                break
            seen.add(token)
        raise ProviderUnavailable("The list of instances does not end.")

    def destroy(self, contract: str) -> None:
        """``NotFound`` if it is gone already."""
        path = f"/api/v0/instances/{_number(contract)}/"
        self._tell(_Request("DELETE", path, Call.DESTROY, f"destroy {contract}", body={}))

    def destroy_many(self, contracts: Collection[str]) -> None:
        """In one call, for one permit. Only a list tells which are gone."""
        numbers = [_number(contract) for contract in contracts]
        who = f"destroy {','.join(map(str, numbers))}"
        self._tell(
            _Request("DELETE", "/api/v0/instances/", Call.DESTROY, who, body={"instance_ids": numbers})
        )

    def set_state(self, contract: str, state: str, *, urgent: bool = False) -> None:
        """``state``: ``running`` or ``stopped``."""
        self._manage(contract, {"state": state}, urgent)

    def set_label(self, contract: str, label: str) -> None:
        self._manage(contract, {"label": label})

    def attach_key(self, contract: str, public_key: str) -> None:
        path = f"/api/v0/instances/{_number(contract)}/ssh/"
        who = f"attach {contract}"
        self._tell(_Request("POST", path, Call.ATTACH, who, body={"ssh_key": public_key.strip()}))

    def logs(self, contract: str, lines: int) -> str:
        """What the container printed last. The machine uploads it on demand, which may take longer than we wait."""
        path = f"/api/v0/instances/request_logs/{_number(contract)}/"
        body = {"tail": str(lines)}
        found = self._tell(_Request("PUT", path, Call.LOGS, f"logs {contract}", body=body))
        url = found.get("result_url")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise ProviderError("vast.ai took the request for a log without saying where it will be.")
        return self._uploaded(url)

    def account(self) -> Row:
        return self._ask(_Request("GET", "/api/v0/users/current/", Call.ACCOUNT, "account"))

    def price_rises(self) -> list[Row]:
        path = "/api/v0/instances/pending-price-increases/"
        found = self._ask(_Request("GET", path, Call.ACCOUNT, "price rises"))
        return _rows(found, "pending_price_increases")

    def _list_page(self, token: str, who: str, *, urgent: bool) -> Row:
        order = json.dumps([{"col": "id", "dir": "asc"}])
        params = {"select_filters": "{}", "order_by": order, "limit": str(PAGE)}
        if token:
            params["after_token"] = token
        return self._ask(_Request("GET", "/api/v1/instances/", Call.LIST, who, params=params, urgent=urgent))

    def _manage(self, contract: str, change: dict[str, str], urgent: bool = False) -> None:
        path = f"/api/v0/instances/{_number(contract)}/"
        self._tell(_Request("PUT", path, Call.MANAGE, f"manage {contract}", body=change, urgent=urgent))

    def _ask(self, request: _Request) -> Row:
        """A read: what failed on the way or at the other end is asked again a few times."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self._tell(request)
            except NotFound as error:
                raise ProviderError(error.message) from error
            except RateLimited:
                raise
            except ProviderUnavailable:
                if attempt == _TRIES:
                    raise
                self._sleep(0.2 * 3 ** (attempt - 1))
        raise AssertionError

    def _tell(self, request: _Request) -> Row:
        """One request, after its permit; the answer's object or its failure."""
        self._limiter.acquire(request.call, request.who, urgent=request.urgent)
        reply = self._send(self._http, request, (self._key,))
        failure = failure_of(reply, secrets=(self._key,))
        if isinstance(failure, RateLimited):
            failure.retry_after = self._heed(request.call, reply, failure.retry_after)
        if failure is not None:
            raise failure
        return read(reply).json or {}

    def _heed(self, call: Call, reply: Reply, seconds: float) -> float:
        """Let everybody else wait too. Our seconds until another try: ``seconds`` of the provider's or more."""
        wanted, least = pause(reply), seconds * self._limiter.scale
        try:
            return max(least, self._limiter.penalize(call, wanted.seconds, wanted.threshold))
        except ProviderUnavailable:
            return least

    def _send(self, client: httpx.Client, request: _Request, secrets: Collection[str]) -> Reply:
        params = dict(request.params) or None
        try:
            with client.stream(request.method, request.path, params=params, json=request.body) as response:
                return _read_all(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = redacted(str(error), secrets) or type(error).__name__
            raise ProviderUnavailable(f"{request.call} got no answer from vast.ai: {why}") from None

    def _uploaded(self, url: str) -> str:
        for _ in range(_LOG_TRIES):
            try:
                with self._elsewhere.stream("GET", url) as response:
                    reply = _read_all(response)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ProviderUnavailable(f"The log cannot be fetched: {type(error).__name__}") from None
            if reply.status == 200:
                return reply.body.decode(errors="replace")
            self._sleep(_LOG_PAUSE_SECONDS)
        raise ProviderUnavailable("The machine has not sent its log yet; ask again.")


def _read_all(response: httpx.Response) -> Reply:
    """Bounded in size and in time: an answer that drips would outlast every timeout of a single read."""
    deadline = time.monotonic() + _LONGEST_READ_SECONDS
    body = bytearray()
    for block in response.iter_bytes():
        body += block
        if len(body) > _LONGEST_ANSWER or time.monotonic() > deadline:
            raise httpx.ReadError("the answer does not end")
    return Reply(response.status_code, bytes(body), {k.lower(): v for k, v in response.headers.items()})


def _rows(found: Row, key: str) -> list[Row]:
    rows = found.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ProviderUnavailable(f"The answer of vast.ai has no list of {key}.")
    return rows


def _own_id(row: Row) -> str:
    own = contract_id(row.get("id"))
    if not own:
        raise ProviderUnavailable("The list of instances has a row without an id.")
    return own


def _next_token(found: Row) -> str:
    token = found.get("next_token")
    if token is None or isinstance(token, str):
        return token or ""
    raise ProviderUnavailable("The list of instances has a next page that cannot be asked for.")


def _complete(rows: list[Row], total: object) -> list[Row]:
    """Instances that appear or vanish between two pages make it an error too: the next list is whole."""
    if isinstance(total, bool) or not isinstance(total, int) or total != len(rows):
        raise ProviderUnavailable(f"The list of instances has {len(rows)} of {total!r}.")
    return rows


def _number(identity: str) -> int:
    """Ids become parts of paths."""
    if not contract_id(identity):
        raise NotFound(f"{identity!r} is not an id of vast.ai.")
    return int(identity)

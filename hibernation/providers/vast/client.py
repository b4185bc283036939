"""vast.ai's HTTP interface: one method for a call, plain rows in and out, typed errors.

Nothing logged or raised here holds the key, an environment or a log's URL.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx

from hibernation.domain.errors import NotFound, ProviderError, ProviderUnavailable
from hibernation.providers.caller import NO_KEEPING, READ_TIMEOUT, Caller, Request, read_all
from hibernation.providers.limiter import Limiter
from hibernation.providers.vast.errors import failure_of
from hibernation.providers.vast.limits import Call
from hibernation.providers.vast.replies import contract_id, pause, read

PAGE = 25
_MOST_PAGES = 1000
_LOG_TRIES = 6
_LOG_PAUSE_SECONDS = 0.3

Row = dict[str, Any]


class VastClient:
    """Every call first gets a permit of ``limiter``, and raises ``RateLimited`` where that takes too long.

    Thread-safe. ``close`` ends its connections.
    """

    def __init__(
        self, url: str, api_key: str, limiter: Limiter, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sleep = sleep
        self._caller = Caller("vast.ai", url, api_key, limiter, failure_of, pause, sleep=sleep)
        self._elsewhere = httpx.Client(timeout=READ_TIMEOUT, limits=NO_KEEPING)

    def close(self) -> None:
        self._caller.close()
        self._elsewhere.close()

    def search(self, query: Mapping[str, Any], *, who: str, urgent: bool = False) -> list[Row]:
        """One page of offers: at most 64, whatever ``limit`` in the query says."""
        found = self._ask(
            Request("POST", "/api/v0/bundles/", Call.SEARCH, who, body=dict(query), urgent=urgent)
        )
        return _rows(found, "offers")

    def create(
        self, offer_id: str, order: Mapping[str, Any], *, who: str, secrets: Collection[str] = ()
    ) -> str:
        """Rent ``offer_id`` and return the contract's id. At most one request, ever.

        A ``ProviderRefused`` says that nothing was rented, a ``LaunchLeftover`` what was; anything else that it is
        unknown.
        """
        request = Request("PUT", f"/api/v0/asks/{_number(offer_id)}/", Call.CREATE, who, body=dict(order))
        reply = self._caller.launch(request, secrets)
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
        self._tell(Request("DELETE", path, Call.DESTROY, f"destroy {contract}", body={}))

    def destroy_many(self, contracts: Collection[str]) -> None:
        """In one call, for one permit. Only a list tells which are gone."""
        numbers = [_number(contract) for contract in contracts]
        who = f"destroy {','.join(map(str, numbers))}"
        self._tell(Request("DELETE", "/api/v0/instances/", Call.DESTROY, who, body={"instance_ids": numbers}))

    def set_state(self, contract: str, state: str, *, urgent: bool = False) -> None:
        """``state``: ``running`` or ``stopped``."""
        self._manage(contract, {"state": state}, urgent)

    def set_label(self, contract: str, label: str) -> None:
        self._manage(contract, {"label": label})

    def attach_key(self, contract: str, public_key: str) -> None:
        path = f"/api/v0/instances/{_number(contract)}/ssh/"
        who = f"attach {contract}"
        self._tell(Request("POST", path, Call.ATTACH, who, body={"ssh_key": public_key.strip()}))

    def logs(self, contract: str, lines: int) -> str:
        """What the container printed last. The machine uploads it on demand, which may take longer than we wait."""
        path = f"/api/v0/instances/request_logs/{_number(contract)}/"
        body = {"tail": str(lines)}
        found = self._tell(Request("PUT", path, Call.LOGS, f"logs {contract}", body=body))
        url = found.get("result_url")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise ProviderError("vast.ai took the request for a log without saying where it will be.")
        return self._uploaded(url)

    def account(self) -> Row:
        return self._ask(Request("GET", "/api/v0/users/current/", Call.ACCOUNT, "account"))

    def price_rises(self) -> list[Row]:
        path = "/api/v0/instances/pending-price-increases/"
        found = self._ask(Request("GET", path, Call.ACCOUNT, "price rises"))
        return _rows(found, "pending_price_increases")

    def _list_page(self, token: str, who: str, *, urgent: bool) -> Row:
        order = json.dumps([{"col": "id", "dir": "asc"}])
        params = {"select_filters": "{}", "order_by": order, "limit": str(PAGE)}
        if token:
            params["after_token"] = token
        return self._ask(Request("GET", "/api/v1/instances/", Call.LIST, who, params=params, urgent=urgent))

    def _manage(self, contract: str, change: dict[str, str], urgent: bool = False) -> None:
        path = f"/api/v0/instances/{_number(contract)}/"
        self._tell(Request("PUT", path, Call.MANAGE, f"manage {contract}", body=change, urgent=urgent))

    def _ask(self, request: Request) -> Row:
        return read(self._caller.ask(request)).json or {}

    def _tell(self, request: Request) -> Row:
        return read(self._caller.tell(request)).json or {}

    def _uploaded(self, url: str) -> str:
        for _ in range(_LOG_TRIES):
            try:
                with self._elsewhere.stream("GET", url) as response:
                    reply = read_all(response)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ProviderUnavailable(f"The log cannot be fetched: {type(error).__name__}") from None
            if reply.status == 200:
                return reply.body.decode(errors="replace")
            self._sleep(_LOG_PAUSE_SECONDS)
        raise ProviderUnavailable("The machine has not sent its log yet; ask again.")


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

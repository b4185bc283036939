"""The way of a call through the fake market: faults, key, limit, the call itself, the journal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.http import BAD_GATEWAY, HANG_UP, Reply, Request, as_json, as_text
from tests.fakes.vast.calls import Calls, as_reply
from tests.fakes.vast.journal import Journal
from tests.fakes.vast.limits import Limits
from tests.fakes.vast.replies import Refusal
from tests.fakes.vast.routes import Route, find_route


@dataclass
class Api:
    """``result_polls``: how often a result is not ready yet when it is fetched."""

    calls: Calls
    limits: Limits = field(default_factory=Limits)
    journal: Journal = field(default_factory=Journal)
    result_polls: int = 1

    def handle(self, request: Request) -> Reply:
        if request.path.startswith("/results/"):
            return self._result(request.path.split("/")[2])
        route = find_route(request)
        if route is None:
            reply = Refusal(404, "not_found", f"{request.method} {request.path} does not exist").reply
        else:
            reply = self._with_faults(route, request)
        key = self.calls.keyring.name_of(request)
        self.journal.write(self.calls.market.clock.now(), request, route.call if route else "", key, reply)
        return reply

    def _with_faults(self, route: Route, request: Request) -> Reply:
        hits = dict(self._hits(route, request))
        if "slow" in hits:
            time.sleep(hits["slow"]["seconds"])
        for name, reply in _BEFORE.items():
            if name in hits:
                return reply
        for name, status in (("auth_404", 404), ("auth_401", 401)):
            if name in hits:
                return self.calls.keyring.unknown(status).reply
        if "rate_limited" in hits:
            return self.limits.refuse(hits["rate_limited"]["threshold"])
        reply = self._answer(route, request)
        return next((after for name, after in _AFTER.items() if name in hits), reply)

    def _hits(self, route: Route, request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
        context = self._context(route, request)
        for name in (*_BEFORE, *_AFTER, "auth_404", "auth_401", "rate_limited", "slow"):
            if (options := self.calls.market.faults.take(name, **context)) is not None:
                yield name, options

    def _context(self, route: Route, request: Request) -> dict[str, Any]:
        context: dict[str, Any] = {"call": route.call, "label": request.body.get("label") or ""}
        if route.call == "create":
            return {**context, "offer": route.arguments[0]}
        contract = self.calls.market.contracts.get(route.contract or 0)
        return {**context, **(contract.context() if contract else {}), "call": route.call}

    def _answer(self, route: Route, request: Request) -> Reply:
        market, keyring = self.calls.market, self.calls.keyring
        try:
            if route.category:
                key = keyring.identify(request)
                keyring.check(key, route.category, route.contract)
                with market.now() as now:
                    if refused := self.limits.check(route.call, key.name, request.client, now):
                        return refused
            self._refuse_reading(route)
            with market.now():
                return as_reply(getattr(self.calls, route.handler)(request, *route.arguments))
        except Refusal as refusal:
            return refusal.reply

    def _refuse_reading(self, route: Route) -> None:
        faults = self.calls.market.faults
        if route.call == "search" and faults.take("search_quota") is not None:
            refusal = Refusal(429, "search_quota_exceeded", "Daily search quota exceeded")
            refusal.reply.headers["X-RateLimit-Reset"] = str(self._end_of_day())
            raise refusal
        if route.call == "list" and faults.take("list_410") is not None:
            raise Refusal(410, "deprecated_endpoint", "This endpoint is retired.")
        if route.call == "list" and faults.take("list_500") is not None:
            raise Refusal(500, "server_error", "Internal server error")

    def _end_of_day(self) -> int:
        day = datetime.fromtimestamp(self.calls.market.clock.now(), UTC) + timedelta(days=1)
        return int(day.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())

    def _result(self, token: str) -> Reply:
        if token not in self.calls.results:
            return as_text("not found", 404)
        polled = self._polled.get(token, 0)
        self._polled[token] = polled + 1
        return as_text("not ready", 404) if polled < self.result_polls else as_text(self.calls.results[token])

    _polled: dict[str, int] = field(default_factory=dict)


_FAILED = as_json({"success": False, "error": "server_error", "msg": "Internal server error"}, 500)
_BEFORE = {"dropped": HANG_UP, "bad_gateway": BAD_GATEWAY, "server_error": _FAILED}
_AFTER = {"response_lost": HANG_UP, "bad_gateway_after": BAD_GATEWAY, "server_error_after": _FAILED}

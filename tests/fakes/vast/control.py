"""``/_fake/…``: what a test or a person does to the fake from another process. No key is asked for.

GET state, journal, ledger, faults; DELETE journal, faults; POST faults, clock, credit, traffic, limits, outsiders,
heal, rent. Their JSON members are those of the functions below.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.clock import ManualClock
from tests.fakes.http import Reply, Request, as_json
from tests.fakes.vast.api import Api


def control(api: Api, request: Request) -> Reply:
    """Answers with JSON: 404 for what does not exist, 400 for arguments that make no sense."""
    name = request.path.removeprefix("/_fake/").strip("/")
    act = _ACTS.get((request.method, name))
    if act is None:
        known = sorted(f"{method} {what}" for method, what in _ACTS)
        return as_json({"error": f"there are: {', '.join(known)}"}, 404)
    try:
        return as_json(act(api, request.body))
    except (KeyError, TypeError, ValueError) as error:
        return as_json({"error": f"{type(error).__name__}: {error}"}, 400)


def _state(api: Api, body: dict[str, Any]) -> Any:
    market = api.calls.market
    with market.now() as now:
        rows = [market.row(contract, in_list=True) for contract in market.contracts.values()]
        ended = sorted(market.ended)
        return {
            "now": now,
            "credit": market.ledger.credit,
            "spent": market.ledger.spent(),
            "billed": sorted(market.contracts),
            "ended": ended,
            "contracts": rows,
        }


def _ledger(api: Api, body: dict[str, Any]) -> Any:
    with api.calls.market.now():
        return api.calls.market.ledger.as_json()


def _arm(api: Api, body: dict[str, Any]) -> Any:
    options = {name: value for name, value in body.items() if name not in ("name", "times", "where")}
    api.calls.market.faults.arm(body["name"], body.get("times", 1), body.get("where"), **options)
    return api.calls.market.faults.as_json()


def _disarm(api: Api, body: dict[str, Any]) -> Any:
    api.calls.market.faults.disarm(body.get("name"))
    return api.calls.market.faults.as_json()


def _clock(api: Api, body: dict[str, Any]) -> Any:
    clock = api.calls.market.clock
    if not isinstance(clock, ManualClock):
        raise ValueError("this clock runs by itself")
    clock.advance(float(body["advance"]))
    return _state(api, {})


def _credit(api: Api, body: dict[str, Any]) -> Any:
    api.calls.market.set_credit(float(body["usd"]))
    return _state(api, {})


def _traffic(api: Api, body: dict[str, Any]) -> Any:
    api.calls.market.add_traffic(
        int(body["contract"]), down_gb=float(body.get("down_gb", 0)), up_gb=float(body.get("up_gb", 0))
    )
    return _ledger(api, {})


def _limits(api: Api, body: dict[str, Any]) -> Any:
    api.limits.factor = float(body.get("factor", api.limits.factor))
    api.limits.shape = body.get("shape", api.limits.shape)
    return {"factor": api.limits.factor, "shape": api.limits.shape, "refused": api.limits.refused}


def _outsiders(api: Api, body: dict[str, Any]) -> Any:
    api.calls.market.let_to_others(int(body["machine"]), int(body["gpus"]))
    return {}


def _heal(api: Api, body: dict[str, Any]) -> Any:
    api.calls.market.heal(int(body["contract"]))
    return {}


def _rent(api: Api, body: dict[str, Any]) -> Any:
    """As if the account's owner had rented by himself."""
    market = api.calls.market
    with market.now():
        offer = market.catalogue.offers[int(body["offer"])]
        order = {"image": "stranger", "disk": 10.0, "runtype": "ssh_direc ssh_proxy", **body}
        return {"contract": market.rent(offer, order).id}


def _forget(api: Api, body: dict[str, Any]) -> Any:
    api.journal.clear()
    return {}


_ACTS = {
    ("GET", "state"): _state,
    ("GET", "journal"): lambda api, body: api.journal.as_json(),
    ("DELETE", "journal"): _forget,
    ("GET", "ledger"): _ledger,
    ("GET", "faults"): lambda api, body: api.calls.market.faults.as_json(),
    ("POST", "faults"): _arm,
    ("DELETE", "faults"): _disarm,
    ("POST", "clock"): _clock,
    ("POST", "credit"): _credit,
    ("POST", "traffic"): _traffic,
    ("POST", "limits"): _limits,
    ("POST", "outsiders"): _outsiders,
    ("POST", "heal"): _heal,
    ("POST", "rent"): _rent,
}

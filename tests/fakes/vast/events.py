"""What happens at the fake market by time or by fault, beside what somebody asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.vast.contracts import Contract
from tests.fakes.vast.faults import RUNNING, TRAITS

if TYPE_CHECKING:
    from tests.fakes.vast.market import Market

KEPT_AFTER_END = 48 * 3600.0

Event = tuple[float, Callable[[float], None]]


@dataclass(frozen=True, slots=True)
class Rise:
    """A host's wish for more money. It comes true at ``due`` unless the rental ends or it is rejected."""

    id: int
    contract_id: int
    gpu_price: float
    created_at: float
    due: float


def of(market: Market, contract: Contract, now: float) -> Iterator[Event]:
    """What is due by ``now`` of one contract."""
    head = contract.plan[0] if contract.plan else None
    if head and head.at <= now and (contract.up or not head.needs_machine):
        yield head.at, lambda at: market.take_step(contract, at)
    if contract.end_date <= now and contract.delete_at is None:
        yield contract.end_date, lambda at: _expire(market, contract, at)
    if contract.delete_at is not None and contract.delete_at <= now:
        yield contract.delete_at, lambda at: market.destroy(contract)
    if contract.offline_until is not None and contract.offline_until <= now:
        yield contract.offline_until, lambda at: setattr(contract, "offline_until", None)
    queued = contract.queued_from
    if queued is not None and queued <= now and market.has_gpu(contract):
        yield queued, lambda at: market.run(contract, at)
    rise = market.rises.get(contract.id)
    if rise and rise.due <= now:
        yield rise.due, lambda at: accept(market, rise)


def of_credit(market: Market, since: float, now: float) -> Event | None:
    """The moment at which the money ends, if it does by ``now``."""
    alive = [contract for contract in market.contracts.values() if contract.delete_at is None]
    burn = sum(c.storage_price + (c.gpu_price if c.bills_gpu else 0.0) for c in market.contracts.values())
    if not alive or burn <= 0:
        return None
    at = since + max(market.ledger.credit, 0.0) / burn * 3600
    return (at, lambda at: _stop_all(market, at)) if at <= now else None


def accept(market: Market, rise: Rise) -> None:
    market.rises.pop(rise.contract_id, None)
    market.contracts[rise.contract_id].offer["dph_base"] = rise.gpu_price


def strike(market: Market, now: float) -> None:
    """Armed faults meet the contracts that they are for."""
    faults = market.faults
    for name in TRAITS:
        if faults.is_armed(name):
            for contract in market.contracts.values():
                if (
                    name not in contract.traits
                    and (hit := faults.take(name, **contract.context())) is not None
                ):
                    contract.traits[name] = hit
                    _begin(contract, name, hit)
    for name in RUNNING:
        if faults.is_armed(name):
            for contract in list(market.contracts.values()):
                if contract.actual == "running" and not contract.is_offline:
                    hit = faults.take(name, **contract.context())
                    if hit is not None:
                        _HAPPENINGS[name](market, contract, hit, now)


def _begin(contract: Contract, name: str, options: dict[str, Any]) -> None:
    if name == "price_higher":
        contract.offer["dph_base"] *= options["factor"]


def _offline(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    contract.offline_until = now + (math.inf if options["seconds"] is None else options["seconds"])


def _says(status: str) -> Callable[[Market, Contract, dict[str, Any], float], None]:
    def say(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
        contract.shown = (status, now + options["seconds"])

    return say


def _freezes(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    contract.actual, contract.plan = "frozen", []


def _keys_vanish(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    contract.machine_keys.clear()


def _halts(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    market.halt(contract, "exited")


def _vanishes(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    market.destroy(contract)


def _rises(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    price = contract.gpu_price * options["factor"]
    market.rises[contract.id] = Rise(contract.id + 10**6, contract.id, price, now, now + options["seconds"])


def _ends(market: Market, contract: Contract, options: dict[str, Any], now: float) -> None:
    contract.end_date = now
    _expire(market, contract, now)


def _expire(market: Market, contract: Contract, at: float) -> None:
    market.halt(contract, "exited")
    contract.delete_at = at + KEPT_AFTER_END


def _stop_all(market: Market, at: float) -> None:
    market.ledger.credit = min(market.ledger.credit, 0.0)
    for contract in market.contracts.values():
        _expire(market, contract, at)


_HAPPENINGS: dict[str, Callable[[Market, Contract, dict[str, Any], float], None]] = {
    "ssh_keys_vanish": _keys_vanish,
    "goes_offline": _offline,
    "status_unknown": _says("unknown"),
    "status_lags": _says("exited"),
    "frozen": _freezes,
    "outbid": _halts,
    "host_stops": _halts,
    "vanished": _vanishes,
    "price_rise": _rises,
    "end_date_reached": _ends,
}
assert set(_HAPPENINGS) == set(RUNNING)

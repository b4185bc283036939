"""When a machine must be given back before its work is done, because its rental or the money ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from hibernation.domain.durations import in_words
from hibernation.domain.states import CreditLevel, InstanceStatus

SOON = timedelta(hours=2)
LAST = timedelta(minutes=45)
SAVE_EVERY = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Pressure:
    """``saves``: what works is saved meanwhile. ``hard``: it ends in any case, and saved work is better than none."""

    why: str
    saves: bool = True
    hard: bool = False


class GivingBack(StrEnum):
    """``when_idle``: it is idle, so now; any work stops that. ``now``: whatever it does. ``save``: it works on."""

    NOTHING = "nothing"
    SAVE = "save"
    WHEN_IDLE = "when_idle"
    NOW = "now"


def pressures(
    *,
    ends_at: datetime | None,
    level: CreditLevel,
    credit: str,
    price: Decimal | None,
    max_price: Decimal | None,
    now: datetime,
) -> tuple[Pressure, ...]:
    """What presses for this machine's end, the hardest first. ``credit``: the account in a sentence."""
    found = [
        pressure
        for pressure in (_rental(ends_at, now), _credit(level, credit), _price(price, max_price))
        if pressure is not None
    ]
    return tuple(sorted(found, key=lambda pressure: (not pressure.hard, not pressure.saves)))


def decide(
    pressed: Sequence[Pressure],
    *,
    status: InstanceStatus,
    is_idle: bool,
    may_end_busy: bool,
    save_is_due: bool,
) -> GivingBack:
    """``is_idle``: it is seen idle now, and automatic hibernation is on."""
    if status not in (InstanceStatus.RUNNING, InstanceStatus.IDLE) or not pressed:
        return GivingBack.NOTHING
    if may_end_busy and any(pressure.hard for pressure in pressed):
        return GivingBack.NOW
    if is_idle:
        return GivingBack.WHEN_IDLE
    saves = save_is_due and any(pressure.saves for pressure in pressed)
    return GivingBack.SAVE if saves else GivingBack.NOTHING


def _rental(ends_at: datetime | None, now: datetime) -> Pressure | None:
    if ends_at is None or ends_at - now > SOON:
        return None
    return Pressure(f"the rental ends in {in_words(ends_at - now)}", hard=ends_at - now <= LAST)


def _credit(level: CreditLevel, credit: str) -> Pressure | None:
    if level not in (CreditLevel.FLOOR, CreditLevel.END):
        return None
    return Pressure(credit, hard=level is CreditLevel.END)


def _price(price: Decimal | None, max_price: Decimal | None) -> Pressure | None:
    if price is None or max_price is None or price <= max_price:
        return None
    return Pressure(f"it costs ${price:.3f}/h now, more than the ${max_price:.3f} allowed", saves=False)

"""How long the credit with a provider lasts, and what its end calls for. Pure.

A provider whose credit is gone stops every machine and later deletes their disks: all must be saved before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from hibernation.domain.durations import in_words
from hibernation.domain.states import CreditLevel

WARNING_HOURS, FLOOR_HOURS, END_HOURS = Decimal(12), Decimal(2), Decimal("0.75")
EASE = Decimal("1.2")
"""So much more credit than what a level begins at ends it: it would come and go with every bill otherwise."""

_WORSE = tuple(CreditLevel)


@dataclass(frozen=True, slots=True)
class Account:
    """USD. ``burn``: an hour of everything that bills. ``saving``: what sending every workspace to the store costs."""

    credit: Decimal | None
    burn: Decimal = Decimal(0)
    saving: Decimal = Decimal(0)


def level_of(account: Account, before: CreditLevel) -> CreditLevel:
    """The level now. It gets worse at once, and better only with ``EASE`` to spare."""
    now = _level(account)
    if account.credit is None or _WORSE.index(now) >= _WORSE.index(before):
        return now
    eased = _level(replace(account, credit=account.credit / EASE))
    return min(eased, before, key=_WORSE.index)


def is_worse(level: CreditLevel, before: CreditLevel) -> bool:
    return _WORSE.index(level) > max(_WORSE.index(before), _WORSE.index(CreditLevel.FINE))


def is_short(level: CreditLevel) -> bool:
    """Whether what is awake must be saved, and nothing may be rented."""
    return level in (CreditLevel.FLOOR, CreditLevel.END)


def hours_left(account: Account) -> float | None:
    """Until the credit is gone if nothing changes; ``None`` if that cannot be told or nothing bills."""
    if account.credit is None or account.burn <= 0:
        return None
    return float(max(Decimal(0), account.credit) / account.burn)


def in_a_sentence(provider: str, account: Account) -> str:
    hours = hours_left(account)
    lasts = (
        "" if hours is None else f", enough for {in_words(timedelta(hours=hours))} at ${account.burn:.2f}/h"
    )
    return f"${account.credit or 0:.2f} are left with {provider}{lasts}"


def _level(account: Account) -> CreditLevel:
    if account.credit is None:
        return CreditLevel.UNKNOWN
    after_saving = account.credit - account.saving
    if account.burn > 0 and after_saving <= END_HOURS * account.burn:
        return CreditLevel.END
    if after_saving <= FLOOR_HOURS * account.burn:
        return CreditLevel.FLOOR
    return CreditLevel.LOW if account.credit <= WARNING_HOURS * account.burn else CreditLevel.FINE

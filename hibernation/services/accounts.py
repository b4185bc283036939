"""Accounts with providers: how long their credit lasts, which rentals grow dearer, what all this costs an hour."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from hibernation.domain import credit
from hibernation.domain.credit import Account
from hibernation.domain.errors import CreditTooLow, ProviderError
from hibernation.domain.states import BILLING_MACHINE_STATES, CreditLevel, EventType, MachineState
from hibernation.models import Machine, ProviderAccount
from hibernation.providers.base import PriceRise, Provider
from hibernation.providers.registry import provider_names
from hibernation.services.clock import db_now
from hibernation.services.locks import locked_machine
from hibernation.services.sightings import SPENDS
from hibernation.services.transitions import emit

log = logging.getLogger(__name__)

CREDIT_EVERY, PRICES_EVERY = timedelta(minutes=5), timedelta(days=1)
TRUSTED = timedelta(hours=1)
"""Credit that was told longer ago is not counted on: somebody may have paid in, or another machine spent it."""
DEARER = Decimal("1.02")
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """For people. ``listed_seconds_ago`` and all about credit are ``None`` where it is unknown. USD."""

    provider: str
    listed_seconds_ago: float | None
    list_error: str
    billing_now_usd_per_hour: float
    credit_usd: float | None
    credit_hours_left: float | None
    credit_level: str


def refresh(provider: Provider) -> None:
    """Ask what is due to be asked, and draw the conclusions. Repeatable; a failure is logged and asked again."""
    account, _ = ProviderAccount.objects.get_or_create(provider=provider.name)
    now = db_now()
    if _is_due(account.credit_asked_at, CREDIT_EVERY, now):
        _ask_credit(provider, now)
    if _is_due(account.prices_asked_at, PRICES_EVERY, now):
        _ask_prices(provider, now)
    _tell_listed_prices(provider.name)
    _judge(provider.name)


def refuse_rental(provider: str) -> None:
    """``CreditTooLow`` while the credit is kept for saving what is awake."""
    row = ProviderAccount.objects.filter(provider=provider).first()
    if row is not None and credit.is_short(CreditLevel(row.level)):
        raise CreditTooLow(
            f"{in_a_sentence(row)}: that is kept for saving what is awake, and nothing is rented until it is paid in."
        )


def in_a_sentence(row: ProviderAccount) -> str:
    return credit.in_a_sentence(row.provider, account_of(row, db_now()))


def account_of(row: ProviderAccount, now: datetime) -> Account:
    """What is left now: of what was told, less what has been spent since. ``None`` if it was told too long ago."""
    burn = max(row.burn_per_hour, _our_burn(row.provider))
    if row.credit is None or row.credit_at is None or now - row.credit_at > TRUSTED:
        return Account(None, burn)
    spent = burn * Decimal((now - row.credit_at) / _HOUR)
    return Account(row.credit - spent, burn, _cost_of_saving(row.provider))


def facts_of_all(machines: QuerySet[Machine] | None = None) -> list[AccountFacts]:
    """Every provider this installation rents from, asked or not yet. ``machines``: count only these as billing."""
    now = db_now()
    rows = ProviderAccount.objects.in_bulk(list(provider_names()))
    return [
        _facts(rows.get(name) or ProviderAccount(provider=name), now, machines) for name in provider_names()
    ]


def _facts(row: ProviderAccount, now: datetime, machines: QuerySet[Machine] | None) -> AccountFacts:
    account = account_of(row, now)
    hours = credit.hours_left(account)
    return AccountFacts(
        provider=row.provider,
        listed_seconds_ago=None if row.listed_at is None else round((now - row.listed_at).total_seconds(), 1),
        list_error=row.list_error,
        billing_now_usd_per_hour=float(_our_burn(row.provider, machines)),
        credit_usd=None if account.credit is None else round(float(account.credit), 2),
        credit_hours_left=None if hours is None else round(hours, 1),
        credit_level=row.level,
    )


def _ask_credit(provider: Provider, now: datetime) -> None:
    mine = ProviderAccount.objects.filter(provider=provider.name)
    try:
        left = provider.credit()
    except ProviderError as error:
        log.warning("%s does not say how much credit is left: %s", provider.name, error)
        mine.update(credit_asked_at=now)
        return
    mine.update(credit=left, credit_at=now, credit_asked_at=now)


def _ask_prices(provider: Provider, now: datetime) -> None:
    mine = ProviderAccount.objects.filter(provider=provider.name)
    try:
        rises = provider.price_rises()
    except ProviderError as error:
        log.warning("%s does not say which prices will rise: %s", provider.name, error)
        mine.update(prices_asked_at=now - PRICES_EVERY + CREDIT_EVERY)
        return
    mine.update(prices_asked_at=now)
    for rise in rises:
        held = _held(provider.name).filter(contract_id=rise.contract_id).values_list("pk", flat=True).first()
        if held is not None:
            _tell_price(held, rise.price_per_hour, rise)


def _tell_listed_prices(provider: str) -> None:
    dearer = _held(provider).filter(price_now__gt=F("price_per_hour") * DEARER)
    news = dearer.filter(Q(price_told__isnull=True) | Q(price_told__lt=F("price_now")))
    for machine_id, price in list(news.values_list("pk", "price_now")):
        if price is not None:
            _tell_price(machine_id, price)


def _held(provider: str) -> QuerySet[Machine]:
    return Machine.objects.filter(provider=provider, state=MachineState.ACTIVE, instance__isnull=False)


@transaction.atomic
def _tell_price(machine_id: int, price: Decimal, rise: PriceRise | None = None) -> None:
    """Each price once. What follows from one above the instance's limit, the sweep decides."""
    machine, now = locked_machine(machine_id), db_now()
    is_told = machine.price_told is not None and machine.price_told >= price
    if is_told or machine.instance is None or price <= machine.price_per_hour:
        return
    machine.price_told = price
    machine.save(update_fields=["price_told"])
    when = f" from {rise.since:%Y-%m-%d %H:%M} UTC on" if rise and rise.since else " soon" if rise else ""
    reason = f"the host asks ${price:.3f}/h{when} instead of ${machine.price_per_hour:.3f}/h"
    limit = machine.instance.max_price
    if limit is not None and price > limit:
        reason += f", more than the ${limit:.3f}/h allowed: it is hibernated when it is idle"
    emit(EventType.PRICE_ROSE, reason, instance=machine.instance, now=now,
         data={"price_per_hour": f"{price:f}", "agreed": f"{machine.price_per_hour:f}"})  # fmt: skip


def _judge(provider: str) -> None:
    """Where the credit is unknown for long, what was known last still counts."""
    row, now = ProviderAccount.objects.get(provider=provider), db_now()
    account, before = account_of(row, now), CreditLevel(row.level)
    if account.credit is None and row.credit is not None:
        return
    level = credit.level_of(account, before)
    if level is not before:
        _cross(provider, account, before, level)


@transaction.atomic
def _cross(provider: str, account: Account, before: CreditLevel, level: CreditLevel) -> None:
    """Whoever writes the new level tells it."""
    crossed = ProviderAccount.objects.filter(provider=provider, level=before).update(level=level)
    event = _event_for(level, before)
    if crossed and event is not None:
        reason = f"{credit.in_a_sentence(provider, account)}{_CONSEQUENCE.get(level, '')}"
        data = {"provider": provider, "level": level.value}
        emit(event, reason, instance=None, now=db_now(), data=data)


_CONSEQUENCE = {
    CreditLevel.FLOOR: ": what is awake is saved, what is idle is hibernated, and nothing is rented",
    CreditLevel.END: ": all that may be is hibernated now, for a provider deletes the disks when nothing is left",
}


def _event_for(level: CreditLevel, before: CreditLevel) -> EventType | None:
    if credit.is_worse(level, before):
        return EventType.CREDIT_LOW
    better = level is CreditLevel.FINE and before is not CreditLevel.UNKNOWN
    return EventType.CREDIT_RESTORED if better else None


def _our_burn(provider: str, machines: QuerySet[Machine] | None = None) -> Decimal:
    """USD an hour of what we rent there; of a machine that no list has shown yet, what was agreed."""
    among = Machine.objects.all() if machines is None else machines
    ours = among.filter(provider=provider, state__in=BILLING_MACHINE_STATES)
    spends = Q(phase__in=SPENDS) | (Q(phase="") & ~Q(state=MachineState.PARKED))
    total = ours.filter(spends).aggregate(usd=Sum(Coalesce("price_now", "price_per_hour")))["usd"]
    disks = ours.exclude(spends).aggregate(usd=Sum("stopped_usd_hour"))["usd"]
    return (total or Decimal(0)) + (disks or Decimal(0))


def _cost_of_saving(provider: str) -> Decimal:
    """If every workspace were sent whole; before the first snapshot, as if its disk were full."""
    priced = _held(provider).filter(upload_usd_gb__gt=0).select_related("instance__snapshot")
    return sum((machine.upload_usd_gb * _gigabytes(machine) for machine in priced), Decimal(0))


def _gigabytes(machine: Machine) -> Decimal:
    instance = machine.instance
    if instance is None:
        return Decimal(0)
    kept = instance.snapshot
    return Decimal(instance.disk_gb) if kept is None else Decimal(kept.bytes_logical) / 10**9


def _is_due(asked_at: datetime | None, every: timedelta, now: datetime) -> bool:
    return asked_at is None or now - asked_at >= every

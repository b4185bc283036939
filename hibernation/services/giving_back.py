"""Giving machines back before their work is done: the rental ends, the credit ends, or it costs more than allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from hibernation.domain import idle
from hibernation.domain.giving_back import LAST, SAVE_EVERY, SOON, GivingBack, Pressure, decide, pressures
from hibernation.domain.occasions import next_snapshot
from hibernation.domain.states import (
    CreditLevel,
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    SnapshotPurpose,
)
from hibernation.models import Instance, Machine, ProviderAccount
from hibernation.services.accounts import in_a_sentence
from hibernation.services.clock import db_now
from hibernation.services.due import attempts_of, saved_at, wish_of
from hibernation.services.locks import locked_machine
from hibernation.services.requests import request_hibernate
from hibernation.services.starting import AWAKE, new_operation, running_operation, start
from hibernation.services.transitions import emit

_SHORT = (CreditLevel.FLOOR, CreditLevel.END)


def give_back() -> int:
    """Act on every machine that something presses to end; how many operations began. Repeatable, safe at once."""
    return sum(_give_back(machine_id) for machine_id in _pressed())


def _pressed() -> list[int]:
    short = ProviderAccount.objects.filter(level__in=_SHORT)
    ends = Q(ends_at__lte=db_now() + SOON)
    dear = Q(instance__max_price__isnull=False, price_now__gt=F("instance__max_price"))
    awake = Machine.objects.filter(
        state=MachineState.ACTIVE, instance__status__in=AWAKE, down_since__isnull=True
    )
    found = awake.filter(ends | dear | Q(provider__in=short.values("provider")))
    return list(found.order_by("ends_at", "pk").values_list("pk", flat=True))


@transaction.atomic
def _give_back(machine_id: int) -> bool:
    machine, now = locked_machine(machine_id), db_now()
    instance = machine.instance
    if instance is None or machine.state != MachineState.ACTIVE or machine.down_since is not None:
        return False
    pressed = pressures_on(machine, instance, now)
    _tell_end(machine, instance, now)
    is_idle = (
        instance.status == InstanceStatus.IDLE
        and instance.policy.enabled
        and idle.is_fresh(instance.idle_state, now)
    )
    verdict = decide(
        pressed,
        status=InstanceStatus(instance.status),
        is_idle=is_idle,
        may_end_busy=instance.hibernate_busy_at_the_end,
        save_is_due=_save_is_due(instance, now),
    )
    return _carry_out(verdict, instance, pressed, now)


def pressures_on(machine: Machine, instance: Instance, now: datetime) -> tuple[Pressure, ...]:
    """Why this machine's rental must end before long, the hardest reason first."""
    account = ProviderAccount.objects.filter(provider=machine.provider).first()
    level = CreditLevel.UNKNOWN if account is None else CreditLevel(account.level)
    return pressures(
        ends_at=machine.ends_at,
        level=level,
        credit=in_a_sentence(account) if account is not None and level in _SHORT else "",
        price=machine.price_now,
        max_price=instance.max_price,
        now=now,
    )


def _tell_end(machine: Machine, instance: Instance, now: datetime) -> None:
    if machine.ends_at is None or machine.ends_at - now > SOON or machine.end_told_at is not None:
        return
    machine.end_told_at = now
    machine.save(update_fields=["end_told_at"])
    last = machine.ends_at - LAST
    then = (
        f"it is hibernated when it is idle, at {last:%H:%M} UTC also if it works"
        if instance.hibernate_busy_at_the_end
        else "it is hibernated when it is idle; if it works to the end, what was not saved by then is lost"
    )
    reason = f"the rental ends at {machine.ends_at:%Y-%m-%d %H:%M} UTC: {then}"
    emit(EventType.RENTAL_ENDS, reason, instance=instance, now=now,
         data={"contract_id": machine.contract_id, "ends_at": machine.ends_at.isoformat()})  # fmt: skip


def _save_is_due(instance: Instance, now: datetime) -> bool:
    """Every ``SAVE_EVERY``, or as often as the instance is set to; after fruitless attempts with the usual pauses."""
    wish = wish_of(instance)
    often = replace(wish, interval=min(wish.interval or timedelta.max, SAVE_EVERY))
    due = next_snapshot(
        often,
        status=InstanceStatus(instance.status),
        idle=instance.idle_state,
        saved_at=saved_at(instance),
        attempts=attempts_of(instance),
    )
    return due is not None and due[0] <= now


def _carry_out(verdict: GivingBack, instance: Instance, pressed: tuple[Pressure, ...], now: datetime) -> bool:
    """What just failed would fail again at once. What runs is let run: a hibernation that is ordered waits for it."""
    if verdict is GivingBack.NOTHING:
        return False
    held = instance.hold_until is not None and instance.hold_until > now
    running, why = running_operation(instance), pressed[0].why
    if verdict is GivingBack.NOW and not held:
        request_hibernate(instance.pk, actor="system", reason=why, forced=True)
        return running is None
    if running is not None:
        return False
    if verdict is GivingBack.WHEN_IDLE and not held:
        _start(instance, OperationKind.HIBERNATE, f"idle, and {why}", now)
        return True
    if verdict is GivingBack.SAVE:
        _start(instance, OperationKind.SNAPSHOT, why, now)
        return True
    return False


def _start(instance: Instance, kind: OperationKind, reason: str, now: datetime) -> None:
    is_snapshot = kind is OperationKind.SNAPSHOT
    operation = new_operation(
        instance,
        kind,
        now,
        state=OperationState.RUNNING,
        actor="system",
        reason=reason,
        forced=is_snapshot,
        params={"purpose": SnapshotPurpose.PERIODIC.value} if is_snapshot else None,
    )
    start(instance, operation, now)

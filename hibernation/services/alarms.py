"""Alarms for rentals that were ended and bill on: said after ten minutes and then daily, for as long as it takes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from hibernation.domain.durations import in_words
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.models import Machine
from hibernation.services.clock import db_now
from hibernation.services.locks import locked_machine
from hibernation.services.transitions import emit

FIRST_AFTER, THEN_EVERY = timedelta(minutes=10), timedelta(days=1)


def alarm_unconfirmed() -> int:
    """Tell of every rental whose end no complete list has confirmed in time; how many. Needs no list itself."""
    now = db_now()
    due = Machine.objects.filter(
        Q(alarmed_at__isnull=True) | Q(alarmed_at__lte=now - THEN_EVERY),
        state=MachineState.DESTROYING,
        state_changed_at__lte=now - FIRST_AFTER,
    )
    return sum(_alarm(machine_id) for machine_id in list(due.values_list("pk", flat=True)))


@transaction.atomic
def _alarm(machine_id: int) -> bool:
    machine, now = locked_machine(machine_id), db_now()
    alarmed_now = machine.alarmed_at is not None and machine.alarmed_at > now - THEN_EVERY
    if machine.state != MachineState.DESTROYING or alarmed_now:
        return False
    machine.alarmed_at = now
    machine.save(update_fields=["alarmed_at"])
    since = now - machine.state_changed_at
    spent = (machine.price_now or machine.price_per_hour) * Decimal(since / timedelta(hours=1))
    reason = (
        f"the end of the rental {machine.contract_id} was ordered {in_words(since)} ago and is not confirmed: it may "
        f"have cost ${spent:.2f} since; destroy is being repeated, end it with {machine.provider} if this lasts"
    )
    emit(EventType.STILL_BILLING, reason, instance=machine.instance, now=now,
         data={"contract_id": machine.contract_id, "spent_usd": f"{spent:.2f}"})  # fmt: skip
    instance = machine.instance
    if instance is not None and instance.status == InstanceStatus.HIBERNATING:
        instance.last_error = reason
        instance.save(update_fields=["last_error"])
    return True

"""What machines are told about stopping themselves when nobody speaks to them, and what they tell of it afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from agents.protocol import GuardFact, GuardOutcome, GuardTerms
from hibernation.domain.states import EventType
from hibernation.models import Event, Instance, Machine
from hibernation.services.transitions import emit

BEATS_IN_WINDOW = 4
"""Heartbeats that must fail before a silence is one, where they are rare."""
_EVENTS = {GuardOutcome.STOPPED: EventType.GUARD_STOPPED, GuardOutcome.UNABLE: EventType.GUARD_UNABLE}


def guard_terms(instance: Instance, machine: Machine) -> GuardTerms:
    """A machine that we may not hibernate for being idle may not stop itself for it either."""
    after = settings.DUMONT_GUARD_AFTER if instance.policy.enabled else timedelta()
    if after:
        after = max(after, BEATS_IN_WINDOW * instance.heartbeat_interval)
    return GuardTerms(
        after_seconds=after.total_seconds(),
        gpu_usage_threshold=instance.policy.gpu_usage_threshold,
        provider=machine.provider,
        contract_id=machine.contract_id or "",
    )


def note_fact(fact: GuardFact | None, instance: Instance, now: datetime) -> str:
    """Make it an event, once however often it is told, and return its id for the machine to forget it."""
    if fact is None:
        return ""
    kind = _EVENTS[fact.outcome]
    if not Event.objects.filter(instance=instance, event_type=kind, data__fact=fact.id).exists():
        data = {"fact": fact.id, "at": fact.at, "silent_seconds": fact.silent_seconds}
        emit(kind, fact.reason, instance=instance, now=now, actor="agent", data=data)
    return fact.id

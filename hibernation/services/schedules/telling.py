"""The sentences of schedules: which occurrence, and what became of it."""

from __future__ import annotations

from datetime import datetime

from hibernation.domain.states import EventType
from hibernation.domain.timetable import Leg
from hibernation.models import Event
from hibernation.services.facts import SCHEDULE


def occurrence_in_words(leg: str, nominal: str, timezone: str) -> str:
    """``wake of 2026-01-31 09:00 America/Sao_Paulo``."""
    return f"{leg} of {nominal.replace('T', ' ')} {timezone}"


def told(
    event: EventType,
    instance_id: str,
    leg: Leg,
    nominal: str,
    timezone: str,
    reason: str,
    now: datetime,
    operation_id: int | None = None,
) -> Event:
    """An unsaved event about one occurrence."""
    return Event(
        instance_id=instance_id,
        operation_id=operation_id,
        event_type=event,
        timestamp=now,
        reason=f"{occurrence_in_words(leg, nominal, timezone)}: {reason}",
        actor=SCHEDULE,
        data={"leg": leg.value, "nominal": nominal, "timezone": timezone},
    )

"""The sentences of schedules: which occurrence, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from hibernation.domain.states import EventType
from hibernation.domain.timetable import Leg
from hibernation.models import Event
from hibernation.services.facts import SCHEDULE
from hibernation.services.schedules.templates import rows_like


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


def tell_many(many: Sequence[tuple[Sequence[str], Event]]) -> None:
    """The event of each, once for each of its instances: one that ``told`` made. All are of one type and moment."""
    if not many:
        return
    events = [event for _, event in many]
    parameters: dict[str, Any] = {
        "instances": [pk for pks, _ in many for pk in pks],
        "places": [place for place, (pks, _) in enumerate(many, 1) for _ in pks],
        "reasons": [event.reason for event in events],
        "data": [json.dumps(event.data) for event in events],
    }
    into, rows = rows_like(events[0], _VARYING, parameters)
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {_NEW} {into} {rows} ORDER BY new.place", parameters)


_NEW = """
new AS (
    SELECT given.instance_id, alike.*
    FROM unnest(%(instances)s::text[], %(places)s::bigint[]) AS given(instance_id, place)
    JOIN unnest(%(reasons)s::text[], %(data)s::text[]) WITH ORDINALITY AS alike(reason, data, place) USING (place)
)
"""
_VARYING = {"instance_id": "new.instance_id", "reason": "new.reason", "data": "new.data::jsonb"}

"""Until when schedules hold back idleness, written where heartbeats and the sweep look for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from hibernation.models import Schedule
from hibernation.services.schedules.rows import awake_until

_HOLD = """
UPDATE instance_status AS old
SET awake_until = new.until,
    hibernate_due_at = CASE WHEN old.hibernate_due_at IS NOT NULL THEN GREATEST(old.hibernate_due_at, new.until) END
FROM unnest(%s::text[], %s::timestamptz[]) AS new(pk, until)
WHERE old.id = new.pk
"""


def hold_awake(many: Sequence[tuple[Sequence[str], Schedule]], now: datetime) -> None:
    """Set when idleness counts again for the instances that have such a schedule. What stands idle now is put off at
    once, the rest with its next heartbeat.
    """
    if not many:
        return
    of_each = [(pks, awake_until(row, now)) for pks, row in many]
    until = [(instance_id, moment) for pks, moment in of_each for instance_id in pks]
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [[pk for pk, _ in until], [moment for _, moment in until]])

"""A schedule whose times cannot be told, as when its zone is no more: told of, looked at later, and in nobody's way."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db.models import F
from django.db.models.functions import Greatest

from hibernation.domain.states import EventType
from hibernation.models import Event, Schedule
from hibernation.services.clock import db_now
from hibernation.services.facts import SCHEDULE
from hibernation.services.schedules.clock import scaled

log = logging.getLogger(__name__)

_AFTER_A_BUG = timedelta(minutes=5)


def put_off(instance_id: str, timezone: str, error: Exception, now: datetime) -> None:
    """Looked at again in some minutes, and what came due meanwhile is caught up then. Told once for each reason."""
    log.error("the schedule of %s cannot be told", instance_id, exc_info=error)
    later = now + scaled(_AFTER_A_BUG)
    Schedule.objects.filter(pk=instance_id, next_run_at__isnull=False).update(
        next_run_at=later, next_due_at=Greatest(F("next_due_at"), later)
    )
    reason = f"its times cannot be told: {error}"
    waited = Event.objects.filter(instance=instance_id, event_type=EventType.SCHEDULE_WAITED).order_by("-pk")
    if waited.values_list("reason", flat=True).first() != reason:
        Event.objects.create(
            instance_id=instance_id,
            event_type=EventType.SCHEDULE_WAITED,
            timestamp=db_now(),
            reason=reason,
            actor=SCHEDULE,
            data={"timezone": timezone},
        )

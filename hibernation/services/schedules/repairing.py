"""Next occurrences put right: by a new zone file, by the usual wake of today, and after a clock that was ahead."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import QuerySet

from hibernation.domain.states import RunState
from hibernation.domain.timetable import LONGEST_LEAD
from hibernation.models import Schedule, ScheduleRun
from hibernation.services.schedules.clock import schedule_now
from hibernation.services.schedules.leads import leads_of
from hibernation.services.schedules.rows import NEXT_FIELDS, settle

log = logging.getLogger(__name__)


def repair_times(rows: Sequence[Schedule], repairs: list[str]) -> set[str]:
    """The next occurrence by the zone file and the usual wake of today; what is due now is left to the tick.

    Those are answered whose times cannot be told: the tick tells of them.
    """
    now, bad = schedule_now(), set()
    leads = leads_of(row.pk for row in rows if row.ready_by)
    for row in rows:
        before = (row.next_run_at, row.next_due_at, row.next_leg)
        if row.next_run_at is not None and row.next_run_at <= now:
            continue
        settled_at = row.settled_at
        try:
            settle(row, _settled_by(row, now), leads.get(row.pk, timedelta(0)))
        except ValueError:
            log.exception("the schedule of %s cannot be told", row.pk)
            bad.add(row.pk)
            continue
        if before != (row.next_run_at, row.next_due_at, row.next_leg):
            changed = Schedule.objects.filter(pk=row.pk, settled_at=settled_at).update(
                **{name: getattr(row, name) for name in NEXT_FIELDS}
            )
            if changed and row.settled_at < settled_at:
                _never_missed(row).filter(due_at__gt=now).delete()
            repairs.append(f"{row}: next {row.next_leg or 'never'} moved to {row.next_run_at}")
    return bad


def _settled_by(row: Schedule, now: datetime) -> datetime:
    """Up to when everything is dealt with: not beyond now, but for a wake that started early.

    A clock that was ahead and was put right would leave a schedule that does nothing until that time comes.
    """
    if row.settled_at <= now:
        return row.settled_at
    acted = ScheduleRun.objects.filter(instance=row.pk, due_at__gt=now, due_at__lte=now + LONGEST_LEAD)
    last = acted.exclude(state=RunState.MISSED).order_by("-due_at").values_list("due_at", flat=True).first()
    return last or now


def _never_missed(row: Schedule) -> QuerySet[ScheduleRun]:
    """By a clock that was ahead. What was acted on keeps its row, and is not acted on again."""
    return ScheduleRun.objects.filter(instance=row.pk, state=RunState.MISSED)

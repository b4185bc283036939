"""What came due becomes runs, once each, and the schedule moves on to its next occurrence, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from django.db import connection, transaction

from hibernation.domain.states import EventType, RunState
from hibernation.domain.timetable import (
    FURTHEST,
    Leg,
    Occurrence,
    Settled,
    Timetable,
    Verdict,
    catch_up,
    due,
    occurrences,
)
from hibernation.models import Event, Instance, Schedule
from hibernation.services.clock import db_now
from hibernation.services.schedules.leads import leads_of
from hibernation.services.schedules.rows import awake_until, grace_of, nominal_text, settle, timetable_of
from hibernation.services.schedules.telling import told

BATCH = 2000
_LOOKED_AHEAD = 3


@transaction.atomic
def fire_batch(now: datetime, instance_id: str | None = None) -> int:
    """Deal with what has to start by ``now``, of some schedules or of one; how many schedules. Rows that somebody else
    holds are his: they are passed over.
    """
    due_rows = Schedule.objects.select_for_update(no_key=True, of=("self", "instance"), skip_locked=True)
    found = due_rows.select_related("instance").only(*_READ).filter(next_run_at__lte=now)
    if instance_id is not None:
        found = found.filter(pk=instance_id)
    rows = list(found.order_by("next_run_at")[:BATCH])
    if rows:
        fire(rows, now)
    return len(rows)


_READ = (
    *(field.name for field in Schedule._meta.concrete_fields if field.name != "instance"),
    "instance__id",
)


def fire(rows: Sequence[Schedule], now: datetime) -> None:
    """The caller holds the locks of the instances and of the schedules."""
    leads = leads_of(row.pk for row in rows if row.ready_by)
    real_now = db_now()
    runs: list[_Run] = []
    for row in rows:
        settled = _settled(row, now)
        runs += [_Run(row, one) for one in settled]
        last = settled[-1].occurrence.due_at if settled else row.settled_at
        settle(row, last, leads.get(row.pk, _NO_LEAD))
    fresh = _insert(runs, real_now)
    _tell_missed(fresh, real_now)
    _move_on(rows)
    _hold_awake([row for row in rows if row.stay_awake], now)


_NO_LEAD = timedelta(0)


@dataclass(frozen=True, slots=True)
class _Run:
    row: Schedule
    settled: Settled

    @property
    def key(self) -> tuple[str, str, str]:
        occurrence = self.settled.occurrence
        return self.row.pk, occurrence.leg.value, nominal_text(occurrence)


def _settled(row: Schedule, now: datetime) -> list[Settled]:
    timetable = timetable_of(row)
    found: Sequence[Occurrence] = _upcoming(timetable, row.settled_at, row.lead)
    started = [one for one in found if one.starts_at <= now]
    if len(started) == _LOOKED_AHEAD:
        started = due(timetable, row.settled_at, now, row.lead)
    return catch_up(started, now, grace_of(started[-1].leg)) if started else []


@lru_cache(maxsize=20_000)
def _upcoming(timetable: Timetable, settled_at: datetime, lead: timedelta) -> tuple[Occurrence, ...]:
    """Remembered: those that are due together mostly have the same times, too."""
    ahead = occurrences(timetable, settled_at, settled_at + FURTHEST, lead)
    return tuple(islice(ahead, _LOOKED_AHEAD))


_INSERT = """
INSERT INTO hibernation_schedulerun
    (instance_id, leg, nominal, timezone, due_at, state, reason, attempts, ask_at, created_at, finished_at)
SELECT new.instance_id, new.leg, new.nominal, new.timezone, new.due_at, new.state, new.reason, 0,
    CASE WHEN new.state = %(waiting)s THEN %(now)s END, %(now)s, CASE WHEN new.state <> %(waiting)s THEN %(now)s END
FROM unnest(%(instances)s::text[], %(legs)s::text[], %(nominals)s::text[], %(zones)s::text[],
    %(due)s::timestamptz[], %(states)s::text[], %(reasons)s::text[])
    AS new(instance_id, leg, nominal, timezone, due_at, state, reason)
ON CONFLICT (instance_id, leg, nominal) DO NOTHING
RETURNING instance_id, leg, nominal
"""


def _insert(runs: Sequence[_Run], now: datetime) -> list[_Run]:
    """Those that are new: an occurrence that has its run already was dealt with."""
    if not runs:
        return []
    missed = [run.settled.verdict is Verdict.MISSED for run in runs]
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "waiting": RunState.WAITING,
                "now": now,
                "instances": [run.row.pk for run in runs],
                "legs": [run.settled.occurrence.leg.value for run in runs],
                "nominals": [nominal_text(run.settled.occurrence) for run in runs],
                "zones": [run.row.timezone for run in runs],
                "due": [run.settled.occurrence.due_at for run in runs],
                "states": [
                    (RunState.MISSED if is_missed else RunState.WAITING).value for is_missed in missed
                ],
                "reasons": [run.settled.reason if m else "" for run, m in zip(runs, missed, strict=True)],
            },
        )
        inserted = set(cursor.fetchall())
    return [run for run in runs if run.key in inserted]


def _tell_missed(runs: Iterable[_Run], now: datetime) -> None:
    Event.objects.bulk_create(
        told(
            EventType.SCHEDULE_MISSED,
            run.row.pk,
            Leg(run.settled.occurrence.leg),
            nominal_text(run.settled.occurrence),
            run.row.timezone,
            run.settled.reason,
            now,
        )
        for run in runs
        if run.settled.verdict is Verdict.MISSED
    )


_MOVE_ON = """
UPDATE hibernation_schedule AS old
SET settled_at = new.settled_at, lead = new.lead, next_run_at = new.next_run_at, next_leg = new.next_leg,
    next_due_at = new.next_due_at
FROM unnest(%(pks)s::text[], %(settled)s::timestamptz[], %(leads)s::interval[], %(runs)s::timestamptz[],
    %(legs)s::text[], %(due)s::timestamptz[])
    AS new(pk, settled_at, lead, next_run_at, next_leg, next_due_at)
WHERE old.instance_id = new.pk
"""


def _move_on(rows: Sequence[Schedule]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE_ON,
            {
                "pks": [row.pk for row in rows],
                "settled": [row.settled_at for row in rows],
                "leads": [row.lead for row in rows],
                "runs": [row.next_run_at for row in rows],
                "legs": [row.next_leg for row in rows],
                "due": [row.next_due_at for row in rows],
            },
        )


_HOLD = """
UPDATE instance_status AS old
SET awake_until = new.until, hibernate_due_at = GREATEST(hibernate_due_at, new.until)
FROM unnest(%s::text[], %s::timestamptz[]) AS new(pk, until)
WHERE old.id = new.pk AND old.hibernate_due_at IS NOT NULL
"""


def _hold_awake(rows: Sequence[Schedule], now: datetime) -> None:
    """Set when idleness counts again. What stands idle now is put off at once, the rest with its next heartbeat."""
    for row in rows:
        row.instance.awake_until = awake_until(row, now)
    until = {row.pk: row.instance.awake_until for row in rows}
    Instance.objects.bulk_update([row.instance for row in rows], ["awake_until"])
    held = [(pk, moment) for pk, moment in until.items() if moment is not None]
    if held:
        with connection.cursor() as cursor:
            cursor.execute(_HOLD, [[pk for pk, _ in held], [moment for _, moment in held]])

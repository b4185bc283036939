"""What came due becomes runs, once each, and the schedule moves on to its next occurrence, in one transaction.

Most of it begins here as well: an operation that is nothing but new rows is started together with all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction

from hibernation.domain.states import EventType, RunState
from hibernation.domain.timetable import (
    FURTHEST,
    Occurrence,
    Row,
    Settled,
    Timetable,
    Verdict,
    catch_up,
    due,
    occurrences,
)
from hibernation.models import Event, Schedule
from hibernation.services.clock import db_now
from hibernation.services.schedules.broken import put_off
from hibernation.services.schedules.holding import hold_awake
from hibernation.services.schedules.judging import Question, answer, standings
from hibernation.services.schedules.leads import leads_of
from hibernation.services.schedules.plainly import begin, sort
from hibernation.services.schedules.rows import (
    awake_until,
    grace_of,
    has_own_days,
    nominal_text,
    settle,
    timetable_of,
)
from hibernation.services.schedules.starting_many import fresh_ids
from hibernation.services.schedules.telling import told

BATCH = 1000
_LOOKED_AHEAD = 3
_NO_LEAD = timedelta(0)

_LOCK = """
SELECT s.instance_id FROM hibernation_schedule AS s JOIN instance_status AS i ON i.id = s.instance_id
WHERE s.next_run_at <= %(now)s AND (%(only)s IS NULL OR s.instance_id = %(only)s)
ORDER BY s.next_run_at LIMIT %(most)s FOR NO KEY UPDATE OF i, s SKIP LOCKED
"""


@transaction.atomic
def fire_batch(now: datetime, instance_id: str | None = None) -> tuple[int, list[int]]:
    """Deal with what has to start by ``now``, of all schedules or of one: how many there were, and the operations
    whose first steps the caller has to send. Rows that somebody else holds are his: they are passed over.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, {"now": now, "only": instance_id, "most": BATCH})
        ids = [pk for (pk,) in cursor.fetchall()]
    return len(ids), fire(list(Schedule.objects.filter(pk__in=ids)), now) if ids else []


def fire(rows: Sequence[Schedule], now: datetime) -> list[int]:
    """The operations that began. The caller holds the locks of the instances and of the schedules.

    What does not begin with nothing but new rows waits to be asked, which may be done at once.
    """
    leads, real_now = leads_of(row.pk for row in rows if row.ready_by), db_now()
    reckoned = [(row, _reckoned(row, leads.get(row.pk, _NO_LEAD), now)) for row in rows]
    good = [row for row, found in reckoned if found is not None]
    runs = [run for _, found in reckoned for run in found or ()]
    _give_operations([run for run in runs if run.verdict is Verdict.RUN], now, real_now)
    fresh = _insert(runs, real_now)
    _tell_missed(fresh, real_now)
    begun = [run.begins for run in fresh if run.begins is not None]
    begin(begun, real_now)
    _move_on(good)
    hold_awake([row for row in good if row.stay_awake], now)
    return [operation_id for _, _, operation_id in begun]


@dataclass(slots=True)
class _Run:
    """``begins``: with which operation, where it starts plainly."""

    schedule: Schedule
    settled: Settled
    nominal: str
    begins: tuple[Question, Row, int] | None = None

    @property
    def verdict(self) -> Verdict:
        return self.settled.verdict

    @property
    def key(self) -> tuple[str, str, str]:
        return self.schedule.pk, self.settled.occurrence.leg.value, self.nominal

    @property
    def state(self) -> RunState:
        if self.verdict is Verdict.MISSED:
            return RunState.MISSED
        return RunState.WAITING if self.begins is None else RunState.STARTED

    @property
    def reason(self) -> str:
        if self.verdict is Verdict.MISSED:
            return self.settled.reason
        return "" if self.begins is None else self.begins[1].reason


def _reckoned(row: Schedule, lead: timedelta, now: datetime) -> list[_Run] | None:
    """What has to start, with the row moved on; ``None`` where that cannot be told, which must not stop the others."""
    try:
        timetable = timetable_of(row)
        runs = _runs(row, timetable, now)
        settle(row, runs[-1].settled.occurrence.due_at if runs else row.settled_at, lead, timetable)
        awake_until(row, now)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        put_off(row, error, now)
        return None
    return runs


def _runs(row: Schedule, timetable: Timetable, now: datetime) -> list[_Run]:
    """All that has to start by now, in order; only the last of it runs."""
    reckon = _upcoming.__wrapped__ if has_own_days(timetable) else _upcoming
    ahead = reckon(timetable, row.settled_at, row.lead)
    started = [one for one in ahead if one.starts_at <= now]
    if len(started) == _LOOKED_AHEAD:
        started = due(timetable, row.settled_at, now, row.lead)
    settled = catch_up(started, now, grace_of(started[-1].leg)) if started else []
    return [_Run(row, one, nominal_text(one.occurrence)) for one in settled]


@lru_cache(maxsize=20_000)
def _upcoming(timetable: Timetable, settled_at: datetime, lead: timedelta) -> tuple[Occurrence, ...]:
    """Remembered: those that are due together mostly have the same times, too."""
    ahead = occurrences(timetable, settled_at, settled_at + FURTHEST, lead)
    return tuple(islice(ahead, _LOOKED_AHEAD))


def _give_operations(runs: Sequence[_Run], now: datetime, real_now: datetime) -> None:
    """A number for the operation of each that starts plainly."""
    now_standing = standings([run.schedule.pk for run in runs], real_now)
    run_of = {run.schedule.pk: run for run in runs}
    asked = []
    for pk, run in run_of.items():
        occurrence = run.settled.occurrence
        question = Question(
            0, pk, occurrence.leg, run.nominal, run.schedule.timezone, occurrence.due_at, now_standing[pk]
        )
        asked.append((question, answer(question, now)))
    plain, _ = sort(asked)
    for (question, row), operation_id in zip(plain, fresh_ids(len(plain)), strict=True):
        run_of[question.instance_id].begins = question, row, operation_id


_INSERT = """
INSERT INTO hibernation_schedulerun
    (instance_id, leg, nominal, timezone, due_at, state, reason, attempts, operation_id, ask_at, created_at,
    finished_at)
SELECT new.instance_id, new.leg, new.nominal, new.timezone, new.due_at, new.state, new.reason,
    CASE WHEN new.operation_id IS NULL THEN 0 ELSE 1 END, new.operation_id,
    CASE WHEN new.state = 'waiting' THEN %(now)s END, %(now)s, CASE WHEN new.state = 'missed' THEN %(now)s END
FROM unnest(%(instances)s::text[], %(legs)s::text[], %(nominals)s::text[], %(zones)s::text[],
    %(due)s::timestamptz[], %(states)s::text[], %(reasons)s::text[], %(operations)s::bigint[])
    AS new(instance_id, leg, nominal, timezone, due_at, state, reason, operation_id)
ON CONFLICT (instance_id, leg, nominal) DO NOTHING
RETURNING instance_id, leg, nominal
"""


def _insert(runs: Sequence[_Run], now: datetime) -> list[_Run]:
    """Those that are new: an occurrence that has its run already was dealt with."""
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "now": now,
                "instances": [run.schedule.pk for run in runs],
                "legs": [run.settled.occurrence.leg.value for run in runs],
                "nominals": [run.nominal for run in runs],
                "zones": [run.schedule.timezone for run in runs],
                "due": [run.settled.occurrence.due_at for run in runs],
                "states": [run.state.value for run in runs],
                "reasons": [run.reason for run in runs],
                "operations": [run.begins[2] if run.begins else None for run in runs],
            },
        )
        inserted = set(cursor.fetchall())
    return [run for run in runs if run.key in inserted]


def _tell_missed(runs: Iterable[_Run], now: datetime) -> None:
    Event.objects.bulk_create(
        told(
            EventType.SCHEDULE_MISSED,
            run.schedule.pk,
            run.settled.occurrence.leg,
            run.nominal,
            run.schedule.timezone,
            run.settled.reason,
            now,
        )
        for run in runs
        if run.verdict is Verdict.MISSED
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

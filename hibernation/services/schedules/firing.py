"""What came due becomes runs, once each, and the schedule moves on to its next occurrence, in one transaction.

Most of it begins here as well: an operation that is nothing but new rows is started together with all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction

from hibernation.domain.states import EventType, RunState
from hibernation.domain.timetable import (
    FURTHEST,
    Occurrence,
    Settled,
    Timetable,
    Verdict,
    catch_up,
    due,
    occurrences,
)
from hibernation.models import Event, Schedule
from hibernation.services.clock import db_now
from hibernation.services.schedules.alike import Alike, alike
from hibernation.services.schedules.broken import put_off
from hibernation.services.schedules.holding import hold_awake
from hibernation.services.schedules.judging import Question, answer
from hibernation.services.schedules.plainly import Plain, begin, sort
from hibernation.services.schedules.rows import (
    awake_until,
    grace_of,
    has_own_days,
    nominal_text,
    settle,
    timetable_of,
)
from hibernation.services.schedules.starting_many import fresh_ids
from hibernation.services.schedules.telling import tell_many, told

BATCH = 2500
_LOOKED_AHEAD = 3

_LOCK = """
SELECT s.instance_id FROM hibernation_schedule AS s JOIN instance_status AS i ON i.id = s.instance_id
WHERE s.next_run_at <= %(now)s AND (%(only)s IS NULL OR s.instance_id = %(only)s)
ORDER BY s.next_run_at LIMIT %(most)s FOR NO KEY UPDATE OF i, s SKIP LOCKED
"""


def is_more_than_a_batch(now: datetime) -> bool:
    due = Schedule.objects.filter(next_run_at__lte=now).order_by("next_run_at").values("next_run_at")
    return due[BATCH : BATCH + 1].exists()


@transaction.atomic
def fire_batch(now: datetime, instance_id: str | None = None) -> tuple[int, list[int]]:
    """Deal with what has to start by ``now``, of all schedules or of one: how many there were, and the operations
    whose first steps the caller has to send. Rows that somebody else holds are his: they are passed over.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, {"now": now, "only": instance_id, "most": BATCH})
        ids = [pk for (pk,) in cursor.fetchall()]
    return len(ids), fire(ids, now) if ids else []


def fire(instance_ids: Sequence[str], now: datetime) -> list[int]:
    """The operations that began. The caller holds the locks of the instances and of their schedules.

    What does not begin with nothing but new rows waits to be asked, which may be done at once.
    """
    real_now = db_now()
    reckoned = [(one, _reckoned(one, now)) for one in alike(instance_ids, real_now)]
    good = [one for one, found in reckoned if found is not None]
    runs = [run for _, found in reckoned for run in found or ()]
    _give_numbers([run for run in runs if run.verdict is Verdict.RUN], now)
    fresh = _insert(runs, real_now)
    _tell_missed(fresh, real_now)
    begun = [run.plain for run in fresh if run.plain is not None]
    begin(begun, real_now)
    _move_on(good)
    hold_awake([(one.instance_ids, one.schedule) for one in good if one.schedule.stay_awake], now)
    return [number for plain in begun for number in plain.numbers.values()]


@dataclass(slots=True)
class _Run:
    """One occurrence of schedules that are alike, of each of them a row. ``plain``: how it starts, where it does."""

    alike: Alike
    settled: Settled
    instance_ids: Sequence[str]
    plain: Plain | None = None
    nominal: str = field(init=False)

    def __post_init__(self) -> None:
        self.nominal = nominal_text(self.settled.occurrence)

    @property
    def verdict(self) -> Verdict:
        return self.settled.verdict

    @property
    def state(self) -> RunState:
        if self.verdict is Verdict.MISSED:
            return RunState.MISSED
        return RunState.WAITING if self.plain is None else RunState.STARTED

    @property
    def reason(self) -> str:
        if self.verdict is Verdict.MISSED:
            return self.settled.reason
        return "" if self.plain is None else self.plain.row.reason

    @property
    def question(self) -> Question:
        """Of the first one, for all."""
        one, occurrence = self.alike, self.settled.occurrence
        return Question(
            0, one.schedule.pk, occurrence.leg, self.nominal, one.schedule.timezone, occurrence.due_at,
            one.standing,
        )  # fmt: skip

    def only(self, instance_ids: Sequence[str]) -> _Run:
        plain = self.plain
        if plain is not None:
            plain = replace(plain, numbers={pk: plain.numbers[pk] for pk in instance_ids})
        return _Run(self.alike, self.settled, instance_ids, plain)


def _reckoned(one: Alike, now: datetime) -> list[_Run] | None:
    """What has to start, with the schedule moved on; ``None`` where that cannot be told, which must not stop the
    others.
    """
    row = one.schedule
    try:
        timetable = timetable_of(row)
        runs = _runs(one, timetable, now)
        settle(row, runs[-1].settled.occurrence.due_at if runs else row.settled_at, one.lead, timetable)
        awake_until(row, now)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        for instance_id in one.instance_ids:
            put_off(instance_id, row.timezone, error, now)
        return None
    return runs


def _runs(one: Alike, timetable: Timetable, now: datetime) -> list[_Run]:
    """All that has to start by now, in order; only the last of it runs."""
    row = one.schedule
    reckon = _upcoming.__wrapped__ if has_own_days(timetable) else _upcoming
    ahead = reckon(timetable, row.settled_at, row.lead)
    started = [each for each in ahead if each.starts_at <= now]
    if len(started) == _LOOKED_AHEAD:
        started = due(timetable, row.settled_at, now, row.lead)
    settled = catch_up(started, now, grace_of(started[-1].leg)) if started else []
    return [_Run(one, each, one.instance_ids) for each in settled]


@lru_cache(maxsize=20_000)
def _upcoming(timetable: Timetable, settled_at: datetime, lead: timedelta) -> tuple[Occurrence, ...]:
    """Remembered: those that are due together mostly have the same times, too."""
    ahead = occurrences(timetable, settled_at, settled_at + FURTHEST, lead)
    return tuple(islice(ahead, _LOOKED_AHEAD))


def _give_numbers(runs: Sequence[_Run], now: datetime) -> None:
    """To the operations of those that start plainly."""
    run_of = {run.alike.schedule.pk: run for run in runs}
    questions = [run.question for run in runs]
    plain, _ = sort([(question, answer(question, now)) for question in questions])
    count = sum(len(run_of[question.instance_id].instance_ids) for question, _ in plain)
    numbers = iter(fresh_ids(count))
    for question, row in plain:
        run = run_of[question.instance_id]
        run.plain = Plain(question, row, dict(zip(run.instance_ids, numbers, strict=False)))


_INSERT = """
INSERT INTO hibernation_schedulerun
    (instance_id, leg, nominal, timezone, due_at, state, reason, attempts, operation_id, ask_at, created_at,
    finished_at)
SELECT new.instance_id, run.leg, run.nominal, run.timezone, run.due_at, run.state, run.reason,
    CASE WHEN new.operation_id IS NULL THEN 0 ELSE 1 END, new.operation_id,
    CASE WHEN run.state = 'waiting' THEN %(now)s END, %(now)s, CASE WHEN run.state = 'missed' THEN %(now)s END
FROM unnest(%(instances)s::text[], %(operations)s::bigint[], %(places)s::bigint[])
    AS new(instance_id, operation_id, place)
JOIN unnest(%(legs)s::text[], %(nominals)s::text[], %(zones)s::text[], %(due)s::timestamptz[], %(states)s::text[],
    %(reasons)s::text[]) WITH ORDINALITY AS run(leg, nominal, timezone, due_at, state, reason, place) USING (place)
ORDER BY new.place -- of one instance's, a later occurrence has the greater number
ON CONFLICT (instance_id, leg, nominal) DO NOTHING
RETURNING instance_id, leg, nominal
"""


def _insert(runs: Sequence[_Run], now: datetime) -> list[_Run]:
    """Those that are new: an occurrence that has its run already was dealt with."""
    given = _given(runs)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, {"now": now, **given})
        inserted = cursor.fetchall()
    if len(inserted) == len(given["instances"]):
        return list(runs)
    return _among(runs, set(inserted))


def _given(runs: Sequence[_Run]) -> dict[str, list[Any]]:
    numbers = [run.plain.numbers if run.plain else {} for run in runs]
    return {
        "instances": [pk for run in runs for pk in run.instance_ids],
        "operations": [of.get(pk) for run, of in zip(runs, numbers, strict=True) for pk in run.instance_ids],
        "places": [place for place, run in enumerate(runs, 1) for _ in run.instance_ids],
        "legs": [run.settled.occurrence.leg.value for run in runs],
        "nominals": [run.nominal for run in runs],
        "zones": [run.alike.schedule.timezone for run in runs],
        "due": [run.settled.occurrence.due_at for run in runs],
        "states": [run.state.value for run in runs],
        "reasons": [run.reason for run in runs],
    }


def _among(runs: Sequence[_Run], keys: set[tuple[str, str, str]]) -> list[_Run]:
    left = []
    for run in runs:
        leg = run.settled.occurrence.leg.value
        pks = [pk for pk in run.instance_ids if (pk, leg, run.nominal) in keys]
        if pks:
            left.append(run.only(pks))
    return left


def _tell_missed(runs: Iterable[_Run], now: datetime) -> None:
    """In the order they came due."""
    missed = [run for run in runs if run.verdict is Verdict.MISSED]
    tell_many([(run.instance_ids, _missed(run, now)) for run in missed])


def _missed(run: _Run, now: datetime) -> Event:
    schedule, occurrence = run.alike.schedule, run.settled.occurrence
    return told(
        EventType.SCHEDULE_MISSED, schedule.pk, occurrence.leg, run.nominal, schedule.timezone,
        run.settled.reason, now,
    )  # fmt: skip


_MOVE_ON = """
UPDATE hibernation_schedule AS old
SET settled_at = new.settled_at, lead = new.lead, next_run_at = new.next_run_at, next_leg = new.next_leg,
    next_due_at = new.next_due_at
FROM unnest(%(pks)s::text[], %(places)s::bigint[]) AS each(pk, place)
JOIN unnest(%(settled)s::timestamptz[], %(leads)s::interval[], %(runs)s::timestamptz[], %(legs)s::text[],
    %(due)s::timestamptz[]) WITH ORDINALITY
    AS new(settled_at, lead, next_run_at, next_leg, next_due_at, place) USING (place)
WHERE old.instance_id = each.pk
"""


def _move_on(many: Sequence[Alike]) -> None:
    rows = [one.schedule for one in many]
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE_ON,
            {
                "pks": [pk for one in many for pk in one.instance_ids],
                "places": [place for place, one in enumerate(many, 1) for _ in one.instance_ids],
                "settled": [row.settled_at for row in rows],
                "leads": [row.lead for row in rows],
                "runs": [row.next_run_at for row in rows],
                "legs": [row.next_leg for row in rows],
                "due": [row.next_due_at for row in rows],
            },
        )

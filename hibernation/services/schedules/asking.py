"""Open runs are asked what they come to: an operation, a further wait, or an end. In batches, under their locks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction

from hibernation.domain.errors import Conflict
from hibernation.domain.states import EventType, RunState
from hibernation.domain.timetable import Answer, Leg, Row, retry_wake_after
from hibernation.models import Event, Operation, ScheduleRun
from hibernation.services.clock import db_now
from hibernation.services.facts import SCHEDULE
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.schedules.firing import BATCH
from hibernation.services.schedules.judging import Question, answer, questions
from hibernation.services.schedules.plainly import Plain, begin, sort, why
from hibernation.services.schedules.starting_many import fresh_ids
from hibernation.services.schedules.telling import told

log = logging.getLogger(__name__)

_PAUSE = timedelta(seconds=30)
"""Between two looks at work that a sleep waits for, or at a wake that somebody else began."""
_AFTER_A_BUG = timedelta(minutes=5)
_MOST_TOLD = 32_767
"""Of attempts the column holds no more; a pause that has grown to its longest grows no further either."""


@dataclass(slots=True)
class Outcome:
    """What becomes of one run."""

    question: Question
    state: RunState
    reason: str
    event: EventType | None = None
    ask_after: timedelta | None = None
    operation_id: int | None = None
    attempts: int = 0


@transaction.atomic
def ask_batch(now: datetime, instance_id: str | None = None) -> tuple[int, list[int]]:
    """How many open runs were asked, and the operations whose first step the caller has to send."""
    real_now = db_now()
    open_runs = ScheduleRun.objects.select_for_update(no_key=True, of=("self", "instance"), skip_locked=True)
    due = open_runs.select_related("instance").only("pk", "instance__id").filter(ask_at__lte=real_now)
    if instance_id is not None:
        due = due.filter(instance=instance_id)
    ids = [run.pk for run in due.order_by("ask_at")[:BATCH]]
    if not ids:
        return 0, []
    plain, other = sort([(question, answer(question, now)) for question in questions(ids, real_now)])
    numbers = fresh_ids(len(plain))
    begun = [
        Plain(question, row, {question.instance_id: number})
        for (question, row), number in zip(plain, numbers, strict=True)
    ]
    begin(begun, real_now)
    save([*map(_started, begun), *(_outcome(question, row, now) for question, row in other)], real_now)
    return len(ids), numbers


def _started(begun: Plain) -> Outcome:
    question, [operation_id] = begun.question, begun.numbers.values()
    attempts = question.attempts + 1
    return Outcome(question, RunState.STARTED, begun.row.reason, operation_id=operation_id, attempts=attempts)


def _outcome(question: Question, row: Row, now: datetime) -> Outcome:
    """``except Exception``: one row that cannot be dealt with must neither stop the others nor come back at once."""
    if row.answer is not Answer.ACT:
        return _without_operation(question, row)
    try:
        with transaction.atomic():
            operation = _request(question)
    except Conflict as error:
        # An empty account may be filled, a machine that stands still come back.
        return _not_begun(question, error.message, now, retry_wake_after(question.attempts + 1))
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        log.exception("run %s of %s could not start", question.run_id, question.instance_id)
        return _not_begun(question, f"it could not be started: {error}", now, _AFTER_A_BUG)
    return Outcome(
        question,
        RunState.STARTED,
        row.reason,
        EventType.SCHEDULE_FIRED,
        operation_id=operation.pk,
        attempts=question.attempts + 1,
    )


def _request(question: Question) -> Operation:
    if question.leg is Leg.WAKE:
        return request_wake(question.instance_id, actor=SCHEDULE, reason=why(question))
    return request_hibernate(
        question.instance_id, actor=SCHEDULE, reason=why(question), forced=question.forced
    )


def _not_begun(question: Question, reason: str, now: datetime, pause: timedelta) -> Outcome:
    """Asked again while the terms allow it."""
    attempts = question.attempts + 1
    if question.is_over(now):
        return Outcome(question, RunState.GAVE_UP, reason, EventType.SCHEDULE_GAVE_UP, attempts=attempts)
    event = EventType.SCHEDULE_WAITED if question.reason != reason else None
    return Outcome(question, RunState.WAITING, reason, event, pause, attempts=attempts)


def _without_operation(question: Question, row: Row) -> Outcome:
    if row.answer is Answer.WAIT:
        event = EventType.SCHEDULE_WAITED if question.reason != row.reason else None
        return Outcome(question, RunState.WAITING, row.reason, event, _PAUSE, attempts=question.attempts)
    if row.answer is Answer.DONE:
        done = EventType.SCHEDULE_FIRED if question.fresh else None
        return Outcome(question, RunState.DONE, row.reason, done, attempts=question.attempts)
    gave_up = question.attempts > 0 and not question.overruled
    state = RunState.GAVE_UP if gave_up else RunState.SKIPPED
    event = EventType.SCHEDULE_GAVE_UP if gave_up else EventType.SCHEDULE_SKIPPED
    reason = f"{row.reason}; at last: {question.reason}" if gave_up and question.reason else row.reason
    return Outcome(question, state, reason, event, attempts=question.attempts)


_SAVE = """
UPDATE hibernation_schedulerun AS old
SET state = new.state, reason = new.reason, attempts = new.attempts,
    operation_id = COALESCE(new.operation_id, old.operation_id),
    ask_at = %(now)s + new.ask_after,
    finished_at = CASE WHEN new.state NOT IN ('waiting', 'started') THEN %(now)s END
FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(reasons)s::text[], %(attempts)s::int[],
    %(operations)s::bigint[], %(after)s::interval[])
    AS new(id, state, reason, attempts, operation_id, ask_after)
WHERE old.id = new.id
"""


def save(outcomes: Sequence[Outcome], real_now: datetime) -> None:
    """The runs and their events."""
    if not outcomes:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _SAVE,
            {
                "now": real_now,
                "ids": [one.question.run_id for one in outcomes],
                "states": [one.state.value for one in outcomes],
                "reasons": [one.reason for one in outcomes],
                "attempts": [min(one.attempts, _MOST_TOLD) for one in outcomes],
                "operations": [one.operation_id for one in outcomes],
                "after": [one.ask_after for one in outcomes],
            },
        )
    Event.objects.bulk_create(
        told(
            one.event,
            one.question.instance_id,
            one.question.leg,
            one.question.nominal,
            one.question.timezone,
            one.reason,
            real_now,
            one.operation_id,
        )
        for one in outcomes
        if one.event is not None
    )

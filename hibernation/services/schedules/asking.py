"""Open runs are asked what they come to: an operation, a further wait, or an end. In batches, under their locks."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from hibernation.domain.errors import Conflict, DumontError
from hibernation.domain.states import EventType, OperationKind, RunState
from hibernation.domain.timetable import Answer, Leg, Row, retry_wake_after
from hibernation.models import Event, Operation, ScheduleRun
from hibernation.services.accounts import refuse_rental
from hibernation.services.clock import db_now
from hibernation.services.facts import SCHEDULE
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.schedules.judging import Question, answer, questions
from hibernation.services.schedules.starting_many import Start, start_many
from hibernation.services.schedules.telling import occurrence_in_words, told

log = logging.getLogger(__name__)

BATCH = 2000
_PAUSE = timedelta(seconds=30)
"""Between two looks at work that a sleep waits for, or at a wake that somebody else began."""
_AFTER_A_BUG = timedelta(minutes=5)


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
    asked = [(question, answer(question, now)) for question in questions(ids, real_now)]
    plain, other = _sort(asked)
    started = _start_plainly(plain, real_now)
    outcomes = [*started, *(_outcome(question, row, now) for question, row in other)]
    save(outcomes, real_now)
    return len(ids), [outcome.operation_id for outcome in started if outcome.operation_id is not None]


_Asked = tuple[Question, Row]


def _sort(asked: Sequence[_Asked]) -> tuple[list[_Asked], list[_Asked]]:
    """Those that start with nothing but new rows, and all others."""
    rentable = {provider: _may_rent(provider) for provider in {q.provider for q, _ in asked}}
    plain: list[_Asked] = []
    other: list[_Asked] = []
    for question, row in asked:
        may = question.leg is Leg.SLEEP or rentable[question.provider]
        is_plain = row.answer is Answer.ACT and question.starts_plainly and may
        (plain if is_plain else other).append((question, row))
    return plain, other


def _may_rent(provider: str) -> bool:
    try:
        refuse_rental(provider)
    except Conflict:
        return False
    return True


def _start_plainly(asked: Sequence[_Asked], real_now: datetime) -> list[Outcome]:
    outcomes = []
    for leg, kind, forced in _WAYS:
        group = [
            (question, row)
            for question, row in asked
            if question.leg is leg and _is_forced(question, leg) is forced
        ]
        ids = start_many(kind, [_start(question, row) for question, row in group], real_now, forced=forced)
        outcomes += [
            Outcome(
                question,
                RunState.STARTED,
                row.reason,
                operation_id=ids[question.instance_id],
                attempts=question.attempts + 1,
            )
            for question, row in group
        ]
    return outcomes


_WAYS = (
    (Leg.WAKE, OperationKind.WAKE, False),
    (Leg.SLEEP, OperationKind.HIBERNATE, False),
    (Leg.SLEEP, OperationKind.HIBERNATE, True),
)


def _is_forced(question: Question, leg: Leg) -> bool:
    return leg is Leg.SLEEP and question.terms is not None and question.terms.force


def _start(question: Question, row: Row) -> Start:
    return Start(
        question.instance_id,
        _why(question),
        f"{_named(question)}: {row.reason}",
        json.dumps({"leg": question.leg, "nominal": question.nominal, "timezone": question.timezone}),
        question.snapshot_id,
        question.machine_id,
    )


def _named(question: Question) -> str:
    return occurrence_in_words(question.leg, question.nominal, question.timezone)


def _why(question: Question) -> str:
    return f"scheduled: {_named(question)}"


def _outcome(question: Question, row: Row, now: datetime) -> Outcome:
    """``except Exception``: one row that cannot be dealt with must neither stop the others nor come back at once."""
    if row.answer is not Answer.ACT:
        return _without_operation(question, row)
    try:
        with transaction.atomic():
            operation = _request(question)
    except Conflict as error:
        return _refused(question, error, now)
    except Exception as error:
        log.exception("run %s of %s could not start", question.run_id, question.instance_id)
        reason = f"it could not be started: {error}"
        return Outcome(question, RunState.WAITING, reason, EventType.SCHEDULE_WAITED, _AFTER_A_BUG)
    return Outcome(
        question,
        RunState.STARTED,
        row.reason,
        EventType.SCHEDULE_FIRED,
        operation_id=operation.pk,
        attempts=question.attempts + 1,
    )


def _request(question: Question) -> Operation:
    why = _why(question)
    if question.leg is Leg.WAKE:
        return request_wake(question.instance_id, actor=SCHEDULE, reason=why)
    forced = _is_forced(question, Leg.SLEEP)
    return request_hibernate(question.instance_id, actor=SCHEDULE, reason=why, forced=forced)


def _refused(question: Question, error: DumontError, now: datetime) -> Outcome:
    """An empty account may be filled, a machine that stands still come back: asked again while the terms allow it."""
    terms = question.terms
    bound = None if terms is None else terms.give_up_after if question.leg is Leg.WAKE else terms.wait_at_most
    if bound is None or now - question.due_at >= bound:
        return Outcome(question, RunState.GAVE_UP, error.message, EventType.SCHEDULE_GAVE_UP)
    attempts = question.attempts + 1
    event = EventType.SCHEDULE_WAITED if question.reason != error.message else None
    return Outcome(
        question, RunState.WAITING, error.message, event, retry_wake_after(attempts), attempts=attempts
    )


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
                "attempts": [one.attempts for one in outcomes],
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

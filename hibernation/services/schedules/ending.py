"""Runs whose operation ended: done, to be asked again, or given up."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from hibernation.domain.hibernate import VETOES
from hibernation.domain.states import EventType, OperationState, RunState
from hibernation.domain.timetable import Leg, retry_wake_after
from hibernation.models import Operation, ScheduleRun
from hibernation.services.cancelling import CANCELLED
from hibernation.services.clock import db_now
from hibernation.services.schedules.asking import Outcome, save
from hibernation.services.schedules.firing import BATCH
from hibernation.services.schedules.judging import Question, questions

AGAIN = frozenset(
    {
        "no_offer",
        "machines_exhausted",
        "no_capacity",
        "out_of_credit",
        "provider_unavailable",
        "rate_limited",
        "deadline",
        "superseded",
    }
)
"""How a wake ends that may go better a little later. What it ends with otherwise needs a person first."""
_FIELDS = ("state", "error_code", "error", "cancel_reason", "started_at")
_AFTER_A_VETO = timedelta(minutes=1)
_LONG_ENOUGH = "it was tried for as long as its schedule waits; at last"
_AFTER_A_FAILURE = timedelta(minutes=10)


@transaction.atomic
def end_batch(now: datetime) -> int:
    """How many runs were looked at whose operation has ended."""
    real_now = db_now()
    started = ScheduleRun.objects.select_for_update(no_key=True, of=("self", "instance"), skip_locked=True)
    ended = started.select_related("instance").only("pk", "operation_id", "instance__id")
    ended = ended.filter(state=RunState.STARTED, operation__finished_at__isnull=False)
    operation_of = {run.pk: run.operation_id for run in ended.order_by("pk")[:BATCH]}
    operations = Operation.objects.only(*_FIELDS).in_bulk(
        [pk for pk in operation_of.values() if pk is not None]
    )
    save(
        [
            _outcome(question, operations[operation_of[question.run_id] or 0], now)
            for question in questions(list(operation_of), real_now)
        ],
        real_now,
    )
    return len(operation_of)


def _outcome(question: Question, operation: Operation, now: datetime) -> Outcome:
    if operation.state == OperationState.SUCCEEDED:
        done = "it is awake" if question.leg is Leg.WAKE else "it sleeps"
        return Outcome(question, RunState.DONE, done, attempts=question.attempts)
    if _called_off(operation):
        event = EventType.SCHEDULE_SKIPPED
        return Outcome(question, RunState.SKIPPED, "called off", event, attempts=question.attempts)
    if question.leg is Leg.SLEEP and question.is_over(now):
        return _gave_up(question, f"{_LONG_ENOUGH}: {operation.error}")
    if question.leg is Leg.SLEEP:
        pause = _AFTER_A_VETO if operation.error_code in VETOES else _AFTER_A_FAILURE
        return _again(question, operation.error, pause)
    if operation.error_code in AGAIN:
        return _again(question, operation.error, retry_wake_after(question.attempts))
    return _gave_up(question, operation.error)


def _called_off(operation: Operation) -> bool:
    """By a person. A machine may say of its own job that it was cancelled, which is no more than a failure."""
    before_it_began = operation.started_at is None and operation.error_code == CANCELLED
    return before_it_began or operation.cancel_reason == CANCELLED


def _gave_up(question: Question, reason: str) -> Outcome:
    event = EventType.SCHEDULE_GAVE_UP
    return Outcome(question, RunState.GAVE_UP, reason, event, attempts=question.attempts)


def _again(question: Question, reason: str, pause: timedelta) -> Outcome:
    return Outcome(
        question, RunState.WAITING, reason, EventType.SCHEDULE_WAITED, pause, attempts=question.attempts
    )

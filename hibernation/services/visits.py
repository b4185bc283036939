"""Visits of an operation to its steps. The present one stands in the operation's row; each that is over has its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hibernation.domain.states import OperationState
from hibernation.models import Operation, OperationStep


@dataclass(frozen=True, slots=True)
class Visit:
    """``waits``: how often it looked, ``failures``: how often that failed. ``finished_at``: none of the present one."""

    step: str
    entered_at: datetime
    finished_at: datetime | None
    waits: int
    failures: int


def enter_step(operation: Operation, step: str, now: datetime) -> None:
    """End the present visit and begin one to ``step``, due now. The caller saves the operation."""
    end_visit(operation, now)
    operation.step, operation.entered_at, operation.next_attempt_at = step, now, now
    operation.waits = operation.failures = 0
    operation.waiting_for, operation.progress = "", {}


def end_visit(operation: Operation, now: datetime) -> None:
    """Keep the present visit, which is over. The caller saves the operation, elsewhere or no longer running."""
    OperationStep.objects.create(
        operation=operation,
        step=operation.step,
        entered_at=operation.entered_at,
        finished_at=now,
        waits=operation.waits,
        failures=operation.failures,
    )


def visits_of(operation: Operation) -> list[Visit]:
    """In order, the present one last."""
    visits = [
        Visit(row.step, row.entered_at, row.finished_at, row.waits, row.failures) for row in _over(operation)
    ]
    if operation.state == OperationState.RUNNING:
        visits.append(Visit(operation.step, operation.entered_at, None, operation.waits, operation.failures))
    return visits


def seconds_of_steps(operation: Operation) -> dict[str, float]:
    """How long each step took that is over, all visits together, in the order of the first ones."""
    taken: dict[str, float] = {}
    for row in _over(operation):
        seconds = (row.finished_at - row.entered_at).total_seconds()
        taken[row.step] = round(taken.get(row.step, 0.0) + seconds, 3)
    return taken


def _over(operation: Operation) -> list[OperationStep]:
    return sorted(operation.steps.all(), key=lambda row: row.pk)

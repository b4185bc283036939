"""Visits of an operation to its steps: entering one closes the last."""

from __future__ import annotations

from datetime import datetime

from hibernation.models import Operation, OperationStep


def enter_step(operation: Operation, step: str, now: datetime) -> None:
    """Close the open visit and open one to ``step``, due now. The caller saves the operation."""
    close_step(operation, now)
    operation.step, operation.entered_at, operation.next_attempt_at = step, now, now
    operation.waits = operation.failures = 0
    operation.waiting_for, operation.progress = "", {}
    OperationStep.objects.create(operation=operation, step=step, entered_at=now)


def close_step(operation: Operation, now: datetime) -> None:
    OperationStep.objects.filter(operation=operation, finished_at__isnull=True).update(
        finished_at=now, waits=operation.waits, failures=operation.failures
    )


def seconds_of_steps(operation: Operation) -> dict[str, float]:
    """How long each step took that is over, all visits together, in the order of the first ones."""
    taken: dict[str, float] = {}
    for visit in operation.steps.filter(finished_at__isnull=False).order_by("id"):
        if visit.finished_at is not None:
            seconds = (visit.finished_at - visit.entered_at).total_seconds()
            taken[visit.step] = round(taken.get(visit.step, 0.0) + seconds, 3)
    return taken

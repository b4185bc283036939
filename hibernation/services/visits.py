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

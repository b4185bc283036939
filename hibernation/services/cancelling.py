"""Calling an operation off: the one door for API and admin."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from hibernation.domain.errors import Conflict, NotFound
from hibernation.domain.states import TERMINAL_OPERATION_STATES, EventType, OperationState
from hibernation.models import Instance, Operation
from hibernation.services.clock import db_now
from hibernation.services.requests import lock_instance, turns_back
from hibernation.services.transitions import emit

CANCELLED = "cancelled"


@transaction.atomic
def request_cancel(operation_id: int, *, actor: str) -> Operation:
    """Have it stopped: one that waits ends at once, one that runs turns back at its next step.

    One that turns back already is answered as it is, so that this is safe to repeat. ``Conflict`` when it has ended,
    and past the point of no return.
    """
    instance, operation = _lock(operation_id)
    named = f"{operation.kind} {operation.pk} of {instance.pk}"
    if operation.state in TERMINAL_OPERATION_STATES:
        raise Conflict(f"{named} has ended: it {_ended(operation)}.")
    if operation.point_of_no_return_at is not None:
        raise Conflict(
            f"{named} is past the point of no return: the copy is proven and the machine is being ended. "
            "A wake brings the workspace back."
        )
    now = db_now()
    if operation.state == OperationState.QUEUED:
        return _end(instance, operation, actor, now)
    return operation if turns_back(operation) else _tell(instance, operation, actor, now)


def _lock(operation_id: int) -> tuple[Instance, Operation]:
    found = Operation.objects.filter(pk=operation_id).values_list("instance_id", flat=True).first()
    if found is None:
        raise NotFound(f"There is no operation {operation_id}.")
    instance = lock_instance(found)
    operation = Operation.objects.select_for_update(no_key=True, of=("self",)).get(pk=operation_id)
    operation.instance = instance
    return instance, operation


def _ended(operation: Operation) -> str:
    return "was cancelled" if operation.state == OperationState.CANCELLED else operation.state


def _end(instance: Instance, operation: Operation, actor: str, now: datetime) -> Operation:
    operation.state, operation.finished_at = OperationState.CANCELLED, now
    operation.error_code, operation.error = CANCELLED, f"called off by {actor} before it began"
    operation.save(update_fields=["state", "finished_at", "error_code", "error"])
    emit(EventType.OPERATION_CANCELLED, f"{operation.kind} was called off before it began",
         instance=instance, now=now, operation=operation, actor=actor)  # fmt: skip
    return operation


def _tell(instance: Instance, operation: Operation, actor: str, now: datetime) -> Operation:
    operation.cancel_reason = CANCELLED
    operation.save(update_fields=["cancel_reason"])
    emit(EventType.OPERATION_CANCELLED, f"{operation.kind} was called off while it ran",
         instance=instance, now=now, operation=operation, actor=actor)  # fmt: skip
    return operation

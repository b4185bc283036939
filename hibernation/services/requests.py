"""Asking for a hibernation, a wake or a snapshot: the one door for API, admin, schedules and the sweep.

Two requests never buy or destroy twice: the same kind answers the operation in flight, the other kind is queued.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from hibernation.domain.errors import Conflict, no_instance
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    Phase,
    SnapshotPurpose,
    SnapshotState,
)
from hibernation.models import Instance, Operation
from hibernation.services.accounts import refuse_rental
from hibernation.services.clock import db_now
from hibernation.services.starting import AWAKE, WAKEABLE, new_operation, running_operation, start
from hibernation.services.transitions import emit, set_status


def lock_instance(instance_id: str) -> Instance:
    """The instance under its row lock, or ``NotFound``."""
    try:
        return Instance.objects.select_for_update(no_key=True, of=("self",)).get(pk=instance_id)
    except Instance.DoesNotExist:
        raise no_instance(instance_id) from None


def turns_back(running: Operation) -> bool:
    """Whether it was told to stop, or lets the workspace go again."""
    return bool(running.cancel_reason) or running.step == "release"


@transaction.atomic
def request_hibernate(
    instance_id: str, *, actor: str, reason: str, forced: bool = True, idempotency_key: str | None = None
) -> Operation:
    """Hibernate now. ``forced``: a person's order, which does not ask whether the GPU is idle.

    Answers the hibernation in flight if there is one; queues behind a wake or a snapshot, whose packs it needs anyway;
    ``Conflict`` where nothing runs, and where the machine was stopped and not by us.
    """
    instance = lock_instance(instance_id)
    repeated = repeated_order(instance, OperationKind.HIBERNATE, idempotency_key)
    if repeated is not None:
        return repeated
    now, running = db_now(), running_operation(instance)
    operation = new_operation(
        instance,
        OperationKind.HIBERNATE,
        now,
        state=OperationState.QUEUED,
        actor=actor,
        reason=reason,
        forced=forced,
        idempotency_key=idempotency_key,
    )
    if running is not None and running.kind == OperationKind.HIBERNATE:
        return _join_hibernation(instance, running, operation, now)
    if running is not None and running.kind == OperationKind.WAKE:
        return _queue(instance, operation, now)
    if instance.status not in AWAKE:
        raise Conflict(f"{instance.pk} is {instance.status}: there is nothing to hibernate.")
    _refuse_standing_still(instance)
    if running is not None:
        return _queue(instance, operation, now)
    return start(instance, operation, now)


@transaction.atomic
def request_wake(
    instance_id: str,
    *,
    actor: str,
    reason: str,
    params: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Operation:
    """Wake, or start for the first time. ``params``: ``gpu_type``, ``region``, ``max_price`` for this wake only.

    Answers the wake in flight if there is one. During a hibernation the wake is queued, and the hibernation is
    stopped if it can still be; one that waits gives way. ``Conflict`` for an instance that is and stays awake;
    ``CreditTooLow`` while the provider's credit is kept for saving what is awake.
    """
    instance = lock_instance(instance_id)
    repeated = repeated_order(instance, OperationKind.WAKE, idempotency_key)
    if repeated is not None:
        return repeated
    now, running = db_now(), running_operation(instance)
    operation = new_operation(
        instance,
        OperationKind.WAKE,
        now,
        state=OperationState.QUEUED,
        actor=actor,
        reason=reason,
        params=params,
        idempotency_key=idempotency_key,
    )
    if running is not None and running.kind == OperationKind.ADOPT:
        raise Conflict(f"{instance.pk} is being adopted: its machine runs.")
    if running is not None and running.kind == OperationKind.WAKE:
        _drop_queued(instance, now)
        return running
    if running is not None and (running.kind == OperationKind.HIBERNATE or instance.status in WAKEABLE):
        return _supersede(instance, running, operation, now)
    if running is not None and _hibernation_waits(instance):
        return _queue(instance, operation, now)
    if instance.status not in WAKEABLE:
        raise Conflict(f"{instance.pk} is {instance.status}: it is awake already.")
    if instance.status == InstanceStatus.RELEASED and instance.snapshot is None:
        raise Conflict(
            f"{instance.pk} was released without a copy of its workspace: there is nothing to wake."
        )
    if instance.snapshot is not None and instance.snapshot.state == SnapshotState.DELETED:
        raise Conflict(f"The last copy of {instance.pk} was deleted: there is nothing to wake.")
    refuse_rental(instance.provider)
    if instance.status == InstanceStatus.FAILED and instance.snapshot_id is None:
        _forget_failure(instance, operation, now)
    return start(instance, operation, now)


@transaction.atomic
def request_snapshot(
    instance_id: str, *, actor: str, reason: str, idempotency_key: str | None = None
) -> Operation:
    """Save the workspace now, whatever the GPU does; the machine goes on.

    Answers the snapshot in flight if there is one, which then stops for no work any more. ``Conflict`` during a
    hibernation or a wake and where no machine runs.
    """
    instance = lock_instance(instance_id)
    repeated = repeated_order(instance, OperationKind.SNAPSHOT, idempotency_key)
    if repeated is not None:
        return repeated
    now, running = db_now(), running_operation(instance)
    if instance.status not in AWAKE:
        raise Conflict(f"{instance.pk} is {instance.status}: there is nothing to save.")
    if running is not None and running.kind != OperationKind.SNAPSHOT:
        raise Conflict(f"{instance.pk}: {running.kind} is in flight; ask again when it has ended.")
    asked = new_operation(
        instance,
        OperationKind.SNAPSHOT,
        now,
        state=OperationState.QUEUED,
        actor=actor,
        reason=reason,
        forced=True,
        params={"purpose": SnapshotPurpose.ORDERED.value},
        idempotency_key=idempotency_key,
    )
    return start(instance, asked, now) if running is None else _join_snapshot(instance, running, asked, now)


def _refuse_standing_still(instance: Instance) -> None:
    """A machine that does not run can neither be saved nor, for that reason, ended."""
    still = instance.machines.filter(state=MachineState.ACTIVE, down_since__isnull=False)
    if still.exclude(phase__in=(Phase.RUNNING, Phase.OFFLINE)).exists():
        raise Conflict(f"{instance.pk} cannot be saved now: {instance.last_error}.")


def _join_snapshot(instance: Instance, running: Operation, asked: Operation, now: datetime) -> Operation:
    """One that is turning back is waited for, unless something else waits for it already."""
    if not turns_back(running):
        running.forced, running.params = True, asked.params
        running.save(update_fields=["forced", "params"])
        return running
    if _hibernation_waits(instance):
        raise Conflict(f"{instance.pk}: a hibernation waits, and it saves the workspace.")
    return _queue(instance, asked, now)


def _forget_failure(instance: Instance, operation: Operation, now: datetime) -> None:
    """A first start that failed is tried again as a first start."""
    arrow = set_status(instance, InstanceStatus.PROVISIONING, now)
    emit(EventType.REGISTERED, "the first start is tried again", instance=instance, now=now,
         actor=operation.actor, status=arrow)  # fmt: skip


def repeated_order(instance: Instance, kind: OperationKind, key: str | None) -> Operation | None:
    """What an earlier request with the same key started."""
    if key is None:
        return None
    return Operation.objects.filter(instance=instance, kind=kind, idempotency_key=key).first()


def _join_hibernation(instance: Instance, running: Operation, asked: Operation, now: datetime) -> Operation:
    """A person's order makes a hibernation in flight unconditional, unless it is already turning back."""
    if turns_back(running):
        return _queue(instance, asked, now)
    _drop_queued(instance, now)
    if asked.forced and not running.forced:
        running.forced = True
        running.save(update_fields=["forced"])
    return running


def _supersede(instance: Instance, running: Operation, asked: Operation, now: datetime) -> Operation:
    """Wait for what runs, and stop it if it can still be: a hibernation, or a snapshot whose machine was lost."""
    if running.point_of_no_return_at is None and not running.cancel_reason:
        running.cancel_reason = "superseded"
        running.save(update_fields=["cancel_reason"])
    return _queue(instance, asked, now)


def _hibernation_waits(instance: Instance) -> bool:
    waiting = Operation.objects.filter(instance=instance, state=OperationState.QUEUED)
    return waiting.filter(kind=OperationKind.HIBERNATE).exists()


def _queue(instance: Instance, operation: Operation, now: datetime) -> Operation:
    """At most one waits: the same kind is answered, another kind gives way to the newer wish."""
    waiting = Operation.objects.filter(instance=instance, state=OperationState.QUEUED).first()
    if waiting is not None and waiting.kind == operation.kind:
        return waiting
    _drop_queued(instance, now)
    operation.save()
    emit(EventType.OPERATION_QUEUED, f"{operation.kind} waits for the operation in flight",
         instance=instance, now=now, operation=operation)  # fmt: skip
    return operation


def _drop_queued(instance: Instance, now: datetime) -> None:
    for waiting in Operation.objects.filter(instance=instance, state=OperationState.QUEUED):
        waiting.state, waiting.finished_at = OperationState.CANCELLED, now
        waiting.error_code, waiting.error = "superseded", "a newer request took its place"
        waiting.save()
        emit(EventType.OPERATION_CANCELLED, f"{waiting.kind} gave way to a newer request",
             instance=instance, now=now, operation=waiting)  # fmt: skip

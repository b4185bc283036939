"""Starting operations: the first step, the status arrow and its event, and the promotion of a queued one.

The caller holds the instance's row lock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from hibernation.domain.lifecycle import CHAINS, first_step
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
)
from hibernation.models import Instance, Operation, Snapshot
from hibernation.services.dispatch import enqueue_operation
from hibernation.services.transitions import emit, set_status

DEADLINES = {
    OperationKind.HIBERNATE: timedelta(hours=6),
    OperationKind.WAKE: timedelta(hours=2),
    OperationKind.SNAPSHOT: timedelta(hours=6),
    OperationKind.ADOPT: timedelta(minutes=45),
}
AWAKE = frozenset({InstanceStatus.RUNNING, InstanceStatus.IDLE})
WAKEABLE = frozenset(
    {
        InstanceStatus.HIBERNATED,
        InstanceStatus.DELETED,
        InstanceStatus.FAILED,
        InstanceStatus.PROVISIONING,
        InstanceStatus.RELEASED,
    }
)


def running_operation(instance: Instance) -> Operation | None:
    return (
        Operation.objects.select_for_update(no_key=True, of=("self",))
        .filter(instance=instance, state=OperationState.RUNNING)
        .first()
    )


def start(instance: Instance, operation: Operation, now: datetime) -> Operation:
    """Make ``operation`` (new or queued) the running one and send its chain after commit."""
    kind = OperationKind(operation.kind)
    make_running(operation, now)
    operation.status_before = instance.status
    if kind is OperationKind.WAKE:
        operation.snapshot = instance.snapshot
        operation.machine = instance.machines.filter(state=MachineState.PARKED).first()
    else:
        operation.machine = instance.machines.filter(state__in=["launched", "active", "adopting"]).first()
    operation.step = first_step(kind, parked=operation.machine is not None)
    operation.save()
    _tell_started(instance, operation, kind, now)
    enqueue_operation(operation.pk, kind, operation.step)
    return operation


def make_running(operation: Operation, now: datetime) -> None:
    """What is the same for every instance: state, times and first step."""
    kind = OperationKind(operation.kind)
    operation.state, operation.started_at = OperationState.RUNNING, now
    operation.deadline_at = now + DEADLINES[kind]
    operation.step, operation.entered_at, operation.next_attempt_at = CHAINS[kind][0], now, now


def _tell_started(instance: Instance, operation: Operation, kind: OperationKind, now: datetime) -> None:
    status, event, reason = InstanceStatus(instance.status), EventType.SNAPSHOT_STARTED, operation.reason
    if kind is OperationKind.HIBERNATE:
        status, event = InstanceStatus.HIBERNATING, EventType.HIBERNATE_STARTED
    elif kind is OperationKind.ADOPT:
        event = EventType.ADOPTION_STARTED
    elif kind is OperationKind.WAKE:
        status, event = _waking(instance), EventType.WAKE_STARTED
        reason += _warning(operation.snapshot)
    arrow = set_status(instance, status, now)
    emit(event, reason, instance=instance, now=now, operation=operation, status=arrow)


def _warning(snapshot: Snapshot | None) -> str:
    if snapshot is None or snapshot.damaged_at is None:
        return ""
    return f"; {snapshot.name}, the only copy there is, is {snapshot.state_reason}: this may fail"


def _waking(instance: Instance) -> InstanceStatus:
    """A first start has nothing to restore and stays ``provisioning``."""
    return InstanceStatus.WAKING if instance.snapshot_id is not None else InstanceStatus.PROVISIONING


def new_operation(
    instance: Instance,
    kind: OperationKind,
    now: datetime,
    *,
    state: OperationState,
    actor: str,
    reason: str,
    forced: bool = False,
    params: dict[str, object] | None = None,
    idempotency_key: str | None = None,
) -> Operation:
    """An unsaved operation with its defaults."""
    return Operation(
        instance=instance,
        kind=kind,
        state=state,
        step=CHAINS[kind][0],
        actor=actor,
        reason=reason,
        forced=forced,
        params=params or {},
        idempotency_key=idempotency_key,
        created_at=now,
        next_attempt_at=now,
        entered_at=now,
        deadline_at=now + DEADLINES[kind],
    )


def promote_queued(instance: Instance, now: datetime) -> None:
    """Start what waited for the operation that just ended, or end it where there is nothing left to do."""
    queued = Operation.objects.filter(instance=instance, state=OperationState.QUEUED).first()
    if queued is None:
        return
    status = InstanceStatus(instance.status)
    if (queued.kind == OperationKind.WAKE and status in WAKEABLE) or (
        queued.kind != OperationKind.WAKE and status in AWAKE
    ):
        start(instance, queued, now)
    else:
        _end_without_work(instance, queued, now)


def _end_without_work(instance: Instance, queued: Operation, now: datetime) -> None:
    """A wake of what stayed awake has succeeded; saving what is not awake is moot."""
    awake = queued.kind == OperationKind.WAKE and instance.status in AWAKE
    queued.state = OperationState.SUCCEEDED if awake else OperationState.CANCELLED
    queued.finished_at = now
    if awake:
        queued.machine = instance.machines.filter(state__in=["launched", "active"]).first()
        queued.result = {"success": True, "snapshot_restored": False, "time_taken": 0.0}
        reason = "already awake: the hibernation was stopped in time"
    else:
        queued.error_code, queued.error = "superseded", f"the instance is {instance.status}"
        reason = f"{queued.kind} is moot: the instance is {instance.status}"
    queued.save()
    emit(EventType.OPERATION_CANCELLED if not awake else EventType.WOKE, reason,
         instance=instance, now=now, operation=queued)  # fmt: skip

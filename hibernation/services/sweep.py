"""The sweep: idle long enough → hibernate; a snapshot due → made, or overtaken; hibernated long enough → deleted;
what must end early is given back.

Repeatable, safe in any number at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import OuterRef, Subquery

from hibernation.domain import idle
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    OperationKind,
    OperationState,
    SnapshotPurpose,
)
from hibernation.models import Instance, Operation
from hibernation.services.alarms import alarm_unconfirmed
from hibernation.services.clock import db_now
from hibernation.services.due import snapshot_due
from hibernation.services.facts import purpose_of
from hibernation.services.giving_back import give_back
from hibernation.services.starting import AWAKE, new_operation, running_operation, start
from hibernation.services.transitions import emit, set_status

BATCH = 200
PATIENCE = timedelta(minutes=5)
"""How long a hibernation waits for a snapshot made in the background, which beside busy processors or disks may never
end. It then goes on from what is stored by then, with a better right to the machine."""
_NEARLY_DONE = ("verify", "release")
_BACKGROUND = (SnapshotPurpose.PRE_COPY, SnapshotPurpose.PERIODIC)


def sweep() -> int:
    """Act on everything that is due, in small transactions; how many instances changed."""
    changed = give_back() + _all(_hibernate_due) + _all(_overtake_for_queued)
    return changed + _all(_snapshot_due) + _all(_delete_due) + alarm_unconfirmed()


def _all(batch: Callable[[], list[bool]]) -> int:
    """Batches until one is not full. A row that was looked at and let be counts as taken, not as changed."""
    total = 0
    while True:
        taken = batch()
        total += sum(taken)
        if len(taken) < BATCH:
            return total


@transaction.atomic
def _hibernate_due() -> list[bool]:
    """Rows are taken under their lock and judged there, so a heartbeat that turned busy a moment ago wins."""
    now = db_now()
    due = Instance.objects.select_for_update(no_key=True, of=("self",), skip_locked=True).filter(
        hibernate_due_at__lte=now, status=InstanceStatus.IDLE
    )
    return [_hibernate(instance, now) for instance in due.order_by("hibernate_due_at")[:BATCH]]


def _hibernate(instance: Instance, now: datetime) -> bool:
    is_due, running = idle.is_due(instance.idle_state, instance.policy, now), running_operation(instance)
    if not is_due or running is not None:
        since = instance.hibernate_due_at
        overtaken = is_due and since is not None and _overtake(running, since, now)
        # The next idle heartbeat, or the end of what runs, sets it again; until then it must not stand before others.
        instance.hibernate_due_at = None
        instance.save(update_fields=["hibernate_due_at"])
        return overtaken
    operation = new_operation(
        instance,
        OperationKind.HIBERNATE,
        now,
        state=OperationState.RUNNING,
        actor="system",
        reason=f"{idle.for_so_long(instance.policy)} (threshold {instance.gpu_usage_threshold:g} %)",
    )
    start(instance, operation, now)
    return True


def _overtake(running: Operation | None, since: datetime, now: datetime) -> bool:
    """Stop a background snapshot that a hibernation has waited for since ``since``, unless it is nearly done."""
    if running is None or now - since < PATIENCE or running.cancel_reason:
        return False
    if running.step in _NEARLY_DONE:
        return False
    if running.kind != OperationKind.SNAPSHOT or purpose_of(running) not in _BACKGROUND:
        return False
    running.cancel_reason = "superseded"
    running.save(update_fields=["cancel_reason"])
    return True


@transaction.atomic
def _overtake_for_queued() -> list[bool]:
    """As ``_hibernate`` does for a hibernation that is due, for those that were ordered."""
    now = db_now()
    waiting = Operation.objects.filter(
        instance=OuterRef("pk"),
        state=OperationState.QUEUED,
        kind=OperationKind.HIBERNATE,
        created_at__lte=now - PATIENCE,
    )
    slow = Operation.objects.filter(
        state=OperationState.RUNNING,
        kind=OperationKind.SNAPSHOT,
        cancel_reason="",
        params__purpose__in=[purpose.value for purpose in _BACKGROUND],
    ).exclude(step__in=_NEARLY_DONE)
    found = (
        Instance.objects.select_for_update(no_key=True, of=("self",), skip_locked=True)
        .filter(pk__in=slow.values("instance"))
        .annotate(asked_at=Subquery(waiting.values("created_at")[:1]))
        .filter(asked_at__isnull=False)
    )
    return [_overtake(running_operation(one), one.asked_at, now) for one in found.order_by("pk")[:BATCH]]


@transaction.atomic
def _snapshot_due() -> list[bool]:
    now = db_now()
    due = Instance.objects.select_for_update(no_key=True, of=("self",), skip_locked=True).filter(
        snapshot_due_at__lte=now, status__in=AWAKE
    )
    return [_save(instance, now) for instance in due.order_by("snapshot_due_at")[:BATCH]]


def _save(instance: Instance, now: datetime) -> bool:
    """Start the snapshot that is due, judged anew; set when the next one is. What runs sets it when it ends."""
    due = snapshot_due(instance) if running_operation(instance) is None else None
    late = due is not None and due[0] <= now
    instance.snapshot_due_at = due[0] if due is not None and not late else None
    instance.save(update_fields=["snapshot_due_at"])
    if due is None or not late:
        return False
    start(instance, _new_snapshot(instance, due[1], now), now)
    return True


def _new_snapshot(instance: Instance, purpose: SnapshotPurpose, now: datetime) -> Operation:
    return new_operation(
        instance,
        OperationKind.SNAPSHOT,
        now,
        state=OperationState.RUNNING,
        actor="system",
        reason=_WHY[purpose],
        forced=purpose is not SnapshotPurpose.PRE_COPY,
        params={"purpose": purpose.value},
    )


_WHY = {
    SnapshotPurpose.PRE_COPY: "GPU idle: what a hibernation will need starts to move",
    SnapshotPurpose.PERIODIC: "the interval has passed since the last snapshot",
}


@transaction.atomic
def _delete_due() -> list[bool]:
    now = db_now()
    due = Instance.objects.select_for_update(no_key=True, of=("self",), skip_locked=True).filter(
        delete_due_at__lte=now, status=InstanceStatus.HIBERNATED
    )
    return [_delete(instance, now) for instance in due.order_by("delete_due_at")[:BATCH]]


def _delete(instance: Instance, now: datetime) -> bool:
    arrow = set_status(instance, InstanceStatus.DELETED, now)
    minutes = instance.delete_after.total_seconds() / 60
    spent = f"hibernated for {minutes:g} {'minute' if minutes == 1 else 'minutes'}"
    reason = f"{spent}; the slot is released, the snapshot is kept"
    emit(EventType.DELETED, reason, instance=instance, now=now, status=arrow, snapshot=instance.snapshot)
    return True

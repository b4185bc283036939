"""When the sweep acts next on an instance, computed from its rows as they are now. The caller holds its lock."""

from __future__ import annotations

from datetime import datetime

from hibernation.domain import idle
from hibernation.domain.occasions import Attempt, Wish, next_snapshot
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    SnapshotPurpose,
    SnapshotState,
)
from hibernation.models import Instance

_LOOKED_AT = 4
"""Earlier attempts: as many as can still lengthen the pause."""


def hibernate_due_at(instance: Instance) -> datetime | None:
    """When the sweep may act on idleness: not before a hold ends, nor the time that somebody keeps it alive for.

    Nor the window that its schedule keeps it awake for.
    """
    if instance.status != InstanceStatus.IDLE:
        return None
    due = idle.due_at(instance.idle_state, instance.policy)
    if due is None:
        return None
    holds = (due, instance.hold_until, instance.kept_alive_until, instance.awake_until)
    return max(moment for moment in holds if moment is not None)


def delete_due_at(instance: Instance) -> datetime | None:
    if instance.status != InstanceStatus.HIBERNATED:
        return None
    return instance.status_changed_at + instance.delete_after


def snapshot_due(instance: Instance) -> tuple[datetime, SnapshotPurpose] | None:
    """When the next snapshot is due while the machine goes on, and what for."""
    wish = wish_of(instance)
    return next_snapshot(
        wish,
        status=InstanceStatus(instance.status),
        idle=instance.idle_state,
        saved_at=saved_at(instance) if wish.interval is not None else None,
        attempts=attempts_of(instance),
    )


def schedule(instance: Instance) -> None:
    """Set all that falls due on a machine that goes on. The caller saves the fields of ``SCHEDULED``."""
    instance.hibernate_due_at = hibernate_due_at(instance)
    due = snapshot_due(instance)
    instance.snapshot_due_at = due[0] if due is not None else None


SCHEDULED = ("hibernate_due_at", "snapshot_due_at")


def wish_of(instance: Instance) -> Wish:
    return Wish(instance.policy, instance.precopy_enabled, instance.snapshot_interval)


def attempts_of(instance: Instance) -> list[Attempt]:
    """The latest snapshot operations, the latest first."""
    rows = instance.operations.filter(kind=OperationKind.SNAPSHOT, started_at__isnull=False).order_by("-id")
    return [
        Attempt(started_at, OperationState(state))
        for started_at, state in rows.values_list("started_at", "state")[:_LOOKED_AT]
        if started_at is not None
    ]


def saved_at(instance: Instance) -> datetime | None:
    """How fresh the stored copy is. One that lacks unreadable files counts too: the next would lack them as well."""
    proven = instance.snapshots.filter(state=SnapshotState.VERIFIED).order_by("-id")
    frozen = proven.values_list("frozen_at", flat=True).first()
    active = instance.machines.filter(state=MachineState.ACTIVE)
    woken = active.values_list("activated_at", flat=True).first()
    return max((moment for moment in (frozen, woken) if moment is not None), default=None)

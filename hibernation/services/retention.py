"""Deleting and keeping snapshots, by each instance's rules and by order: rows only, under the instance's lock.

What they are stored in goes with ``collect``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q

from hibernation.domain.errors import Conflict, NotFound
from hibernation.domain.retention import Choice, Rules, Saved, choose
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationState, SnapshotState
from hibernation.models import Instance, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.copies import best_copy, is_proven
from hibernation.services.requests import lock_instance
from hibernation.services.starting import AWAKE, running_operation
from hibernation.services.transitions import emit

log = logging.getLogger(__name__)

CURRENT = "the last good copy"
_IN_USE = "an operation or a machine that is kept warm needs it"


class LastGoodCopy(Conflict):
    """This is the last good copy of the workspace."""

    code = "last_good_copy"


class SnapshotInUse(Conflict):
    """An operation in flight needs this snapshot."""

    code = "snapshot_in_use"


class SnapshotKept(Conflict):
    """Somebody asked to keep this snapshot: let it go first."""

    code = "snapshot_kept"


def apply_rules() -> int:
    """Delete what no rule keeps, one instance at a time; how many snapshots that were. Repeatable at any time."""
    several = Count("snapshots", filter=~Q(snapshots__state=SnapshotState.DELETED))
    instances = Instance.objects.annotate(several=several).filter(several__gt=1).order_by("pk")
    return sum(len(_apply_to(instance)) for instance in instances)


def _apply_to(instance: Instance) -> list[Snapshot]:
    """Looks without the lock first: nearly always there is nothing to do."""
    try:
        return retire(instance.pk) if choice_for(instance, db_now()).delete else []
    except Exception:
        # One bad row must not keep the others; the next tick comes back to it.
        log.exception("the rules of %s could not be applied", instance.pk)
        return []


@transaction.atomic
def retire(instance_id: str) -> list[Snapshot]:
    """Delete what this instance's rules do not keep, and say why. ``NotFound``."""
    instance, now = lock_instance(instance_id), db_now()
    reasons = choice_for(instance, now).delete
    retired = list(Snapshot.objects.filter(pk__in=reasons).order_by("pk"))
    for snapshot in retired:
        _delete(instance, snapshot, f"deleted by the rules: {reasons[snapshot.pk]}", now, "system")
    return retired


def choice_for(instance: Instance, now: datetime) -> Choice:
    """What the rules make of this instance's snapshots now."""
    zone = ZoneInfo(settings.TIME_ZONE)
    rules = Rules(instance.keep_last, instance.keep_daily, zone)
    return choose(_saved(instance), rules, _protected(instance), now)


def _saved(instance: Instance) -> Iterator[Saved]:
    packs = Snapshot.packs.through._default_manager.filter(snapshot=OuterRef("pk"))
    rows = instance.snapshots.exclude(state=SnapshotState.DELETED).annotate(has_packs=Exists(packs))
    for row in rows:
        state = SnapshotState(row.state)
        yield Saved(
            id=row.pk,
            state=state,
            made_at=row.created_at,
            kept=row.kept,
            parent=row.parent_id,
            listed=state is SnapshotState.VERIFIED or row.has_packs,
            damaged=row.damaged_at is not None,
        )


def _protected(instance: Instance) -> dict[int, str]:
    found = dict.fromkeys(_in_use(instance), _IN_USE)
    return found if instance.snapshot_id is None else found | {instance.snapshot_id: CURRENT}


def _in_use(instance: Instance) -> set[int]:
    """What operations in flight write or restore, and what that builds on; what a machine kept warm is ended on."""
    rows = instance.operations.filter(
        state__in=[OperationState.RUNNING, OperationState.QUEUED], snapshot__isnull=False
    ).values_list("snapshot_id", "snapshot__parent_id")
    warm = instance.machines.filter(state__in=[MachineState.PARKED, MachineState.LAUNCHED])
    held = warm.filter(parked_snapshot__isnull=False).values_list("parked_snapshot_id", flat=True)
    return {pk for row in [*rows, held] for pk in row if pk is not None}


@transaction.atomic
def delete_snapshot(instance_id: str, name: str, *, actor: str, last_copy: bool = False) -> Snapshot:
    """Delete one snapshot by order; one that is deleted already is answered as it is.

    ``SnapshotKept``, ``SnapshotInUse``. ``LastGoodCopy`` unless ``last_copy`` says that this is meant; and even then
    while the copy is the workspace itself: it may go when a machine holds the workspace, or once the instance is
    ``deleted``. An older good copy takes its place; without one a ``deleted`` instance can never wake again.
    """
    instance, now = lock_instance(instance_id), db_now()
    snapshot = _find(instance, name)
    if snapshot.state == SnapshotState.DELETED:
        return snapshot
    if snapshot.kept:
        raise SnapshotKept(f"{name} is kept on request: let it go first.")
    if snapshot.pk in _in_use(instance):
        raise SnapshotInUse(f"An operation in flight, or a machine that is kept warm, needs {name}.")
    if _is_last_good(instance, snapshot):
        _check_may_lose(instance, snapshot, last_copy)
        _fall_back(instance, snapshot)
    _delete(instance, snapshot, "deleted on request", now, actor)
    return snapshot


def _is_last_good(instance: Instance, snapshot: Snapshot) -> bool:
    """What a wake would restore, or would fall back to."""
    if snapshot.pk == instance.snapshot_id:
        return True
    others = instance.snapshots.filter(state=SnapshotState.VERIFIED, damaged_at__isnull=True)
    return is_proven(snapshot) and not others.exclude(pk=snapshot.pk).exists()


def _check_may_lose(instance: Instance, snapshot: Snapshot, last_copy: bool) -> None:
    if not last_copy:
        raise LastGoodCopy(
            f"{snapshot.name} is the last good copy of {instance.pk}. Add ?last_copy=true if you mean it."
        )
    if instance.status not in AWAKE and instance.status != InstanceStatus.DELETED:
        raise LastGoodCopy(
            f"{instance.pk} is {instance.status}: {snapshot.name} is its workspace. "
            "It can be deleted when the instance is awake or deleted."
        )
    if running_operation(instance) is not None:
        raise SnapshotInUse(
            f"{instance.pk} has an operation in flight: its last good copy stays until that ends."
        )


def _fall_back(instance: Instance, snapshot: Snapshot) -> None:
    """The next best copy becomes the last one. A ``deleted`` instance without any keeps naming what it lost."""
    other = best_copy(instance, without=snapshot)
    if other is not None or instance.status in AWAKE:
        instance.snapshot = other
        instance.save(update_fields=["snapshot"])


@transaction.atomic
def keep_snapshot(instance_id: str, name: str, kept: bool, *, actor: str) -> Snapshot:
    """Keep a snapshot whatever the rules say, or let it go again. ``Conflict`` for a deleted one."""
    instance, now = lock_instance(instance_id), db_now()
    snapshot = _find(instance, name)
    if snapshot.state == SnapshotState.DELETED:
        raise Conflict(f"{name} is deleted.")
    if snapshot.kept != kept:
        snapshot.kept = kept
        snapshot.save(update_fields=["kept"])
        told = f"{name} is kept on request" if kept else f"{name} is left to the rules again"
        emit(EventType.CONFIG_CHANGED, told, instance=instance, now=now, actor=actor, snapshot=snapshot)
    return snapshot


def delete_all(instance: Instance, now: datetime, *, actor: str) -> int:
    """Delete every snapshot by order, the last good copy too; how many. ``SnapshotKept``.

    The caller holds the instance's lock, has seen that nothing runs on it, and has made it need no copy.
    """
    rows = list(instance.snapshots.exclude(state=SnapshotState.DELETED).order_by("pk"))
    kept = next((snapshot.name for snapshot in rows if snapshot.kept), None)
    if kept is not None:
        raise SnapshotKept(f"{kept} is kept on request: let it go first.")
    instance.snapshot = None
    instance.save(update_fields=["snapshot"])
    for snapshot in rows:
        _delete(instance, snapshot, "deleted on request", now, actor)
    return len(rows)


def _find(instance: Instance, name: str) -> Snapshot:
    found = instance.snapshots.filter(name=name).first()
    if found is None:
        raise NotFound(f"{instance.pk} has no snapshot {name!r}.")
    return found


def _delete(instance: Instance, snapshot: Snapshot, reason: str, now: datetime, actor: str) -> None:
    """The row stays and tells that it was; what it held on to is let go."""
    snapshot.state, snapshot.state_reason, snapshot.deleted_at = SnapshotState.DELETED, reason, now
    snapshot.save(update_fields=["state", "state_reason", "deleted_at"])
    snapshot.packs.clear()
    emit(EventType.SNAPSHOT_DELETED, reason, instance=instance, now=now, actor=actor, snapshot=snapshot)

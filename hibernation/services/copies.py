"""Which of a workspace's proven copies is relied upon: the one a wake restores."""

from __future__ import annotations

from django.db.models import Case, Q, Value, When

from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Snapshot


def is_proven(snapshot: Snapshot | None) -> bool:
    """It was proven, and nobody has found it damaged since."""
    return snapshot is not None and snapshot.state == SnapshotState.VERIFIED and snapshot.damaged_at is None


def best_copy(instance: Instance, *, without: Snapshot | None = None) -> Snapshot | None:
    """The newest proven copy; no damaged one where there is another, none that lacks files where one is whole."""
    proven = instance.snapshots.filter(state=SnapshotState.VERIFIED)
    others = proven if without is None else proven.exclude(pk=without.pk)
    return others.order_by(
        _last(Q(damaged_at__isnull=False)), _last(Q(report__unreadable_total__gt=0)), "-pk"
    ).first()


def point_to_best(instance: Instance) -> None:
    """What a wake restores from now on. The caller holds the instance's lock."""
    best = best_copy(instance)
    if best is not None and best.pk != instance.snapshot_id:
        instance.snapshot = best
        instance.save(update_fields=["snapshot"])


def _last(condition: Q) -> Case:
    return Case(When(condition, then=Value(1)), default=Value(0))

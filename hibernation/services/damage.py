"""What follows when stored bytes that were proven once are not right any more: nobody relies on them again unseen."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from hibernation.domain.states import EventType, SnapshotState
from hibernation.models import Instance, Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.copies import is_proven, point_to_best
from hibernation.services.requests import lock_instance
from hibernation.services.transitions import emit
from hibernation.snapshots.verification import Fault

_DAMAGED = "damaged: "


@transaction.atomic
def record_damage(snapshot: Snapshot, faults: Sequence[Fault], *, actor: str = "system") -> None:
    """Forget the proofs of these objects and say so on every snapshot that needs them, the instance and in the log.

    The snapshots stay: what is left of them may be all there is. A wake restores another good copy, if there is one.
    The next snapshot reads every file again instead of building on these. Repeatable: the same damage is told once.
    """
    instance, now = lock_instance(snapshot.instance_id), db_now()
    keys = [fault.key for fault in faults]
    Pack.objects.filter(key__in=keys).update(verified_at=None, decoded_at=None, proof="", damaged_at=now)
    reason = f"{_DAMAGED}{faults[0].why}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
    sharing = Q(packs__key__in=keys, damaged_at__isnull=True)
    needing = Snapshot.objects.filter(sharing | Q(pk=snapshot.pk), state=SnapshotState.VERIFIED)
    news = list(needing.exclude(damaged_at__isnull=False, state_reason=reason).order_by("pk").distinct())
    if not news:
        return
    Snapshot.objects.filter(pk__in=[one.pk for one in news]).update(damaged_at=now, state_reason=reason)
    _rely_on_another(instance, news, reason)
    data = {"code": "snapshot_damaged", "objects": keys[:100]}
    for one in news:
        said = data | {"snapshot": one.name}
        emit(EventType.FAILED, f"{one.name} is {reason}", instance=instance, now=now, snapshot=one,
             actor=actor, data=said)  # fmt: skip


def _rely_on_another(instance: Instance, damaged: Sequence[Snapshot], reason: str) -> None:
    instance.state_generation += 1
    lost = next((one for one in damaged if one.pk == instance.snapshot_id), None)
    if lost is not None:
        point_to_best(instance)
        instead = (
            f"a wake restores {instance.snapshot}" if is_proven(instance.snapshot) else "there is no other"
        )
        instance.last_error = f"{_last_copy(lost)}{reason}; {instead}"
    instance.save(update_fields=["state_generation", "last_error"])


@transaction.atomic
def clear_damage(snapshot: Snapshot, *, actor: str = "system") -> None:
    """A later proof found all of it right: take back what ``record_damage`` said of the present."""
    instance = lock_instance(snapshot.instance_id)
    damaged = Snapshot.objects.filter(pk=snapshot.pk, damaged_at__isnull=False)
    if not damaged.update(damaged_at=None, state_reason=""):
        return
    point_to_best(instance)
    if instance.last_error.startswith(_last_copy(snapshot)):
        instance.last_error = ""
        instance.save(update_fields=["last_error"])
    emit(EventType.SNAPSHOT_VERIFIED, f"{snapshot.name} is right again: all that was damaged was read back",
         instance=instance, now=db_now(), snapshot=snapshot, actor=actor)  # fmt: skip


def _last_copy(snapshot: Snapshot) -> str:
    return f"the last copy of the workspace, {snapshot.name}, is "

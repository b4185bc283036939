"""What follows when stored bytes that were proven once are not right any more: nobody relies on them again unseen."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from hibernation.domain.states import EventType, SnapshotState
from hibernation.models import Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.requests import lock_instance
from hibernation.services.transitions import emit
from hibernation.snapshots.verification import Fault

_DAMAGED = "damaged: "


@transaction.atomic
def record_damage(snapshot: Snapshot, faults: Sequence[Fault], *, actor: str = "system") -> None:
    """Forget the proofs of these objects and say so on the snapshot, the instance and in the log.

    The snapshot stays: what is left of it may be all there is. The next one reads every file again instead of
    building on it. Repeatable: the same damage is told once.
    """
    instance, now = lock_instance(snapshot.instance_id), db_now()
    Pack.objects.filter(key__in=[fault.key for fault in faults]).update(
        verified_at=None, decoded_at=None, proof=""
    )
    reason = f"{_DAMAGED}{faults[0].why}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
    told = Snapshot.objects.filter(pk=snapshot.pk, state=SnapshotState.VERIFIED).exclude(state_reason=reason)
    if not told.update(state_reason=reason):
        return
    instance.state_generation += 1
    fields = ["state_generation"]
    if instance.snapshot_id == snapshot.pk:
        instance.last_error = _last_copy(snapshot) + reason
        fields.append("last_error")
    instance.save(update_fields=fields)
    data = {"code": "snapshot_damaged", "snapshot": snapshot.name, "objects": [f.key for f in faults[:100]]}
    emit(
        EventType.FAILED,
        f"{snapshot.name} is {reason}",
        instance=instance,
        now=now,
        snapshot=snapshot,
        actor=actor,
        data=data,
    )


@transaction.atomic
def clear_damage(snapshot: Snapshot) -> None:
    """A later proof found all of it right: take back what ``record_damage`` said of the present."""
    instance = lock_instance(snapshot.instance_id)
    Snapshot.objects.filter(pk=snapshot.pk, state_reason__startswith=_DAMAGED).update(state_reason="")
    if instance.last_error.startswith(_last_copy(snapshot)):
        instance.last_error = ""
        instance.save(update_fields=["last_error"])


def _last_copy(snapshot: Snapshot) -> str:
    return f"the last copy of the workspace, {snapshot.name}, is "

"""Garbage: deletes from the store what no snapshot needs any more. Mark, delete, forget; a crash anywhere is finished
by the next run, and runs side by side do no harm.

1. ``condemn``: one transaction under the instance's lock. From then on nothing may refer to the object.
2. ``store.delete``, outside any transaction.
3. Only then is its row deleted. Until that, the row knows what may still be stored and billed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from hibernation.domain.errors import StoreError
from hibernation.domain.states import OperationState, SnapshotState
from hibernation.models import Operation, Pack, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.requests import lock_instance
from hibernation.services.retention import apply_rules
from hibernation.snapshots.registry import get_store
from hibernation.snapshots.store import Store

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=90)
"""How long one run deletes; what is left waits for the next. Well within a task's time."""
_BATCH = 200
_THREADS = 8


@dataclass(slots=True)
class Collected:
    """What one run deleted, and what it could not: ``failed`` objects stay condemned and are tried again."""

    objects: int = 0
    bytes: int = 0
    failed: list[str] = field(default_factory=list)


def tick() -> int:
    """Apply every instance's rules, then collect; how many objects were deleted."""
    apply_rules()
    return collect().objects


def collect(instance_id: str | None = None, *, patience: timedelta = PATIENCE) -> Collected:
    """Condemn and delete what no snapshot needs, of one instance or of all. Repeatable; stops when time is over."""
    until = time.monotonic() + patience.total_seconds()
    for pk in _instances_with_garbage(instance_id):
        _condemn_all(pk)
    return _sweep(get_store(), instance_id, until)


def garbage(instance_id: str | None = None) -> QuerySet[Pack]:
    """What the next run would delete, as far as one can tell without the locks."""
    return Pack.objects.filter(_unneeded(db_now()) | Q(condemned_at__isnull=False)).filter(_of(instance_id))


def _of(instance_id: str | None) -> Q:
    return Q() if instance_id is None else Q(instance_id=instance_id)


def _unneeded(now: datetime) -> Q:
    """Objects that nothing refers to and nothing may come to refer to.

    A machine goes on from what it uploaded for an earlier, broken snapshot, so the young stay. A snapshot whose
    packs nobody has listed yet may hold any that was young when it began.
    """
    grace = settings.DUMONT_GC_GRACE
    held = Snapshot.objects.exclude(state=SnapshotState.DELETED).filter(packs=OuterRef("pk"))
    manifest_of = Snapshot.objects.exclude(state=SnapshotState.DELETED).filter(
        instance=OuterRef("instance"), manifest_key=OuterRef("key")
    )
    unlisted = Snapshot.objects.filter(
        instance=OuterRef("instance"),
        state=SnapshotState.FROZEN,
        packs__isnull=True,
        created_at__lte=OuterRef("created_at") + grace,
    )
    busy = Operation.objects.filter(instance=OuterRef("instance"), state=OperationState.RUNNING)
    return Q(
        ~Exists(held),
        ~Exists(manifest_of),
        ~Exists(unlisted),
        ~Exists(busy),
        created_at__lt=now - grace,
        condemned_at__isnull=True,
    )


def _instances_with_garbage(instance_id: str | None) -> list[str]:
    unneeded = Pack.objects.filter(_unneeded(db_now())).filter(_of(instance_id))
    return sorted(unneeded.order_by().values_list("instance_id", flat=True).distinct())


def _condemn_all(instance_id: str) -> None:
    while condemn(instance_id) == _BATCH:
        pass


@transaction.atomic
def condemn(instance_id: str) -> int:
    """Mark at most ``_BATCH`` unneeded objects; how many. No operation can begin or list packs under this lock."""
    instance = lock_instance(instance_id)
    now = db_now()
    chosen = (
        Pack.objects.filter(_unneeded(now), instance=instance).order_by("pk").values_list("pk", flat=True)
    )
    return Pack.objects.filter(pk__in=list(chosen[:_BATCH])).update(condemned_at=now)


def _sweep(store: Store, instance_id: str | None, until: float) -> Collected:
    done = Collected()
    with ThreadPoolExecutor(_THREADS) as pool:
        for rows in _condemned(instance_id):
            errors = list(zip(rows, pool.map(partial(_delete, store), rows), strict=True))
            gone = [pack for pack, error in errors if error is None]
            done.failed += [f"{pack.key}: {error}" for pack, error in errors if error is not None]
            Pack.objects.filter(pk__in=[pack.pk for pack in gone]).delete()
            done.objects += len(gone)
            done.bytes += sum(pack.size for pack in gone)
            if not gone or time.monotonic() > until:
                break
    if done.failed:
        log.warning(
            "%d objects could not be deleted and will be tried again: %s", len(done.failed), done.failed[0]
        )
    return done


def _condemned(instance_id: str | None) -> Iterator[list[Pack]]:
    """Page by page, each once. One that something refers to after all is left alone: nothing is worth that risk."""
    held = Snapshot.objects.exclude(state=SnapshotState.DELETED).filter(packs=OuterRef("pk"))
    rows = Pack.objects.filter(~Exists(held), _of(instance_id), condemned_at__isnull=False).order_by("pk")
    last = 0
    while page := list(rows.filter(pk__gt=last)[:_BATCH]):
        yield page
        last = page[-1].pk


def _delete(store: Store, pack: Pack) -> StoreError | None:
    try:
        store.delete(pack.key)
    except StoreError as error:
        return error
    return None

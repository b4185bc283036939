"""How much each instance occupies in the store: what its rows say may be stored now. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import (
    Aggregate,
    BigIntegerField,
    Count,
    Field,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.functions import Coalesce

from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Pack, Snapshot


@dataclass(frozen=True, slots=True)
class Storage:
    """``bytes`` in ``objects`` (packs and manifests), for ``snapshots`` that can be restored.

    Counted are objects from the moment a machine may send them until they are about to be deleted.
    """

    bytes: int
    objects: int
    snapshots: int


def with_storage(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    """Each instance with ``stored_bytes``, ``stored_objects`` and ``good_snapshots``, in one query for all."""
    stored = Pack.objects.filter(instance=OuterRef("pk"), condemned_at__isnull=True)
    good = Snapshot.objects.filter(instance=OuterRef("pk"), state=SnapshotState.VERIFIED)
    return instances.annotate(
        stored_bytes=_zero(stored, Sum("size"), BigIntegerField()),
        stored_objects=_zero(stored, Count("pk"), IntegerField()),
        good_snapshots=_zero(good, Count("pk"), IntegerField()),
    )


def _zero(rows: QuerySet[Any], figure: Aggregate, field: Field[Any, Any]) -> Coalesce:
    one = rows.order_by().values("instance").annotate(figure=figure).values("figure")
    return Coalesce(Subquery(one, output_field=field), 0)


def storage_of(instance: Instance) -> Storage:
    """From the annotations where they are there, else asked for now."""
    if not hasattr(instance, "stored_bytes"):
        instance = with_storage(Instance.objects.filter(pk=instance.pk)).get()
    row: Any = instance
    return Storage(row.stored_bytes, row.stored_objects, row.good_snapshots)


def storage_of_all(packs: QuerySet[Pack], snapshots: QuerySet[Snapshot]) -> Storage:
    stored = packs.filter(condemned_at__isnull=True).aggregate(bytes=Sum("size"), objects=Count("pk"))
    good = snapshots.filter(state=SnapshotState.VERIFIED).count()
    return Storage(stored["bytes"] or 0, stored["objects"], good)

"""What was done since a run came due that ends it: people's orders, later occurrences, edits."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Exists, F, OuterRef

from hibernation.domain.states import OperationKind
from hibernation.models import Operation, ScheduleRun
from hibernation.services.facts import SCHEDULE
from hibernation.services.schedules.rows import is_wished

_OURS = ("system", SCHEDULE)
_ORDERS = (OperationKind.HIBERNATE, OperationKind.WAKE, OperationKind.ADOPT)


def overruled_of(run_ids: Sequence[int]) -> set[int]:
    """Those since which a person gave an order, or a later occurrence came due."""
    if not run_ids:
        return set()
    by_people = Operation.objects.filter(
        instance=OuterRef("instance"), created_at__gte=OuterRef("created_at"), kind__in=_ORDERS
    ).exclude(actor__in=_OURS)
    later = ScheduleRun.objects.filter(instance=OuterRef("instance"), pk__gt=OuterRef("pk"))
    found = ScheduleRun.objects.filter(Exists(by_people) | Exists(later), pk__in=run_ids)
    return set(found.values_list("pk", flat=True))


def unwished_of(run_ids: Sequence[int]) -> set[int]:
    """Those whose schedule was changed after they began, and has them no more. What waited was dropped right then."""
    if not run_ids:
        return set()
    runs = ScheduleRun.objects.filter(pk__in=run_ids, instance__schedule__changed_at__gt=F("created_at"))
    changed = runs.select_related("instance__schedule")
    return {run.pk for run in changed if not is_wished(run.instance.schedule, run)}

"""The tick and the poke: both do what is due by now, and neither does it twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hibernation.domain.lifecycle import CHAINS
from hibernation.domain.states import OperationKind
from hibernation.models import Operation
from hibernation.services.dispatch import enqueue_operation
from hibernation.services.schedules import asking, ending, firing
from hibernation.services.schedules.clock import schedule_now


def run_due_schedules(now: datetime | None = None) -> int:
    """Act on every occurrence that is due, and look at those that wait; how many. Safe at any time, in any number.

    Steps are sent when all rows are written: nobody's operation waits for somebody else's message.
    """
    return _run(now or schedule_now(), None)


def run_schedule(instance_id: str, now: datetime | None = None) -> int:
    """The same for one instance. Poked early, late, twice or without reason, it finds nothing to do."""
    return _run(now or schedule_now(), instance_id)


def _run(now: datetime, instance_id: str | None) -> int:
    done = _batches(ending.end_batch, asking.BATCH) if instance_id is None else 0
    done += _batches(lambda: firing.fire_batch(now, instance_id), firing.BATCH)
    begun: list[int] = []

    def ask() -> int:
        asked, operations = asking.ask_batch(now, instance_id)
        begun.extend(operations)
        return asked

    done += _batches(ask, asking.BATCH)
    _send(begun)
    return done


def _batches(batch: Callable[[], int], size: int) -> int:
    """Until one is not full."""
    total = 0
    while True:
        taken = batch()
        total += taken
        if taken < size:
            return total


def _send(operation_ids: list[int]) -> None:
    for pk, kind in Operation.objects.filter(pk__in=operation_ids).order_by("pk").values_list("pk", "kind"):
        enqueue_operation(pk, OperationKind(kind), CHAINS[OperationKind(kind)][0])

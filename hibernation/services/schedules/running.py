"""The tick and the poke: both do what is due by now, and neither does it twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection

from hibernation.services.schedules import asking, ending, firing
from hibernation.services.schedules.clock import schedule_now
from hibernation.services.schedules.plainly import send_first_steps

log = logging.getLogger(__name__)


def run_due_schedules(now: datetime | None = None) -> int:
    """Act on every occurrence that is due, and look at those that wait; how many. Safe at any time, in any number.

    Steps are sent when all rows are written: nobody's operation waits for somebody else's message.
    """
    return _run(now or schedule_now(), None)


def run_schedule(instance_id: str, now: datetime | None = None) -> int:
    """The same for one instance. Poked early, late, twice or without reason, it finds nothing to do."""
    return _run(now or schedule_now(), instance_id)


def _run(now: datetime, instance_id: str | None) -> int:
    """Each phase for itself: one that fails neither keeps the others from their work nor what began from its step."""
    begun: list[int] = []
    phases: list[Callable[[], int]] = [
        lambda: _fire_all(now, begun) if instance_id is None else _fire(now, begun, instance_id),
        lambda: _batches(lambda: asking.ask_batch(now, instance_id), begun),
    ]
    if instance_id is None:
        phases.insert(0, lambda: _batches(lambda: (ending.end_batch(now), []), begun))
    done, errors = 0, []
    for phase in phases:
        try:
            done += phase()
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            log.exception("a phase of the schedules failed")
            errors.append(error)
    send_first_steps(begun)
    if errors:
        raise errors[0]
    return done


def _fire_all(now: datetime, begun: list[int]) -> int:
    """More than a batch are done several side by side: what one computes while the database writes another."""
    if not firing.is_more_than_a_batch(now):
        return _fire(now, begun)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        all_of_them = [pool.submit(_fire_in_thread, now, begun) for _ in range(_SIDE_BY_SIDE)]
    return sum(one.result() for one in all_of_them)


_SIDE_BY_SIDE = 2


def _fire_in_thread(now: datetime, begun: list[int]) -> int:
    try:
        return _fire(now, begun)
    finally:
        connection.close()


def _fire(now: datetime, begun: list[int], instance_id: str | None = None) -> int:
    return _batches(lambda: firing.fire_batch(now, instance_id), begun)


def _batches(batch: Callable[[], tuple[int, list[int]]], begun: list[int]) -> int:
    """Until one is not full; what began is added to ``begun``."""
    total = 0
    while True:
        taken, operations = batch()
        total += taken
        begun += operations
        if taken < firing.BATCH:
            return total

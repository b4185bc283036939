"""The measurements, on an installation that exists only for them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from benchmarks.schedules import crowd
from benchmarks.schedules.crowd import NINE
from benchmarks.schedules.figures import Beat, Figures, Nine, Size
from benchmarks.wakes.meter import cpu_seconds
from hibernation.models import Instance, Operation, Schedule, ScheduleRun
from hibernation.services import dispatch
from hibernation.services.requests import request_wake
from hibernation.services.schedules import firing, plainly, rows, running, sync_schedules

_QUIET = NINE - timedelta(minutes=5)
_LOOKS = 30
_ONE_BY_ONE = 200


def measure(sizes: list[int], due: int, rounds: int) -> Figures:
    call_command("migrate", interactive=False, verbosity=0)
    found = Figures(due=due)
    for size in sizes:
        _say(f"{size:,} schedules")
        crowd.empty()
        crowd.fill(size, due * size // sizes[-1])
        found.sizes.append(_size(size))
        found.beats += [_beat(size, enabled=True), _beat(size, enabled=False)]
    for number in range(rounds):
        _say(f"{due:,} at nine, round {number + 1}")
        crowd.empty()
        crowd.fill(sizes[-1], due)
        found.rounds.append(_nine(due))
    found.one_by_one = _one_by_one()
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _size(size: int) -> Size:
    """A look when nothing is due: the whole tick, the query alone, and how it is planned."""
    looks = [_seconds(lambda: running.run_due_schedules(_QUIET)) for _ in range(_LOOKS)]
    found = Schedule.objects.filter(next_run_at__lte=_QUIET).order_by("next_run_at")[: firing.BATCH]
    queries = [_seconds(lambda: list(found.all())) for _ in range(_LOOKS)]
    plan = found.explain()
    return Size(size, statistics.median(looks), min(queries), "schedule_due" in plan, plan)


def _nine(due: int) -> Nine:
    """All rows, from the first look to the last commit; then the messages, which no row waits for."""
    _forget_what_was_computed()
    sent: list[int] = []
    began, cpu = time.perf_counter(), _cpu()
    with _silent(sent):
        running.run_due_schedules(NINE)
        rows_written = time.perf_counter() - began
    cpu = _cpu() - cpu
    operations = Operation.objects.filter(state="running", actor="schedule").count()
    runs = ScheduleRun.objects.filter(state="started").count()
    waking = Instance.objects.filter(status="waking").count()
    moved = Schedule.objects.filter(next_run_at__lte=NINE).count() == 0
    again = running.run_due_schedules(NINE)
    whole = operations == runs == waking == len(sent) == due and moved and again == 0
    return Nine(rows_written, whole, _messages(sent), cpu)


def _cpu() -> float:
    """Seconds, of this process and of the database below it."""
    return cpu_seconds({"all": os.getpid()})["all"]


def _messages(operation_ids: list[int]) -> float:
    """Seconds until the first steps of all are with the broker."""
    return _seconds(lambda: plainly.send_first_steps(operation_ids))


@contextmanager
def _silent(sent: list[int]) -> Iterator[None]:
    """Collects instead of sending."""
    with patch.object(running, "send_first_steps", sent.extend):
        yield


def _forget_what_was_computed() -> None:
    rows.next_after.cache_clear()
    firing._upcoming.cache_clear()


def _one_by_one() -> float:
    """Operations a second through the door that people use, without messages."""
    names = list(Instance.objects.filter(status="deleted").values_list("pk", flat=True)[:_ONE_BY_ONE])
    send, dispatch._send = dispatch._send, lambda *_: None
    try:
        took = _seconds(lambda: [request_wake(name, actor="benchmark", reason="bench") for name in names])
    finally:
        dispatch._send = send
    return len(names) / took


def _beat(size: int, *, enabled: bool) -> Beat:
    """The entries are made by ``sync_schedules`` as an installation's would be."""
    settings.DUMONT_BEAT_ENTRIES_MOST = 10**9 if enabled else 0
    took = _seconds(sync_schedules)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE django_celery_beat_periodictask")
    command = (sys.executable, "-m", "benchmarks.schedules.beats")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told.pop("at")
    return Beat(size=size, enabled=enabled, sync=took, **told)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began

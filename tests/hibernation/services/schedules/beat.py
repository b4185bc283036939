"""The scheduler that beat runs, django-celery-beat's own, ticked in this process under a clock that tests move.

Its messages arrive at once: what it sends is run as a worker would run it. The schedules see the same clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db.models import F
from django_celery_beat import schedulers

from celery_app import app
from dumont.beat import Scheduler
from hibernation import tasks
from hibernation.domain.states import InstanceStatus, OperationState, RunState
from hibernation.models import Instance, Operation, Schedule, ScheduleRun
from hibernation.services.facts import SCHEDULE
from hibernation.services.schedules import clock, mirroring, run_due_schedules

_LONGEST, _SHORTEST = timedelta(minutes=10), timedelta(seconds=1)


class Beat(Scheduler):
    """Without the installation's own ticks: a test says when those come."""

    def __init__(self) -> None:
        self.poked: list[tuple[str, datetime]] = []
        super().__init__(app=app, max_interval=_LONGEST.total_seconds())
        # What it has not written yet is not to be written when the tests are over.
        self._finalize.cancel()

    def setup_schedule(self) -> None:
        """Only what the database has."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.poked.append((entry.name, _minute()))
        tasks.run_schedule_poke(*entry.args)


@dataclass
class Time:
    """``acts``: leg and local time of each occurrence that was acted on, and in which minute that was. ``began``: each
    operation that schedules began, and in which minute it was there.
    """

    traveller: time_machine.Coordinates
    acts: list[tuple[str, str, datetime]] = field(default_factory=list)
    began: list[tuple[str, datetime]] = field(default_factory=list)
    _seen: int = 0
    _last: int = 0

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def to(self, moment: datetime) -> None:
        """A jump, forward or back, in which nothing runs."""
        self.traveller.move_to(moment)

    def pass_until(self, moment: datetime, *beats: Beat, ticks: bool = False) -> None:
        """Time goes by; every beat is asked when it wants to be, and ``ticks`` run ours when something comes due."""
        while self.now < moment:
            waits = [_LONGEST, moment - self.now, *(_ticked(beat) for beat in beats)]
            if ticks:
                run_due_schedules()
                due = Schedule.objects.exclude(next_run_at=None).values_list("next_run_at", flat=True)
                waits += [next_run_at - self.now for next_run_at in due]
            self._note()
            self.traveller.shift(max(_SHORTEST, min(waits)))

    def tick(self) -> None:
        run_due_schedules()
        self._note()

    def _note(self) -> None:
        fresh = ScheduleRun.objects.filter(pk__gt=self._seen).order_by("pk")
        for run in fresh:
            self._seen = run.pk
            if run.state != RunState.MISSED:
                self.acts.append((run.leg, run.nominal[-5:], _minute()))
        for operation in Operation.objects.filter(pk__gt=self._last, actor=SCHEDULE).order_by("pk"):
            self._last = operation.pk
            self.began.append((operation.kind, _minute()))
        if fresh:
            _bring_about()


def _minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def _ticked(beat: Beat) -> timedelta:
    """How long it wants to be left alone after all that it had to send."""
    # It asks a hundredth of a second early, and then again at once: while the clock stands still that has no end.
    for _ in range(20):
        if seconds := beat.tick():
            return timedelta(seconds=seconds)
    return _SHORTEST


def _bring_about() -> None:
    """What was started succeeds at once, and a machine that was woken stands idle."""
    long_ago = F("created_at")
    for operation in Operation.objects.filter(state=OperationState.RUNNING):
        awake = operation.kind == "wake"
        Operation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=long_ago)
        status = InstanceStatus.RUNNING if awake else InstanceStatus.HIBERNATED
        Instance.objects.filter(pk=operation.instance_id).update(status=status)


@contextmanager
def time_at(moment: datetime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    with time_machine.travel(moment, tick=False) as traveller:
        for module in (clock, mirroring):
            monkeypatch.setattr(module, "db_now", lambda: datetime.now(UTC))
        # Beat drops connections between its looks, and a test's transaction with them.
        monkeypatch.setattr(schedulers, "close_old_connections", lambda: None)
        yield Time(traveller)

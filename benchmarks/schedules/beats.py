"""What the real scheduler of django-celery-beat takes for the entries of schedules, in a process of its own.

python -m benchmarks.schedules.beats  →  one line of JSON
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_BURST_SECONDS = 10.0
_STEADY_TICKS = 200


def measure() -> dict[str, float]:
    """Seconds and MiB: reading the entries, a look when nothing is due, the look after an edit, pokes a second."""
    import django

    django.setup()
    import time_machine
    from django_celery_beat.models import PeriodicTask, PeriodicTasks

    from benchmarks.schedules.crowd import EVENING, NINE
    from celery_app import app
    from dumont.beat import Scheduler

    class Silent(Scheduler):
        sent = 0

        def setup_schedule(self) -> None:
            """Only the entries of schedules."""

        def apply_entry(self, entry: Any, producer: Any = None) -> None:
            self.sent += 1

    # As if they had been made the evening before, by the clock of this measurement.
    PeriodicTask.objects.filter(enabled=True).update(last_run_at=EVENING)
    before = _resident()
    with time_machine.travel(NINE.replace(hour=11, minute=30)):
        beat = Silent(app=app, max_interval=1)
        beat._finalize.cancel()
        load, _ = _timed(beat.tick)
        entries = len(beat.schedule)
        steady = min(_timed(beat.tick)[0] for _ in range(5))
        total, _ = _timed(lambda: [beat.tick() for _ in range(_STEADY_TICKS)])
        PeriodicTasks.update_changed()
        beat.tick()
        PeriodicTasks.update_changed()
        after_edit, _ = _timed(beat.tick)
        memory = _resident() - before
    with time_machine.travel(NINE):
        rate = _burst(beat)
    return {
        "entries": entries,
        "load": load,
        "steady": min(steady, total / _STEADY_TICKS),
        "after_edit": after_edit,
        "memory": memory,
        "pokes": rate,
    }


def _burst(beat: Any) -> float:
    """Pokes a second while many are due. 0 where none are."""
    began, sent = time.perf_counter(), beat.sent
    while time.perf_counter() - began < _BURST_SECONDS:
        beat.tick()
        if beat.sent - sent >= 1000 or not beat.schedule:
            break
    rate: float = (beat.sent - sent) / (time.perf_counter() - began)
    return rate


def _timed(action: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def _resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dumont.settings")
    found = measure()
    print(json.dumps({**found, "at": datetime.now(UTC).isoformat()}))

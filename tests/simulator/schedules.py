"""I16 in a world of its own: one schedule and its runs, poked by beats and ticks that come early, late, twice or never.

The timetable and what is missed are the control plane's; rows and clock are modelled as its services keep them. The
server's clock jumps both ways, it sleeps for days, and people change their minds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from random import Random

from hibernation.domain.timetable import (
    NO_LEAD,
    WORKDAYS,
    Leg,
    Occurrence,
    Settled,
    Timetable,
    Verdict,
    Weekday,
    catch_up,
    due,
    load_zone,
    occurrences,
)

GRACE = {Leg.WAKE: timedelta(minutes=30), Leg.SLEEP: timedelta(minutes=60)}
CLOCK_CHANGE = timedelta(hours=1)
ZONES = ("America/Sao_Paulo", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York")
SEASONS = (
    datetime(2026, 3, 27, tzinfo=UTC),
    datetime(2026, 10, 23, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
)
QUIET = timedelta(days=3)
TICK = timedelta(seconds=10)

Key = tuple[Leg, datetime, str]


@dataclass(frozen=True, slots=True)
class Act:
    occurrence: Occurrence
    timetable: Timetable
    at: datetime


@dataclass(slots=True)
class ScheduleSimulation:
    """``told``: what became of each occurrence, acted on or missed. ``mutants``: bugs to be noticed, by name."""

    seed: int
    mutants: frozenset[str] = frozenset()
    rng: Random = field(init=False)
    now: datetime = field(init=False)
    timetable: Timetable = field(init=False)
    settled_at: datetime = field(init=False)
    lead: timedelta = NO_LEAD
    runs: set[Key] = field(default_factory=set)
    told: list[Key] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    wished_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.now = self.wished_at = self.rng.choice(SEASONS)
        self._put()

    def run(self, steps: int) -> list[str]:
        """What broke the promise; nothing, as it should be."""
        for step in self.rng.choices(STEPS, WEIGHTS, k=steps):
            step(self)
        return [*self._wrong_acts(), *self._silences()]

    def pass_time(self) -> None:
        self.now += timedelta(minutes=self.rng.expovariate(1 / 20))

    def look(self) -> None:
        """A tick, a poke, a reconciler: they all do this, in any number."""
        for _ in range(self.rng.choice((1, 1, 2))):
            self._fire()

    def suspend(self) -> None:
        self.now += timedelta(hours=self.rng.expovariate(1 / 20))

    def jump(self) -> None:
        self.now += timedelta(hours=self.rng.gauss(0, 15))

    def edit(self) -> None:
        self._put()

    def measure(self) -> None:
        """Wakes have become slower or faster; counted with the next occurrence."""
        self.lead = timedelta(minutes=self.rng.choice((0, 0, 4, 45)))

    def _put(self) -> None:
        draw = self.rng
        wake = time(draw.randrange(24), draw.choice((0, 30))) if draw.random() < 0.9 else None
        self.timetable = Timetable(
            draw.choice(ZONES),
            wake,
            time(draw.randrange(24), draw.choice((0, 15))) if wake is None or draw.random() < 0.9 else None,
            draw.choice((frozenset(Weekday), WORKDAYS, frozenset({Weekday.SUN, Weekday.MON}))),
        )
        self.wished_at = self.now
        if "catches_up_edits" not in self.mutants or not hasattr(self, "settled_at"):
            self.settled_at = self.now

    def _fire(self) -> None:
        started = due(self.timetable, self.settled_at, self.now, self.lead)
        if not started:
            return
        for one in self._verdicts(started):
            occurrence = one.occurrence
            key = occurrence.leg, occurrence.nominal, self.timetable.zone
            if key in self.runs and "acts_again" not in self.mutants:
                continue
            self.runs.add(key)
            self.told.append(key)
            if one.verdict is Verdict.RUN:
                self.acts.append(Act(occurrence, self.timetable, self.now))
        if "acts_again" not in self.mutants or self.rng.random() < 0.9:
            self.settled_at = started[-1].due_at

    def _verdicts(self, started: list[Occurrence]) -> list[Settled]:
        if "makes_up_for_all" in self.mutants:
            return [Settled(one, Verdict.RUN, "") for one in started]
        grace = timedelta(days=9) if "knows_no_grace" in self.mutants else GRACE[started[-1].leg]
        return catch_up(started, self.now, grace)

    def _wrong_acts(self) -> Iterator[str]:
        """At most once, and in its hour by the zone's wall clock, judged without the domain's arithmetic."""
        seen: set[Key] = set()
        for act in self.acts:
            nominal, leg = act.occurrence.nominal, act.occurrence.leg
            key = leg, nominal, act.timetable.zone
            if key in seen:
                yield f"{leg} of {nominal} acted twice"
            seen.add(key)
            wall = act.at.astimezone(load_zone(act.timetable.zone)).replace(tzinfo=None)
            early = timedelta(minutes=45) if leg is Leg.WAKE else timedelta(0)
            if not nominal - early - CLOCK_CHANGE <= wall <= nominal + GRACE[leg] + CLOCK_CHANGE:
                yield f"{leg} of {nominal} acted at {wall}"
            if nominal.time() != (act.timetable.wake if leg is Leg.WAKE else act.timetable.sleep):
                yield f"{leg} of {nominal} is in no timetable"

    def _silences(self) -> Iterator[str]:
        """While the server runs undisturbed every occurrence is acted on or told as missed."""
        self._put()
        began, told = self.now, len(self.told)
        while self.now < began + QUIET:
            self._fire()
            following = next(occurrences(self.timetable, self.now, self.now + QUIET, self.lead), None)
            ahead = TICK if following is None else max(TICK, following.starts_at - self.now)
            self.now += min(ahead, timedelta(hours=3))
        heard = {key[:2] for key in self.told[told:]}
        for one in occurrences(self.timetable, began, began + QUIET - timedelta(hours=4)):
            known = (one.leg, one.nominal, self.timetable.zone) in self.runs
            if (one.leg, one.nominal) not in heard and not known:
                yield f"{one.leg} of {one.nominal} came to nothing"


STEPS = (
    ScheduleSimulation.pass_time,
    ScheduleSimulation.look,
    ScheduleSimulation.suspend,
    ScheduleSimulation.jump,
    ScheduleSimulation.edit,
    ScheduleSimulation.measure,
)
WEIGHTS = (60, 60, 1, 0.6, 0.8, 0.5)
MUTANTS = ("acts_again", "makes_up_for_all", "knows_no_grace", "catches_up_edits")

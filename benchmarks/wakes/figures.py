"""From what the market, the database and the processes say to the lines of the report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CREATE_SECONDS = 4.5
"""What the market wants between two launches."""


@dataclass(frozen=True, slots=True)
class Run:
    """``journal``: the market's calls, ``at`` in its seconds. ``labels``: of launches, in the order of their intents.

    ``active``: contracts that the database holds as its machines. ``billed``: those that the market has.
    ``results``: operations by their state. ``stages``: our seconds of each visit, by step. ``cpu``: of the control
    plane, by program.
    """

    instances: int
    speed: float
    began_at: float
    ended_at: float
    journal: Sequence[Mapping[str, Any]]
    labels: Sequence[str]
    active: Sequence[str]
    billed: Sequence[str]
    results: Mapping[str, int]
    stages: Mapping[str, Sequence[float]]
    cpu: Mapping[str, float]

    @property
    def launches(self) -> dict[str, float]:
        """When each label was rented, in market seconds since the wakes were asked for."""
        made = (call for call in self.calls("create") if call["status"] == 200)
        return {call["body"]["label"]: call["at"] - self.began_at for call in made}

    def calls(self, name: str) -> list[Mapping[str, Any]]:
        return [call for call in self.journal if call["call"] == name]

    @property
    def refused(self) -> Counter[str]:
        """Calls that came too early, by kind."""
        return Counter(call["call"] for call in self.journal if call["status"] == 429)

    @property
    def lost(self) -> int:
        """Machines that bill and that the database does not hold, or holds and that do not exist."""
        return len(set(self.billed) ^ set(self.active))

    @property
    def doubled(self) -> int:
        """Orders that the market carried out twice."""
        made = Counter(call["body"]["label"] for call in self.calls("create") if call["status"] == 200)
        return sum(times - 1 for times in made.values())

    @property
    def overtaken(self) -> int:
        """By how many places the most unlucky launch fell behind the order in which they got in line."""
        launches = self.launches
        order = sorted(launches, key=launches.__getitem__)
        intended = [label for label in self.labels if label in launches]
        place = {label: number for number, label in enumerate(intended)}
        return max((number - place[label] for number, label in enumerate(order)), default=0)


def lines(run: Run) -> Iterator[str]:
    """The report. Seconds and minutes are the market's where they are not said to be ours."""
    launches, floor = run.launches, run.instances * CREATE_SECONDS
    waits = sorted(launches.values())
    minutes = (run.ended_at - run.began_at) / 60
    total = sum(run.cpu.values())
    yield f"{run.instances} wakes at once, the market's time {run.speed:g} times as fast"
    yield f"operations: {', '.join(f'{count} {state}' for state, count in sorted(run.results.items()))}"
    if waits:
        median = statistics.median(waits)
        times = waits[-1] / floor
        yield f"all launched after {waits[-1]:.0f} s; the limit's floor is {floor:.0f} s ({times:.2f} times)"
        yield (
            f"waits for a launch: median {median:.0f} s, longest {waits[-1]:.0f} s: {waits[-1] / median:.2f} times "
            "(one line in turn: 2)"
        )
        yield f"most places lost in line: {run.overtaken}"
    yield f"everything awake after {run.ended_at - run.began_at:.0f} s"
    told = ", ".join(f"{count} {call}" for call, count in run.refused.items())
    yield f"429s: {sum(run.refused.values())}" + (f" ({told})" if told else "")
    yield f"launches lost: {run.lost}, doubled: {run.doubled}"
    yield f"launch calls: {len(run.calls('create'))} for {len(launches)} machines"
    lists, searches = len(run.calls("list")) / minutes, len(run.calls("search")) / minutes
    yield f"list calls: {lists:.1f} a minute; searches: {searches:.1f}"
    stages = (f"{step} {statistics.median(all_):.1f} ({max(all_):.1f})" for step, all_ in run.stages.items())
    yield f"our seconds of a stage, median (longest): {', '.join(stages)}"
    yield f"CPU of the control plane: {total:.1f} s, {total / run.instances:.2f} s a wake"
    yield "  " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.cpu.items())


def holds(run: Run) -> bool:
    """Whether the goals are met: everybody awake, nobody refused, nothing lost or doubled."""
    awake = run.results.get("succeeded", 0) == run.instances == len(run.active)
    return awake and not run.refused and not run.lost and not run.doubled

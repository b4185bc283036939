from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from agents.snapshot.level import LEVELS, Level
from agents.snapshot.pipeline import Growth, closed_after, run_all


class Line:
    """A network whose speed depends on the number of threads, and the clock it runs by."""

    def __init__(self, speed: Callable[[int], float]) -> None:
        self.speed = speed
        self.now = 0.0
        self.moved = 0
        self.is_short = True
        self.growth = Growth(4, 64, lambda: self.moved, lambda: self.is_short, lambda: self.now)

    def run(self, seconds: float) -> int:
        for _ in range(int(seconds / 0.6)):
            self.now += 0.6
            self.moved += int(0.6 * self.speed(self.growth.threads))
            self.growth.look()
        return self.growth.threads


def test_threads_grow_while_each_brings_more() -> None:
    assert Line(lambda threads: 1e6 * threads).run(10) == 64


def test_threads_stop_growing_where_the_wire_is_full() -> None:
    assert Line(lambda threads: 1e6 * min(threads, 10)).run(9) < 20


def test_a_full_wire_is_tried_again_now_and_then() -> None:
    line = Line(lambda threads: 4e6)
    before = line.run(9)
    assert before < line.run(15) < 64


def test_threads_do_not_grow_without_work_for_them() -> None:
    line = Line(lambda threads: 1e6 * threads)
    line.is_short = False
    assert line.run(10) == 4


def test_more_threads_are_really_started() -> None:
    """Six tasks that wait for each other end only on six threads."""
    moved = (2**n for n in range(1000))
    seconds = iter(range(1000))
    growth = Growth(2, 6, lambda: next(moved), clock=lambda: float(next(seconds)))
    together = threading.Barrier(6, timeout=5)
    run_all([lambda: (together.wait(), None)[1]] * 6, 2, growth)


def test_the_first_failure_stops_all_and_is_raised() -> None:
    done = []

    def fail() -> None:
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        run_all([fail, *[lambda: done.append(1)] * 100], 1)
    assert done == []


def test_what_threads_use_is_closed_unless_a_signal_takes_us_away() -> None:
    class Thing:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    thing = Thing()
    with closed_after(thing):
        pass
    with pytest.raises(OSError), closed_after(thing):
        raise OSError
    with pytest.raises(KeyboardInterrupt), closed_after(thing):
        raise KeyboardInterrupt
    assert thing.closed == 2


def test_the_level_rises_while_readers_wait_and_falls_when_they_hardly_do() -> None:
    now = [0.0]
    level = Level(2, lambda: now[0])
    seen = []
    for waiting in (1.5, 1.5, 0.5, 0.5, 0.05):
        now[0] += 4
        level.waited(waiting * 4)
        seen.append(level.value)
    assert seen == [LEVELS[1], LEVELS[2], LEVELS[2], LEVELS[2], LEVELS[1]]


def test_the_level_falls_at_once_when_uploads_run_dry() -> None:
    now = [0.0]
    level = Level(1, lambda: now[0])
    for _ in range(10):
        now[0] += 4
        level.waited(4)
    assert level.value == LEVELS[-1]
    level.starved()
    assert level.value == 1

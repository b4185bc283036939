from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from agents.client import Outcome, Result
from agents.monitor import Backoff, Monitor
from agents.protocol import Reply
from agents.spool import Spool

UNAVAILABLE = Outcome(Result.UNAVAILABLE, problem="cannot reach the server")


def accepted(action: str = "none", interval: float | None = None) -> Outcome:
    return Outcome(Result.ACCEPTED, reply=Reply("running", action, interval))


class World:
    """A virtual clock, a scripted server and the monitor between them. ``posts`` is (time, seq, spooled)."""

    def __init__(self, folder: Path, interval: float = 30.0) -> None:
        self.now = 0.0
        self.seq = 0
        self.posts: list[tuple[float, int, bool]] = []
        self.answer: Outcome = accepted()
        self.answers: list[Outcome] = []
        self.beats: list[float] = []
        self.spool = Spool(folder / "spool.jsonl", "vast_1")
        backoff = Backoff(chance=lambda: 1.0)
        self.monitor = Monitor(
            self.read, self, self.spool, interval, clock=lambda: self.now, wait=self.wait, backoff=backoff
        )
        self.until = 0.0

    def read(self, _interval: float) -> dict[str, Any]:
        self.seq += 1
        self.beats.append(self.now)
        return {"instance_id": "vast_1", "seq": self.seq, "spooled": False}

    def post_status(self, reading: dict[str, Any]) -> Outcome:
        self.posts.append((self.now, reading["seq"], reading["spooled"]))
        return self.answers.pop(0) if self.answers else self.answer

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.until:
            raise KeyboardInterrupt

    def run(self, until: float) -> None:
        self.until = until
        with pytest.raises(KeyboardInterrupt):
            self.monitor.run()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_answer_is_passed_on(world: World) -> None:
    heard: list[Reply] = []
    world.monitor = Monitor(world.read, world, world.spool, 30.0, clock=lambda: world.now, heard=heard.append)
    world.monitor.step()
    assert heard == [accepted().reply]


def test_a_heartbeat_is_sent_every_interval(world: World) -> None:
    world.run(until=100)
    assert world.posts == [(0, 1, False), (30, 2, False), (60, 3, False), (90, 4, False)]


def test_the_servers_interval_is_adopted(world: World) -> None:
    world.answers = [accepted(interval=10)]
    world.run(until=25)
    assert world.beats == [0, 10, 20]


def test_stop_ends_the_loop(world: World) -> None:
    world.answer = accepted(action="stop")
    world.monitor.run()
    assert len(world.posts) == 1


def test_prepare_hibernate_goes_on_beating(world: World) -> None:
    world.answer = accepted(action="prepare_hibernate")
    world.run(until=65)
    assert len(world.posts) == 3


def test_a_failed_post_is_tried_again_with_growing_pauses(world: World) -> None:
    world.answer = UNAVAILABLE
    world.run(until=30)
    assert [at for at, _, _ in world.posts] == [0, 1, 3, 7, 15]


def test_pauses_stop_growing_at_a_minute_and_it_never_gives_up(world: World) -> None:
    world.answer = UNAVAILABLE
    world.run(until=3600)
    times = [at for at, _, _ in world.posts]
    assert times[-1] - times[-2] == 60
    assert len(times) > 55


def test_readings_go_on_while_the_server_is_away(world: World) -> None:
    world.answer = UNAVAILABLE
    world.run(until=3600)
    assert len(world.beats) == 120


def test_after_an_outage_the_current_reading_goes_first_then_history_oldest_first(world: World) -> None:
    world.answers = [UNAVAILABLE] * 7  # Tries at 0, 1, 3, 7, 15, 31 and 63 s; the next is at 123 s.
    world.run(until=130)
    history = [(123, seq, True) for seq in (1, 2, 3, 4)]
    assert world.posts[7:] == [(123, 5, False), *history]
    assert len(world.spool) == 0


def test_history_is_sent_in_bounded_pieces(world: World) -> None:
    for seq in range(100):
        world.spool.add({"instance_id": "vast_1", "seq": seq - 1000})
    world.run(until=1)
    assert len(world.posts) == 1 + 30
    assert len(world.spool) == 70


def test_history_that_cannot_be_sent_now_waits_for_the_next_heartbeat(world: World) -> None:
    world.spool.add({"instance_id": "vast_1", "seq": -1})
    world.answers = [accepted(), UNAVAILABLE]
    world.run(until=31)
    assert world.posts == [(0, 1, False), (0, -1, True), (30, 2, False), (30, -1, True)]


def test_history_the_server_refuses_is_dropped(world: World) -> None:
    world.spool.add({"instance_id": "vast_1", "seq": -1})
    world.answers = [accepted(), Outcome(Result.REFUSED, problem="no")]
    world.run(until=31)
    assert len(world.spool) == 0


def test_a_refused_reading_is_dropped_and_the_next_one_sent(world: World) -> None:
    world.answers = [Outcome(Result.REFUSED, problem="no")]
    world.run(until=31)
    assert world.posts == [(0, 1, False), (30, 2, False)]
    assert len(world.spool) == 0


def test_a_refused_token_is_tried_slowly_and_its_readings_are_kept(world: World) -> None:
    world.answer = Outcome(Result.UNAUTHORISED, problem="get a new token")
    world.run(until=125)
    assert [at for at, _, _ in world.posts] == [0, 60, 120]
    assert len(world.spool) == 5


def test_retry_after_is_honoured(world: World) -> None:
    world.answers = [Outcome(Result.UNAVAILABLE, problem="busy", retry_after=20)]
    world.run(until=29)
    assert [at for at, _, _ in world.posts] == [0, 20]


def test_an_unsent_reading_survives_the_end_of_the_agent(world: World, tmp_path: Path) -> None:
    world.answer = UNAVAILABLE
    world.run(until=5)
    assert Spool(tmp_path / "spool.jsonl", "vast_1").oldest()["seq"] == 1


def test_a_lasting_problem_is_logged_once_in_ten_minutes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.answer = UNAVAILABLE
    with caplog.at_level(logging.WARNING, "dumont.agent"):
        world.run(until=1250)
    assert len(caplog.records) == 3


def test_back_off_is_cut_at_random_and_reset_by_success() -> None:
    backoff = Backoff(chance=lambda: 0.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next() == 0.5

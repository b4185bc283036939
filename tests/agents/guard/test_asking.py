"""Asking to be stopped: not at once, for ever, and with what was done written down before it is done."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agents.contact import kept_fact
from agents.guard.asking import Asking, in_words
from agents.guard.countdown import Countdown, pace
from agents.guard.stop import Answer, Powerless, Told
from agents.protocol import GuardOutcome, GuardTerms

HOUR = 3600.0
TERMS = GuardTerms(6 * HOUR, 5.0, "vast", "555")
OVER = Countdown(TERMS, silent=6.2 * HOUR, idle=6.2 * HOUR)
PACE = pace(TERMS.after_seconds)
YES = Answer(Told.ACCEPTED)


@dataclass
class Box:
    """A box whose countdown is over; asks are remembered with their time."""

    home: Path
    now: float = 0.0
    reached: str = ""
    answers: list[Answer] = field(default_factory=list)
    powerless: str = ""
    asked: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asking = Asking(self.home, lambda terms: self.stopper(), lambda: self.now, lambda: 0.0)

    def stopper(self) -> Box:
        if self.powerless:
            raise Powerless(self.powerless)
        return self

    def reach(self) -> str:
        return self.reached

    def stop(self) -> Answer:
        fact = kept_fact(self.home)
        assert fact is not None
        assert fact.outcome is GuardOutcome.STOPPED
        self.asked.append(self.now)
        return self.answers.pop(0) if self.answers else YES

    def run(self, hours: float) -> None:
        until = self.now + hours * HOUR
        while self.now < until:
            self.asking.due(OVER, PACE)
            self.now += PACE.tick


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_the_control_plane_may_speak_first_once_the_provider_is_reached(box: Box) -> None:
    box.run(0.1)
    assert box.asked == [PACE.settle]


def test_whoever_still_runs_after_a_yes_asks_again(box: Box) -> None:
    box.run(1.1)
    assert len(box.asked) == 5
    assert box.asked[1] - box.asked[0] == PACE.retry_most


def test_it_asks_for_ever_and_ever_less_often(box: Box) -> None:
    box.answers = [Answer(Told.REFUSED, "no")] * 1000
    box.run(48)
    pauses = [later - before for before, later in zip(box.asked, box.asked[1:], strict=False)]
    assert max(pauses[:2]) < 120
    assert PACE.retry_most / 2 <= min(pauses[10:]) <= max(pauses[10:]) <= PACE.retry_most + PACE.tick
    assert len(box.asked) > 48 * 3


def test_a_dead_network_that_comes_back_is_given_time_again(box: Box) -> None:
    box.reached = "vast.ai cannot be reached: Name or service not known"
    box.run(5)
    assert box.asked == []
    back_at, box.reached = box.now, ""
    box.run(1)
    assert box.asked[0] >= back_at + PACE.settle


def test_a_network_that_flaps_is_not_settled(box: Box) -> None:
    box.run(PACE.settle / HOUR / 2)
    box.reached = "down"
    box.run(0.5)
    box.reached = ""
    came_back = box.now
    box.run(1)
    assert box.asked[0] >= came_back + PACE.settle


def test_the_fact_says_what_happened(box: Box) -> None:
    box.run(0.1)
    fact = kept_fact(box.home)
    assert fact is not None
    assert fact.outcome is GuardOutcome.STOPPED
    assert fact.reason.startswith("6 h 12 min without contact")
    assert (fact.at, fact.silent_seconds) == ("1970-01-01T00:00:00Z", 22320)


def test_a_refusal_is_told_as_such_under_the_same_id(box: Box) -> None:
    box.answers = [Answer(Told.REFUSED, "vast.ai answers 404: auth_error")]
    box.run(0.04)
    first = kept_fact(box.home)
    box.run(1)
    then = kept_fact(box.home)
    assert first is not None
    assert then is not None
    assert (first.outcome, then.outcome) == (GuardOutcome.UNABLE, GuardOutcome.STOPPED)
    assert "auth_error" in first.reason
    assert first.id == then.id


def test_a_lost_answer_is_told_as_stopped_for_it_may_have_been_taken(box: Box) -> None:
    box.answers = [Answer(Told.UNCLEAR, "no answer")]
    box.run(0.04)
    fact = kept_fact(box.home)
    assert fact is not None
    assert fact.outcome is GuardOutcome.STOPPED


def test_without_a_key_it_only_reports(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    box.powerless = "this machine has no usable CONTAINER_API_KEY"
    with caplog.at_level(logging.WARNING, "dumont.agent"):
        box.run(1)
    fact = kept_fact(box.home)
    assert fact is not None
    assert (fact.outcome, box.asked) == (GuardOutcome.UNABLE, [])
    assert "CONTAINER_API_KEY" in fact.reason
    assert len(caplog.records) == 4


def test_rest_begins_from_the_start(box: Box) -> None:
    box.run(0.02)
    box.asking.rest()
    began = box.now
    box.run(0.1)
    assert box.asked == [began + PACE.settle]


def test_another_silence_is_another_fact(box: Box) -> None:
    box.run(0.1)
    first = kept_fact(box.home)
    box.asking.forget()
    box.run(0.1)
    second = kept_fact(box.home)
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_a_fact_that_cannot_be_kept_keeps_nobody_from_asking(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.asking = Asking(
        tmp_path / "not-there",
        lambda terms: box,
        lambda: box.now,
    )
    box.stop = lambda: (box.asked.append(box.now), YES)[1]
    box.run(0.1)
    assert len(box.asked) == 1


@pytest.mark.parametrize(("seconds", "words"), [(40.4, "40 s"), (600, "10 min"), (22320, "6 h 12 min")])
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words

"""What a list says of a machine that is kept warm: when it ends, and when it must not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.keeping_warm import FRESH, Deed, EndParked, Parked, TakeBack, TellNeeded, plan_parked
from hibernation.domain.standing import ALARM_EVERY, LISTS_BELIEVED, LOADING_PATIENCE
from hibernation.domain.states import Phase
from tests.hibernation.domain.factories import NOON, ago

SEEN = Parked(
    1, "c1", Phase.STOPPED, ago(minutes=5), LISTS_BELIEVED, ago(seconds=1), NOON + timedelta(minutes=20)
)
OVER = NOON - timedelta(seconds=1)


def planned(**changes: Any) -> Deed | None:
    return plan_parked(replace(SEEN, **changes), NOON)


def test_it_is_left_alone_in_its_time() -> None:
    assert planned() is None


def test_it_is_ended_when_its_time_is_over() -> None:
    assert planned(until=OVER) == EndParked(1, "c1", "its time is over")


@pytest.mark.parametrize("pressed", ["", "the credit ends"])
def test_one_that_cannot_be_reached_may_be_at_work_and_is_never_ended(pressed: str) -> None:
    assert planned(until=OVER, phase=Phase.OFFLINE, pressed=pressed) is None


def test_it_is_ended_before_for_what_presses() -> None:
    assert planned(pressed="the credit ends") == EndParked(1, "c1", "the credit ends")


@pytest.mark.parametrize(
    "doubt",
    [
        {"occupied": True},
        {"seen_at": NOON - FRESH - timedelta(seconds=1)},
        {"phase": Phase.LOADING},
        {"phase": Phase.STOPPING},
        {"phase": Phase.RUNNING, "lists": LISTS_BELIEVED - 1},
    ],
)
def test_it_is_not_ended_in_doubt(doubt: dict[str, Any]) -> None:
    assert planned(until=OVER, **doubt) is None


@pytest.mark.parametrize("more", [{}, {"until": OVER}, {"is_saved": False}, {"pressed": "the credit ends"}])
def test_one_that_runs_is_taken_back(more: dict[str, Any]) -> None:
    assert planned(phase=Phase.RUNNING, **more) == TakeBack(1)


@pytest.mark.parametrize(
    ("phase", "since"),
    [
        (Phase.LOADING, NOON - LOADING_PATIENCE),
        (Phase.STOPPING, NOON - LOADING_PATIENCE),
        (Phase.FAILED, ago(minutes=2)),
    ],
)
def test_one_that_does_not_stay_stopped_is_ended(phase: Phase, since: Any) -> None:
    deed = planned(phase=phase, since=since)
    assert isinstance(deed, EndParked)
    assert f"it is {phase}" in deed.reason


def test_one_list_of_a_failure_is_not_believed() -> None:
    assert planned(phase=Phase.FAILED, lists=1) is None


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.OFFLINE, Phase.FAILED])
def test_the_only_right_copy_is_never_ended_and_told_daily(phase: Phase) -> None:
    needed = {"is_saved": False, "until": OVER, "phase": phase, "pressed": "the credit ends"}
    assert planned(**needed) == TellNeeded(1)
    assert planned(**needed, alarmed_at=ago(hours=2)) is None
    assert planned(**needed, alarmed_at=NOON - ALARM_EVERY) == TellNeeded(1)

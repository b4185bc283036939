"""The idle decision: thresholds, unknown readings, gaps and freshness."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain import idle
from hibernation.domain.idle import Activity, IdleState, Policy
from tests.hibernation.domain.factories import NOON, ago


@pytest.mark.parametrize(
    ("utilizations", "activity"),
    [
        ([0.0], Activity.IDLE),
        ([5.0], Activity.IDLE),
        ([5.01], Activity.BUSY),
        ([0.0] * 7 + [99.0], Activity.BUSY),
        ([0.0] * 7 + [None], Activity.UNKNOWN),
        ([None, 99.0], Activity.BUSY),
        ([None], Activity.UNKNOWN),
        ([], Activity.UNKNOWN),
    ],
)
def test_one_busy_gpu_is_busy_and_one_unknown_gpu_is_unknown(
    utilizations: list[float | None], activity: Activity
) -> None:
    assert idle.judge(utilizations, Policy()).activity is activity


def test_the_judgement_names_figure_and_threshold() -> None:
    assert idle.judge([7.25], Policy()).why == "GPU utilization 7.2 % > 5.0 %"
    assert "1 of 2" in idle.judge([0.0, None], Policy()).why


def test_the_first_idle_heartbeat_opens_the_window() -> None:
    assert idle.advance(IdleState(), Activity.IDLE, NOON).idle_since == NOON


def test_further_idle_heartbeats_keep_the_window() -> None:
    state = IdleState(ago(minutes=2), ago(seconds=30))
    assert idle.advance(state, Activity.IDLE, NOON) == IdleState(ago(minutes=2), NOON)


@pytest.mark.parametrize("activity", [Activity.BUSY, Activity.UNKNOWN])
def test_anything_but_idle_closes_the_window(activity: Activity) -> None:
    state = IdleState(ago(minutes=2), ago(seconds=30))
    assert idle.advance(state, activity, NOON) == IdleState(None, NOON)


@pytest.mark.parametrize(("silence", "since"), [(75.0, ago(minutes=9)), (75.1, NOON)])
def test_a_gap_of_more_than_two_and_a_half_intervals_restarts_the_window(
    silence: float, since: object
) -> None:
    state = IdleState(ago(minutes=9), ago(seconds=silence))
    assert idle.advance(state, Activity.IDLE, NOON).idle_since == since


def test_never_heard_is_not_fresh() -> None:
    assert not idle.is_fresh(IdleState(), NOON)


@pytest.mark.parametrize(("waited", "due"), [(179.9, False), (180.0, True), (181.0, True)])
def test_it_is_due_when_the_pause_is_over(waited: float, due: bool) -> None:
    assert idle.is_due(IdleState(ago(seconds=waited), ago(seconds=5)), Policy(), NOON) is due


def test_a_silent_machine_is_never_due() -> None:
    assert not idle.is_due(IdleState(ago(hours=1), ago(seconds=76)), Policy(), NOON)


def test_a_machine_not_idle_or_switched_off_is_never_due() -> None:
    state = IdleState(ago(hours=1), NOON)
    assert idle.due_at(state, Policy(enabled=False)) is None
    assert idle.due_at(IdleState(None, NOON), Policy()) is None
    assert not idle.is_due(state, Policy(enabled=False), NOON)


def test_due_at_is_the_pause_after_the_window_opened() -> None:
    assert idle.due_at(IdleState(NOON, NOON), Policy()) == NOON + timedelta(minutes=3)

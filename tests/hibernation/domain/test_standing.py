"""What lists say of a machine that should work: when it is believed, and what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.standing import (
    AGENT_PATIENCE,
    ALARM_EVERY,
    LISTS_BELIEVED,
    LOADING_PATIENCE,
    STARTS_AT_MOST,
    Alarm,
    PutToWork,
    Sighting,
    StartAgain,
    TellBack,
    TellDown,
    pause_after_start,
    plan_standing,
)
from hibernation.domain.states import Phase
from tests.hibernation.domain.factories import NOON, ago

SECOND = timedelta(seconds=1)
SEEN = Sighting(1, "c1", Phase.STOPPED, ago(minutes=5), LISTS_BELIEVED)


def planned(**changes: Any) -> tuple[object, ...]:
    return plan_standing(replace(SEEN, **changes), NOON)


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.FAILED, Phase.OFFLINE])
def test_a_machine_that_does_not_work_is_told_when_several_lists_said_so(phase: Phase) -> None:
    assert planned(phase=phase) == (TellDown(1, offline=phase is Phase.OFFLINE),)
    assert planned(phase=phase, lists=LISTS_BELIEVED - 1) == ()


@pytest.mark.parametrize("phase", [*Phase])
def test_a_heartbeat_outranks_every_list(phase: Phase) -> None:
    assert planned(phase=phase, last_beat_at=ago(seconds=59)) == ()


def test_a_machine_that_reports_rarely_is_waited_for_longer() -> None:
    assert planned(last_beat_at=ago(seconds=90), longest_gap=timedelta(seconds=100)) == ()
    assert planned(last_beat_at=ago(seconds=90)) == (TellDown(1, offline=False),)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING, Phase.LOADING])
def test_a_machine_that_works_or_is_between_is_left_alone(phase: Phase) -> None:
    assert planned(phase=phase) == ()


@pytest.mark.parametrize(("waited", "told"), [(LOADING_PATIENCE - SECOND, False), (LOADING_PATIENCE, True)])
def test_one_that_loads_for_ever_has_stopped(waited: timedelta, told: bool) -> None:
    assert planned(phase=Phase.LOADING, since=NOON - waited) == (
        (TellDown(1, offline=False),) if told else ()
    )


def test_a_stopped_machine_is_started_again_a_few_times_with_pauses() -> None:
    assert planned(down_since=ago(minutes=4)) == (StartAgain(1, "c1"),)
    assert planned(down_since=ago(minutes=4), due_at=NOON + SECOND) == ()
    assert planned(down_since=ago(minutes=4), starts=STARTS_AT_MOST) == (Alarm(1),)
    assert pause_after_start(2) > pause_after_start(1) > timedelta(0)


def test_nothing_is_started_while_an_operation_runs_on_it() -> None:
    assert planned(down_since=ago(minutes=4), occupied=True) == ()


def test_a_machine_out_of_reach_is_only_told() -> None:
    assert planned(phase=Phase.OFFLINE, down_since=ago(days=3)) == ()


def test_an_alarm_is_repeated_daily_and_never_ends_the_machine() -> None:
    given_up = {"down_since": ago(days=9), "starts": STARTS_AT_MOST}
    assert planned(**given_up, alarmed_at=NOON - ALARM_EVERY) == (Alarm(1),)
    assert planned(**given_up, alarmed_at=NOON - ALARM_EVERY + SECOND) == ()
    assert planned(down_since=NOON - ALARM_EVERY) == (Alarm(1), StartAgain(1, "c1"))


def test_one_that_runs_again_in_silence_gets_its_agent_back() -> None:
    assert planned(phase=Phase.RUNNING, down_since=ago(minutes=9)) == (PutToWork(1, "c1"),)
    assert planned(phase=Phase.RUNNING, down_since=ago(minutes=9), lists=1) == ()


def test_it_is_back_when_it_is_heard() -> None:
    heard = {"phase": Phase.RUNNING, "last_beat_at": ago(seconds=5)}
    assert planned(**heard, down_since=ago(minutes=9)) == (TellBack(1),)
    assert planned(**heard, down_since=ago(seconds=4)) == ()


@pytest.mark.parametrize(("silent", "put"), [(AGENT_PATIENCE - SECOND, False), (AGENT_PATIENCE, True)])
def test_a_running_machine_that_lost_its_agent_gets_it_back(silent: timedelta, put: bool) -> None:
    seen = {"phase": Phase.RUNNING, "last_beat_at": NOON - silent}
    assert planned(**seen) == ((PutToWork(1, "c1"),) if put else ())
    assert planned(**seen, occupied=True) == ()

"""What one heartbeat means, and which ones mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from hibernation.domain import heartbeats
from hibernation.domain.facts import OperationFacts
from hibernation.domain.heartbeats import Beat, BeatResult
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.states import (
    LIVE_MACHINE_STATES,
    EventType,
    InstanceStatus,
    MachineState,
    SnapshotPurpose,
)
from tests.hibernation.domain.factories import NOON, ago, hibernating, saving, waking

IDLE, BUSY, UNKNOWN = Beat(2, (0.0,)), Beat(2, (90.0,)), Beat(2, (None,))


def heard(
    beat: Beat, status: InstanceStatus, operation: OperationFacts | None = None, **state: Any
) -> BeatResult:
    idle_state = IdleState(**{"idle_since": ago(minutes=1), "last_beat_at": ago(seconds=30), **state})
    return heartbeats.receive(
        beat, status=status, policy=Policy(), state=idle_state, operation=operation, now=NOON
    )


@pytest.mark.parametrize("state", MachineState)
def test_only_a_live_rental_is_heard(state: MachineState) -> None:
    refusal = heartbeats.refuse(IDLE, last_seq=1, machine_state=state)
    assert refusal == (None if state in LIVE_MACHINE_STATES else "machine_gone")


@pytest.mark.parametrize(("last_seq", "refusal"), [(1, None), (2, "stale_sequence"), (3, "stale_sequence")])
def test_a_sequence_number_counts_once(last_seq: int, refusal: str | None) -> None:
    assert heartbeats.refuse(IDLE, last_seq=last_seq, machine_state=MachineState.ACTIVE) == refusal


def test_a_spooled_reading_may_be_old_and_changes_nothing() -> None:
    spooled = Beat(1, (90.0,), spooled=True)
    assert heartbeats.refuse(spooled, last_seq=9, machine_state=MachineState.ACTIVE) is None
    result = heard(spooled, InstanceStatus.IDLE)
    assert result.status is InstanceStatus.IDLE
    assert result.idle == IdleState(ago(minutes=1), ago(seconds=30))
    assert result.event is None


def test_a_running_instance_falls_idle() -> None:
    result = heard(IDLE, InstanceStatus.RUNNING, idle_since=None)
    assert (result.status, result.event) == (InstanceStatus.IDLE, EventType.IDLE_DETECTED)
    assert result.idle.idle_since == NOON


@pytest.mark.parametrize("beat", [BUSY, UNKNOWN])
def test_an_idle_instance_runs_again_when_busy_or_unknown(beat: Beat) -> None:
    result = heard(beat, InstanceStatus.IDLE)
    assert (result.status, result.event) == (InstanceStatus.RUNNING, EventType.ACTIVITY_RESUMED)
    assert result.idle.idle_since is None


@pytest.mark.parametrize(("beat", "status"), [(IDLE, InstanceStatus.IDLE), (BUSY, InstanceStatus.RUNNING)])
def test_more_of_the_same_makes_no_event(beat: Beat, status: InstanceStatus) -> None:
    result = heard(beat, status)
    assert (result.status, result.event) == (status, None)


def test_work_stops_a_hibernation() -> None:
    result = heard(BUSY, InstanceStatus.HIBERNATING, hibernating("freeze").operation)
    assert result.stop_operation
    assert (result.status, result.event) == (InstanceStatus.HIBERNATING, EventType.ACTIVITY_RESUMED)


@pytest.mark.parametrize(
    "operation",
    [
        hibernating("freeze", forced=True).operation,
        hibernating("freeze", cancel_reason="cancelled").operation,
        hibernating("confirm", point_of_no_return_at=NOON).operation,
        waking("thaw").operation,
        None,
    ],
)
def test_work_stops_nothing_else(operation: OperationFacts | None) -> None:
    result = heard(BUSY, InstanceStatus.HIBERNATING, operation)
    assert not result.stop_operation
    assert result.event is None


@pytest.mark.parametrize("status", [InstanceStatus.IDLE, InstanceStatus.RUNNING])
def test_work_stops_a_precopy_and_nothing_that_was_ordered(status: InstanceStatus) -> None:
    precopy = saving("freeze", purpose=SnapshotPurpose.PRE_COPY).operation
    result = heard(BUSY, status, precopy)
    assert (result.stop_operation, result.status) == (True, InstanceStatus.RUNNING)
    assert (result.event is EventType.ACTIVITY_RESUMED) is (status is InstanceStatus.IDLE)
    assert not heard(BUSY, status, saving("freeze").operation).stop_operation


def test_an_unknown_reading_stops_a_hibernation_through_its_window() -> None:
    result = heard(UNKNOWN, InstanceStatus.HIBERNATING, hibernating("freeze").operation)
    assert not result.stop_operation
    assert result.idle.idle_since is None

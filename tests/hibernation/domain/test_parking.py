"""The end of a hibernation whose machine is kept warm: the same gate, a stop instead of an end, and its faults."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.effects import Destroy, ListMachines, MachinesSeen, Ok, StopMachine
from hibernation.domain.errors import NotFound, ProviderRefused, ProviderUnavailable, RateLimited
from hibernation.domain.facts import Facts, SnapshotFacts
from hibernation.domain.lifecycle import conclude, plan
from hibernation.domain.outcomes import (
    Finish,
    Go,
    Park,
    PassPointOfNoReturn,
    Perform,
    SetMachine,
    SetStatus,
    Wait,
)
from hibernation.domain.states import EventType, InstanceStatus, MachineState, Phase, SnapshotState
from tests.hibernation.domain.factories import NOON, a_machine, ago, events, proven

WARM = timedelta(minutes=30)
UNTIL = NOON + WARM


def stopping(step: str, **changes: Any) -> Facts:
    """Past the gate a moment ago."""
    machine = a_machine(
        state=MachineState.PARKED,
        parked_until=UNTIL,
        disk_price=Decimal("0.0014"),
        **changes.pop("machine", {}),
    )
    return proven(
        step, **{"point_of_no_return_at": ago(seconds=20), "machine": machine, "warm": WARM, **changes}
    )


def seen(phase: Phase | None) -> MachinesSeen:
    phases = {} if phase is None else {"c1": phase}
    return MachinesSeen({}, frozenset(phases), phases)


def test_the_gate_stops_the_machine_instead() -> None:
    assert plan(proven("destroy", warm=WARM)) == Perform(
        StopMachine("c1"), (PassPointOfNoReturn(), Park(UNTIL))
    )


@pytest.mark.parametrize(
    ("changes", "leads_to"),
    [
        ({"snapshot": SnapshotFacts("s1", SnapshotState.FROZEN)}, "release"),
        ({"snapshot": SnapshotFacts("s1", SnapshotState.VERIFIED, unreadable=1)}, "release"),
        ({"snapshot": SnapshotFacts("s1", SnapshotState.VERIFIED, damaged=True)}, "release"),
        ({"fenced_round": None}, "fence"),
        ({"entered_at": ago(minutes=2)}, "fence"),
        ({"cancel_reason": "cancelled"}, "release"),
    ],
)
def test_what_keeps_a_machine_from_being_ended_keeps_it_from_being_parked(
    changes: dict[str, Any], leads_to: str
) -> None:
    planned = plan(proven("destroy", warm=WARM, **changes))
    assert isinstance(planned, Go)
    assert planned.step == leads_to


def test_a_worker_that_comes_again_stops_it_again() -> None:
    assert plan(stopping("destroy")) == Perform(StopMachine("c1"))
    assert plan(stopping("confirm")) == Perform(ListMachines())


def test_the_answer_to_the_stop_is_not_believed() -> None:
    assert conclude(stopping("destroy"), Ok()) == Go("confirm")


@pytest.mark.parametrize("error", [ProviderUnavailable("away"), RateLimited("in line", 7.0)])
def test_only_a_list_tells_what_became_of_a_stop_without_an_answer(error: ProviderUnavailable) -> None:
    assert conclude(stopping("destroy"), error) == Go("confirm")


def test_one_that_runs_on_is_told_again_to_stop_ever_later() -> None:
    outcome = conclude(stopping("confirm", entered_at=ago(seconds=6)), seen(Phase.RUNNING))
    assert isinstance(outcome, Go)
    assert outcome.step == "destroy"
    assert outcome.memo is not None
    assert outcome.memo.attempt == 1
    assert isinstance(
        conclude(stopping("confirm", entered_at=ago(seconds=6), attempt=1), seen(Phase.RUNNING)), Wait
    )


@pytest.mark.parametrize(
    ("step", "reply", "late"),
    [
        ("destroy", ProviderRefused("no"), False),
        ("destroy", NotFound("gone"), False),
        ("confirm", seen(Phase.RUNNING), True),
        ("confirm", seen(Phase.STOPPING), True),
    ],
)
def test_what_does_not_stop_is_ended(step: str, reply: Any, late: bool) -> None:
    passed = ago(minutes=4) if late else ago(seconds=20)
    facts = stopping(step, point_of_no_return_at=passed, answered_at=ago(seconds=15).timestamp())
    outcome = conclude(facts, reply)
    assert isinstance(outcome, Go)
    assert outcome.step == "destroy"
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [MachineState.DESTROYING]
    again = proven(
        "destroy",
        point_of_no_return_at=passed,
        machine=a_machine(state=MachineState.DESTROYING),
        redestroy=True,
    )
    assert outcome.memo is not None
    assert outcome.memo.redestroy
    planned = plan(again)
    assert isinstance(planned, Perform)
    assert planned.effect == Destroy("c1")


@pytest.mark.parametrize("reply", [seen(Phase.RUNNING), seen(Phase.OFFLINE), ProviderUnavailable("away")])
def test_what_was_not_watched_all_along_is_neither_stopped_nor_ended(reply: Any) -> None:
    """It may have stopped, and somebody may have started it since and work there."""
    long_ago = {"point_of_no_return_at": ago(minutes=17), "answered_at": ago(minutes=16).timestamp()}
    assert plan(stopping("destroy", **long_ago)) == Go("confirm")
    outcome = conclude(stopping("confirm", **long_ago), reply)
    assert isinstance(outcome, Finish)
    assert not [change for change in outcome.changes if isinstance(change, SetMachine)]
    assert SetStatus(InstanceStatus.HIBERNATED) in outcome.changes
    assert outcome.result["instance_destroyed"] is False


def test_one_that_comes_up_is_somebody_elses_and_left_at_once() -> None:
    outcome = conclude(stopping("confirm"), seen(Phase.LOADING))
    assert isinstance(outcome, Finish)
    assert not [change for change in outcome.changes if isinstance(change, SetMachine)]


def test_each_look_that_shows_it_running_is_remembered() -> None:
    watched = conclude(stopping("confirm"), seen(Phase.RUNNING))
    assert isinstance(watched, Wait)
    assert watched.memo is not None
    assert watched.memo.answered_at == NOON.timestamp()


def test_a_list_that_fails_ends_nothing_while_it_was_seen_running() -> None:
    facts = stopping("confirm", point_of_no_return_at=ago(minutes=4), answered_at=ago(seconds=15).timestamp())
    assert isinstance(conclude(facts, ProviderUnavailable("away")), Wait)


def test_a_refusal_after_a_stop_that_was_taken_ends_nothing() -> None:
    assert conclude(stopping("destroy", attempt=1), ProviderRefused("stopping already")) == Go("confirm")


def test_a_damaged_copy_keeps_a_machine_that_one_list_lacks() -> None:
    outcome = conclude(stopping("confirm", machine={"is_saved": False}), seen(None))
    assert isinstance(outcome, Finish)
    assert not [change for change in outcome.changes if isinstance(change, SetMachine)]


def test_what_does_not_stop_stays_if_its_copy_was_found_damaged() -> None:
    facts = stopping("confirm", point_of_no_return_at=ago(minutes=4), machine={"is_saved": False})
    outcome = conclude(facts, seen(Phase.RUNNING))
    assert isinstance(outcome, Finish)
    assert outcome.result["instance_destroyed"] is False


@pytest.mark.parametrize("reply", [seen(Phase.RUNNING), seen(Phase.STOPPING), ProviderUnavailable("away")])
def test_it_is_looked_at_until_it_stands_still(reply: Any) -> None:
    assert isinstance(conclude(stopping("confirm"), reply), Wait)


def test_it_is_hibernated_when_a_list_says_that_it_stands_still() -> None:
    outcome = conclude(stopping("confirm"), seen(Phase.STOPPED))
    assert isinstance(outcome, Finish)
    assert SetStatus(InstanceStatus.HIBERNATED) in outcome.changes
    assert events(outcome.changes) == [EventType.HIBERNATED]
    assert outcome.result == {
        "success": True,
        "snapshot_id": "s1",
        "instance_destroyed": False,
        "kept_warm_until": UNTIL.isoformat(),
    }


def test_it_is_gone_when_a_list_lacks_it() -> None:
    outcome = conclude(stopping("confirm"), seen(None))
    assert isinstance(outcome, Finish)
    assert SetMachine(MachineState.DESTROYED) in outcome.changes
    assert outcome.result["instance_destroyed"] is True

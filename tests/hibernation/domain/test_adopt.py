"""Every step of an adoption: what it plans, and every way it can conclude. Nothing of it ends a machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.adopt import CHAIN, STEPS
from hibernation.domain.effects import AttachKey, Destroy, InstallAgent, Ok, Reach, SetLabel
from hibernation.domain.errors import (
    BoxUnreachable,
    DumontError,
    HostKeyChanged,
    NotFound,
    NotSupported,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.facts import Facts
from hibernation.domain.heartbeats import Beat, receive
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.lifecycle import conclude, plan
from hibernation.domain.outcomes import Finish, Go, Perform, SetMachine, SetStatus, Wait
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationKind
from tests.hibernation.domain.factories import NOON, a_machine, ago, events, waking

LONG_AGO = ago(hours=1)


def adopting(step: str, *, beat: bool = False, **changes: Any) -> Facts:
    machine = a_machine(
        state=MachineState.ADOPTING, contract_id="12345", first_beat_at=NOON if beat else None, label="ours"
    )
    facts = {"kind": OperationKind.ADOPT, "status": InstanceStatus.PROVISIONING, "snapshot": None}
    return waking(
        step, machine=machine, status_before=InstanceStatus.PROVISIONING, offer=None, **facts, **changes
    )


def left_alone(outcome: Any, code: str) -> None:
    assert isinstance(outcome, Finish)
    assert outcome.error_code == code
    machine, status, told = outcome.changes
    assert isinstance(machine, SetMachine)
    assert machine.state is MachineState.RELEASED
    assert status == SetStatus(InstanceStatus.RELEASED)
    assert "left alone" in told.reason


@pytest.mark.parametrize(
    ("step", "effect"),
    [
        ("attach", AttachKey("12345")),
        ("reach", Reach("12345")),
        ("install", InstallAgent()),
        ("label", SetLabel("12345", "ours")),
    ],
)
def test_each_step_asks_for_one_thing(step: str, effect: Any) -> None:
    planned = plan(adopting(step))
    assert isinstance(planned, Perform)
    assert (planned.effect, planned.changes) == (effect, ())


def test_no_step_can_end_a_machine() -> None:
    plans = [plan(adopting(step.name)) for step in STEPS]
    assert not any(isinstance(p, Perform) and isinstance(p.effect, Destroy) for p in plans)
    assert [step.name for step in STEPS] == list(CHAIN)


@pytest.mark.parametrize(
    ("step", "after"), [("attach", "reach"), ("reach", "install"), ("install", "confirm")]
)
def test_what_worked_leads_on(step: str, after: str) -> None:
    outcome = conclude(adopting(step), Ok())
    assert isinstance(outcome, Go)
    assert outcome.step == after


def test_a_provider_that_lets_no_key_in_may_have_been_helped_by_hand() -> None:
    outcome = conclude(adopting("attach"), NotSupported())
    assert isinstance(outcome, Go)
    assert outcome.step == "reach"


@pytest.mark.parametrize("step", ["attach", "reach", "install", "label"])
def test_what_failed_is_tried_again(step: str) -> None:
    outcome = conclude(adopting(step), ProviderUnavailable("away"))
    assert isinstance(outcome, Wait)
    assert (outcome.failed, outcome.why) == (True, "away")


def test_a_provider_that_wants_fewer_requests_gets_them() -> None:
    outcome = conclude(adopting("attach"), RateLimited("slowly", retry_after=40))
    assert isinstance(outcome, Wait)
    assert outcome.seconds >= 40


@pytest.mark.parametrize(
    ("step", "error"),
    [("attach", ProviderUnavailable()), ("reach", BoxUnreachable()), ("install", BoxUnreachable())],
)
def test_what_fails_too_long_leaves_the_machine_alone(step: str, error: DumontError) -> None:
    left_alone(conclude(adopting(step, entered_at=LONG_AGO), error), error.code)


@pytest.mark.parametrize("step", ["attach", "reach", "label"])
def test_a_rental_that_has_ended_is_not_waited_for(step: str) -> None:
    left_alone(conclude(adopting(step), NotFound("gone")), "not_found")


def test_another_machine_at_its_address_is_not_spoken_to() -> None:
    left_alone(conclude(adopting("reach"), HostKeyChanged()), "host_key_changed")


def test_the_first_heartbeat_is_waited_for() -> None:
    assert isinstance(plan(adopting("confirm")), Wait)
    outcome = plan(adopting("confirm", beat=True))
    assert isinstance(outcome, Go)
    assert outcome.step == "label"


def test_a_silent_agent_is_installed_once_more_and_then_given_up() -> None:
    outcome = plan(adopting("confirm", entered_at=LONG_AGO))
    assert isinstance(outcome, Go)
    assert outcome.step == "install"
    assert outcome.memo is not None
    left_alone(plan(adopting("confirm", entered_at=LONG_AGO, reinstalled=True)), "agent_silent")


@pytest.mark.parametrize("reply", [Ok(), NotSupported()])
def test_with_its_label_it_is_ours(reply: Any) -> None:
    outcome = conclude(adopting("label", beat=True), reply)
    assert isinstance(outcome, Finish)
    assert outcome.error_code == ""
    assert outcome.changes[:2] == (SetMachine(MachineState.ACTIVE), SetStatus(InstanceStatus.RUNNING))
    assert events(outcome.changes) == [EventType.ADOPTED]
    assert outcome.result == {"success": True, "time_taken": 20.0}


def test_a_machine_that_cannot_be_labelled_is_ours_all_the_same() -> None:
    outcome = conclude(adopting("label", entered_at=LONG_AGO), ProviderUnavailable("away"))
    assert isinstance(outcome, Finish)
    assert outcome.error_code == ""
    assert "could not be labelled: away" in outcome.changes[-1].reason


@pytest.mark.parametrize("step", CHAIN)
@pytest.mark.parametrize(
    ("changes", "code"),
    [({"cancel_reason": "cancelled"}, "cancelled"), ({"deadline_at": ago(seconds=1)}, "deadline")],
)
def test_a_cancellation_and_the_deadline_leave_the_machine_alone(
    step: str, changes: dict[str, Any], code: str
) -> None:
    outcome = plan(adopting(step, **changes))
    left_alone(outcome, code)
    assert isinstance(outcome, Finish)
    assert outcome.cancelled is (code == "cancelled")


def test_the_time_allowed_is_less_than_the_deadline() -> None:
    facts = adopting("attach")
    limits = facts.limits
    steps = (limits.attach, limits.reach, limits.install, limits.first_beat, limits.label)
    assert sum(steps, timedelta()) < timedelta(minutes=45)


def test_a_machine_that_works_is_adopted_all_the_same() -> None:
    facts = adopting("confirm")
    heard = receive(
        Beat(1, (97.0,)),
        status=InstanceStatus.PROVISIONING,
        policy=Policy(),
        state=IdleState(),
        operation=facts.operation,
        now=NOON,
    )
    assert (heard.stop_operation, heard.status) == (False, InstanceStatus.PROVISIONING)

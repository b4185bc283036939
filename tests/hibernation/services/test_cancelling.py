"""Calling an operation off: at once where it waits, at its next step where it runs, and never too late."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.errors import Conflict, NotFound
from hibernation.models import Operation
from hibernation.services.cancelling import request_cancel
from hibernation.services.clock import db_now
from tests.factories import make_instance, make_operation, make_snapshot
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def cancel(operation: Operation) -> Operation:
    return request_cancel(operation.pk, actor="user:ana")


def test_a_hibernation_that_is_called_off_leaves_the_machine_running(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="verify")
    assert cancel(operation).cancel_reason == "cancelled"
    world.run(operation)
    instance.refresh_from_db()
    assert (operation.state, operation.error_code, instance.status) == ("cancelled", "cancelled", "running")
    assert [row.pk for row in instance.machines.filter(state="active")] == [operation.machine_id]
    told = instance.events.get(event_type="operation_cancelled")
    assert (told.actor, told.operation_id) == ("user:ana", operation.pk)
    assert "hibernate_vetoed" in events(instance)
    assert_consistent(instance)


def test_a_wake_that_is_called_off_goes_back_to_sleep(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="thaw")
    cancel(operation)
    world.run(operation)
    instance.refresh_from_db()
    assert (operation.state, instance.status) == ("cancelled", "hibernated")
    assert_consistent(instance)


def test_a_snapshot_that_is_called_off_ends(world: World) -> None:
    instance = world.awake()
    operation = make_operation(instance, kind="snapshot", step="freeze", machine=instance.machines.get())
    cancel(operation)
    assert world.run(operation).state == "cancelled"


def test_one_that_waits_ends_at_once_and_what_runs_goes_on(world: World) -> None:
    instance = world.asleep()
    wake = world.wake(instance)
    waiting = world.hibernate(instance)
    assert cancel(waiting).state == "cancelled"
    waiting.refresh_from_db()
    assert waiting.error == "called off by user:ana before it began"
    assert events(instance)[-1] == "operation_cancelled"
    assert world.run(wake).state == "succeeded"
    assert_consistent(instance)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_has_ended_cannot_be_called_off(state: str) -> None:
    operation = make_operation(make_instance(), state=state, finished_at=db_now() + timedelta(seconds=1))
    with pytest.raises(Conflict, match="has ended"):
        cancel(operation)
    assert events(operation.instance) == []


def test_past_the_point_of_no_return_it_is_refused() -> None:
    instance = make_instance(status="hibernating")
    operation = make_operation(
        instance, step="confirm", snapshot=make_snapshot(instance), point_of_no_return_at=db_now()
    )
    with pytest.raises(Conflict, match="point of no return"):
        cancel(operation)
    operation.refresh_from_db()
    assert operation.cancel_reason == ""
    assert events(instance) == []


@pytest.mark.parametrize("turning", [{"cancel_reason": "superseded"}, {"step": "release"}], ids=str)
def test_one_that_turns_back_already_is_left_alone(turning: dict[str, str]) -> None:
    operation = make_operation(make_instance(), **turning)
    before = operation.cancel_reason
    assert cancel(operation).cancel_reason == before
    assert events(operation.instance) == []


def test_calling_off_twice_is_told_once() -> None:
    operation = make_operation(make_instance())
    cancel(operation)
    cancel(operation)
    assert events(operation.instance) == ["operation_cancelled"]


def test_an_operation_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFound):
        request_cancel(999_999_999, actor="user:ana")

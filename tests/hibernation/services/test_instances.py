"""Registering instances and changing their rules."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.errors import Conflict, InvalidRequest, NotFound
from hibernation.domain.states import InstanceStatus, MachineState
from hibernation.models import Event, Instance
from hibernation.services.instances import configure, register_instance
from hibernation.services.requests import request_wake
from hibernation.services.transitions import IllegalTransition, set_machine, set_status
from tests.factories import PROVIDER, make_hibernated, make_instance, make_machine
from tests.hibernation.services.world import World, assert_consistent

pytestmark = pytest.mark.django_db


def test_a_new_instance_is_provisioning_and_told(world: World) -> None:
    instance = register_instance("vast_12345", provider=PROVIDER, actor="user:ana", max_price=Decimal("0.5"))
    event = Event.objects.get()
    assert instance.status == InstanceStatus.PROVISIONING
    assert (event.event_type, event.status_to, event.actor) == ("registered", "provisioning", "user:ana")
    assert_consistent(instance)


def test_an_instance_is_registered_once(world: World) -> None:
    register_instance("vast_12345", provider=PROVIDER, actor="user:ana")
    with pytest.raises(Conflict):
        register_instance("vast_12345", provider=PROVIDER, actor="user:ana")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("a/b", {}),
        ("", {}),
        ("-x", {}),
        ("x" * 65, {}),
        ("ok", {"region": "r" * 33}),
        ("ok", {"disk_gb": -1}),
    ],
)
def test_an_instance_that_cannot_be_is_refused(world: World, name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        register_instance(name, provider=PROVIDER, actor="user:ana", **fields)
    assert not Instance.objects.exists()


def test_rules_of_an_unknown_instance_are_not_found() -> None:
    with pytest.raises(NotFound):
        configure("nobody", {}, actor="user:ana")


def test_a_longer_time_until_deletion_counts_from_the_hibernation() -> None:
    instance = make_hibernated()
    changed = configure(instance.pk, {"delete_after": timedelta(hours=2)}, actor="user:ana")
    assert changed.delete_due_at == instance.status_changed_at + timedelta(hours=2)


def test_a_change_of_rules_is_told_with_old_and_new() -> None:
    instance = make_instance()
    configure(instance.pk, {"gpu_usage_threshold": 10.0}, actor="user:ana")
    assert Event.objects.get().data == {"gpu_usage_threshold": ["5.0", "10.0"]}


def test_an_arrow_that_does_not_exist_is_never_followed() -> None:
    instance = make_instance()
    machine = make_machine(instance)
    with pytest.raises(IllegalTransition):
        set_status(instance, InstanceStatus.DELETED, instance.created_at)
    with pytest.raises(IllegalTransition):
        set_machine(machine, MachineState.INTENDED, instance.created_at)


def test_a_wake_of_an_unknown_instance_is_not_found() -> None:
    with pytest.raises(NotFound):
        request_wake("nobody", actor="a", reason="r")

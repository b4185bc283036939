"""Many operations started in a few statements are the same, field by field, as one started by the usual door."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Model
from django.forms.models import model_to_dict

from hibernation.domain.states import OperationKind
from hibernation.models import Event, Instance, Operation
from hibernation.services.clock import db_now
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.schedules.starting_many import Start, fresh_ids, start_many
from tests.factories import idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
OWN = {
    "id", "instance", "operation", "machine", "snapshot", "snapshot_name", "name", "ssh_host",
}  # fmt: skip


def picture(row: Model, **known: Any) -> dict[str, Any]:
    """Every column, with whole seconds for moments, and without what each row has of its own."""
    found = model_to_dict(row, fields=[field.name for field in row._meta.concrete_fields])
    moments = {f.name for f in row._meta.concrete_fields if f.get_internal_type() == "DateTimeField"}
    return {
        name: value if name not in moments or value is None else "a moment"
        for name, value in found.items()
        if name not in OWN
    }


def pictures(instance: Instance) -> list[dict[str, Any]]:
    operation = Operation.objects.get(instance=instance)
    rows: list[Model] = [operation]
    rows += Event.objects.filter(instance=instance).exclude(event_type="schedule_fired")
    rows.append(Instance.objects.get(pk=instance.pk))
    return [picture(row) for row in rows]


def one_of_many(instance: Instance, kind: OperationKind, **more: Any) -> None:
    [pk] = fresh_ids(1)
    start_many(kind, [Start({instance.pk: pk}, "why", "told", "{}")], db_now(), **more)
    assert Operation.objects.get(instance=instance).pk == pk


def test_a_wake(world: World) -> None:
    usual, many = make_hibernated(), make_hibernated(status="deleted", delete_due_at=None)
    Instance.objects.filter(pk=usual.pk).update(status="deleted", delete_due_at=None)
    request_wake(usual.pk, actor="schedule", reason="why")
    one_of_many(many, OperationKind.WAKE)
    assert pictures(many) == pictures(usual)
    operation = Operation.objects.get(instance=many)
    assert (operation.snapshot_id, operation.machine_id) == (many.snapshot_id, None)
    told = Event.objects.get(instance=many, event_type="schedule_fired")
    assert (told.reason, told.actor, told.operation_id) == ("told", "schedule", operation.pk)
    assert many.snapshot is not None
    assert told.snapshot_name == many.snapshot.name


@pytest.mark.parametrize("forced", [False, True])
def test_a_hibernation(world: World, forced: bool) -> None:
    since = idle_for(4)
    usual, many = make_instance(**since), make_instance(**since)
    machines = [make_machine(one) for one in (usual, many)]
    request_hibernate(usual.pk, actor="schedule", reason="why", forced=forced)
    one_of_many(many, OperationKind.HIBERNATE, forced=forced)
    assert pictures(many) == pictures(usual)
    operation = Operation.objects.get(instance=many)
    assert (operation.snapshot_id, operation.machine_id) == (None, machines[1].pk)


def test_nobody_costs_nothing(world: World) -> None:
    start_many(OperationKind.WAKE, [], db_now())
    assert fresh_ids(0) == []

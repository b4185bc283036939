"""Starting the operations of many instances at once: what ``starting.start`` does for one, in a few statements.

Only for instances on which nothing runs and about which nothing is in doubt; a test compares both ways field by field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Model

from hibernation.domain.states import EventType, InstanceStatus, OperationKind, OperationState
from hibernation.models import Event, Instance, OperationStep
from hibernation.services.facts import SCHEDULE
from hibernation.services.starting import make_running, new_operation
from hibernation.services.transitions import fields_of_status


@dataclass(frozen=True, slots=True)
class Start:
    """``reason`` is the operation's own; ``told`` and ``data`` (JSON) are of the event ``schedule_fired``.

    Of a wake ``snapshot_id`` is restored, of a hibernation ``machine_id`` ends.
    """

    instance_id: str
    reason: str
    told: str
    data: str
    snapshot_id: int | None = None
    machine_id: int | None = None


def start_many(
    kind: OperationKind, starts: Sequence[Start], now: datetime, *, forced: bool = False
) -> dict[str, int]:
    """The operations' ids by instance. The caller holds the instances' locks, and sends the steps after commit."""
    if not starts:
        return {}
    wakes = kind is OperationKind.WAKE
    status = InstanceStatus.WAKING if wakes else InstanceStatus.HIBERNATING
    operation = new_operation(
        Instance(pk=""), kind, now, state=OperationState.QUEUED, actor=SCHEDULE, reason="", forced=forced
    )
    make_running(operation, now)
    given = {
        "instances": [one.instance_id for one in starts],
        "snapshots": [one.snapshot_id if wakes else None for one in starts],
        "machines": [None if wakes else one.machine_id for one in starts],
        "reasons": [one.reason for one in starts],
        "told": [one.told for one in starts],
        "data": [one.data for one in starts],
    }
    found = _insert(operation, _NEW, _OPERATION, given, returning="id, instance_id")
    ids = {instance_id: pk for pk, instance_id in found}
    given["operations"] = [ids[one.instance_id] for one in starts]
    _insert(
        OperationStep(step=operation.step, entered_at=now), _NEW, {"operation_id": "new.operation_id"}, given
    )
    began = EventType.WAKE_STARTED if wakes else EventType.HIBERNATE_STARTED
    for event, more in (
        (began, {"reason": "new.reason", "status_from": "i.status", "status_to": f"'{status}'"}),
        (EventType.SCHEDULE_FIRED, {"reason": "new.told", "data": "new.data::jsonb"}),
    ):
        row = Event(event_type=event, timestamp=now, actor=SCHEDULE, data={}, reason="")
        _insert(row, _NEW, {**_EVENT, **more}, given)
    Instance.objects.filter(pk__in=list(ids)).update(**fields_of_status(status, now))
    return ids


_NEW = """
unnest(%(instances)s::text[], %(snapshots)s::bigint[], %(machines)s::bigint[], %(operations)s::bigint[],
    %(reasons)s::text[], %(told)s::text[], %(data)s::text[])
    AS new(instance_id, snapshot_id, machine_id, operation_id, reason, told, data)
JOIN instance_status AS i ON i.id = new.instance_id
LEFT JOIN hibernation_snapshot AS s ON s.id = new.snapshot_id
"""
_OPERATION = {
    "instance_id": "new.instance_id",
    "reason": "new.reason",
    "status_before": "i.status",
    "snapshot_id": "new.snapshot_id",
    "machine_id": "new.machine_id",
}
_EVENT = {
    "instance_id": "new.instance_id",
    "operation_id": "new.operation_id",
    "gpu_utilization": "i.gpu_utilization",
    "snapshot_name": "COALESCE(s.name, '')",
}


def _insert(
    template: Model, source: str, varying: Mapping[str, str], given: Mapping[str, Any], returning: str = ""
) -> list[Any]:
    """One row like ``template`` for each of ``source``, but for the columns of ``varying``, which are expressions."""
    columns, values = [], []
    parameters = {"operations": None, **given}
    for field in template._meta.concrete_fields:
        if field.primary_key:
            continue
        column = str(field.column)
        columns.append(column)
        if column in varying:
            values.append(varying[column])
        else:
            values.append(f"%(value_{column})s::{field.db_type(connection)}")
            parameters[f"value_{column}"] = field.get_db_prep_save(
                getattr(template, field.attname), connection
            )
    ending = f"RETURNING {returning}" if returning else ""
    table = template._meta.db_table
    statement = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {source} {ending}"  # noqa: S608
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if returning else []

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
from hibernation.models import Event, Instance, Operation, OperationStep
from hibernation.services.facts import SCHEDULE
from hibernation.services.starting import make_running, new_operation
from hibernation.services.transitions import fields_of_status


@dataclass(frozen=True, slots=True)
class Start:
    """``reason`` is the operation's own; ``told`` and ``data`` (JSON) are of the event ``schedule_fired``.

    Of a wake ``snapshot_id`` is restored, of a hibernation ``machine_id`` ends.
    """

    operation_id: int
    instance_id: str
    reason: str
    told: str
    data: str
    snapshot_id: int | None = None
    machine_id: int | None = None


def fresh_ids(count: int) -> list[int]:
    """Numbers for operations to be, so that other rows can name them before they are there."""
    table = Operation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
        )
        return [number for (number,) in cursor.fetchall()]


def start_many(kind: OperationKind, starts: Sequence[Start], now: datetime, *, forced: bool = False) -> None:
    """The caller holds the instances' locks, and sends the first steps after the commit."""
    if not starts:
        return
    wakes = kind is OperationKind.WAKE
    status = InstanceStatus.WAKING if wakes else InstanceStatus.HIBERNATING
    operation = new_operation(
        Instance(pk=""), kind, now, state=OperationState.QUEUED, actor=SCHEDULE, reason="", forced=forced
    )
    make_running(operation, now)
    began = EventType.WAKE_STARTED if wakes else EventType.HIBERNATE_STARTED
    started = Event(event_type=began, timestamp=now, actor=SCHEDULE, data={}, reason="")
    fired = Event(event_type=EventType.SCHEDULE_FIRED, timestamp=now, actor=SCHEDULE, data={}, reason="")
    arrow = {"reason": "new.reason", "status_from": "new.status", "status_to": f"'{status}'"}
    parameters: dict[str, Any] = {
        "operations": [one.operation_id for one in starts],
        "instances": [one.instance_id for one in starts],
        "snapshots": [one.snapshot_id if wakes else None for one in starts],
        "machines": [None if wakes else one.machine_id for one in starts],
        "reasons": [one.reason for one in starts],
        "told": [one.told for one in starts],
        "data": [one.data for one in starts],
    }
    inserts = [
        _insert(operation, _OPERATION, parameters),
        _insert(OperationStep(step=operation.step, entered_at=now), _STEP, parameters),
        _insert(started, {**_EVENT, **arrow}, parameters),
    ]
    fired_insert = _insert(fired, {**_EVENT, "reason": "new.told", "data": "new.data::jsonb"}, parameters)
    parts = ", ".join(f"part_{number} AS ({insert})" for number, insert in enumerate(inserts))
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {_NEW}, {parts} SELECT 1", parameters)
        # Parts of one statement have no order, and this is the later event.
        cursor.execute(f"WITH {_NEW} {fired_insert}", parameters)
    ids = [one.instance_id for one in starts]
    Instance.objects.filter(pk__in=ids).update(**fields_of_status(status, now))


_NEW = """
new AS MATERIALIZED (
    SELECT given.*, i.status, i.gpu_utilization, COALESCE(s.name, '') AS snapshot_name
    FROM unnest(%(operations)s::bigint[], %(instances)s::text[], %(snapshots)s::bigint[], %(machines)s::bigint[],
        %(reasons)s::text[], %(told)s::text[], %(data)s::text[])
        AS given(operation_id, instance_id, snapshot_id, machine_id, reason, told, data)
    JOIN instance_status AS i ON i.id = given.instance_id
    LEFT JOIN hibernation_snapshot AS s ON s.id = given.snapshot_id
)
"""
_OPERATION = {
    "id": "new.operation_id",
    "instance_id": "new.instance_id",
    "reason": "new.reason",
    "status_before": "new.status",
    "snapshot_id": "new.snapshot_id",
    "machine_id": "new.machine_id",
}
_STEP = {"operation_id": "new.operation_id"}
_EVENT = {
    "instance_id": "new.instance_id",
    "operation_id": "new.operation_id",
    "gpu_utilization": "new.gpu_utilization",
    "snapshot_name": "new.snapshot_name",
}


def _insert(template: Model, varying: Mapping[str, str], parameters: dict[str, Any]) -> str:
    """For each of ``new`` a row like ``template``, but for the columns of ``varying``, which are expressions."""
    columns, values = [], []
    table = template._meta.db_table
    for field in template._meta.concrete_fields:
        column = str(field.column)
        if column in varying:
            values.append(varying[column])
        elif field.primary_key:
            continue
        else:
            name = f"value_{len(parameters)}"
            values.append(f"%({name})s::{field.db_type(connection)}")
            parameters[name] = field.get_db_prep_save(getattr(template, field.attname), connection)
        columns.append(column)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM new"  # noqa: S608

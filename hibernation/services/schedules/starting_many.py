"""Starting the operations of many instances at once: what ``starting.start`` does for one, in a few statements.

Only for instances on which nothing runs and about which nothing is in doubt; a test compares both ways field by field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from hibernation.domain.states import EventType, InstanceStatus, OperationKind, OperationState
from hibernation.models import Event, Instance, Operation
from hibernation.services.facts import SCHEDULE
from hibernation.services.schedules.judging import HELD
from hibernation.services.schedules.templates import changes_to, rows_like
from hibernation.services.starting import make_running, new_operation
from hibernation.services.transitions import fields_of_status


@dataclass(frozen=True, slots=True)
class Start:
    """Instances that start for the same reason, each with the number that its operation gets.

    ``reason`` is the operation's own; ``told`` and ``data`` (JSON) are of the event ``schedule_fired``.
    """

    numbers: Mapping[str, int]
    reason: str
    told: str
    data: str


def fresh_ids(count: int) -> list[int]:
    """Numbers for operations to be, so that other rows can name them before they are there."""
    table = Operation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(s.own) FROM (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS own OFFSET 0) AS s, "
            "generate_series(1, %s)",
            [table, count],
        )
        return [number for (number,) in cursor.fetchall()]


def start_many(kind: OperationKind, starts: Sequence[Start], now: datetime, *, forced: bool = False) -> None:
    """Of a wake the instance's snapshot is restored, of a hibernation its machine ends.

    The caller holds the instances' locks, and sends the first steps after the commit.
    """
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
    told = {"reason": "new.told", "data": "new.data::jsonb"}
    parameters: dict[str, Any] = {
        "instances": [name for one in starts for name in one.numbers],
        "operations": [number for one in starts for number in one.numbers.values()],
        "places": [place for place, one in enumerate(starts, 1) for _ in one.numbers],
        "reasons": [one.reason for one in starts],
        "told": [one.told for one in starts],
        "data": [one.data for one in starts],
        "held": list(HELD),
    }
    into_operations, operations = rows_like(operation, _OPERATION, parameters)
    into_events, first = rows_like(started, {**_EVENT, **arrow}, parameters)
    _, then = rows_like(fired, {**_EVENT, **told}, parameters)
    changes = changes_to(Instance, fields_of_status(status, now), parameters)
    sql = f"""
        WITH {_NEW.format(copy=_WAKES if wakes else _ENDS)},
        into_operations AS ({into_operations} {operations}),
        -- The later event has the greater number.
        into_events AS ({into_events} {first} UNION ALL {then})
        UPDATE {Instance._meta.db_table} AS old SET {changes} FROM new WHERE old.id = new.instance_id
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


_NEW = """
new AS MATERIALIZED (
    SELECT given.operation_id, given.instance_id, alike.*, i.status, i.gpu_utilization, copy.snapshot_id,
        COALESCE(copy.snapshot_name, '') AS snapshot_name, copy.machine_id
    FROM unnest(%(operations)s::bigint[], %(instances)s::text[], %(places)s::bigint[])
        AS given(operation_id, instance_id, place)
    JOIN unnest(%(reasons)s::text[], %(told)s::text[], %(data)s::text[]) WITH ORDINALITY
        AS alike(reason, told, data, place) ON alike.place = given.place
    JOIN instance_status AS i ON i.id = given.instance_id
    {copy}
)
"""
_WAKES = """
    LEFT JOIN LATERAL (
        SELECT s.id AS snapshot_id, s.name AS snapshot_name, NULL::bigint AS machine_id
        FROM hibernation_snapshot AS s WHERE s.id = i.snapshot_id
    ) AS copy ON TRUE
"""
_ENDS = """
    LEFT JOIN LATERAL (
        SELECT NULL::bigint AS snapshot_id, '' AS snapshot_name, m.id AS machine_id
        FROM hibernation_machine AS m WHERE m.instance_id = i.id AND m.state = ANY(%(held)s)
        ORDER BY m.id LIMIT 1
    ) AS copy ON TRUE
"""
_OPERATION = {
    "id": "new.operation_id",
    "instance_id": "new.instance_id",
    "reason": "new.reason",
    "status_before": "new.status",
    "snapshot_id": "new.snapshot_id",
    "machine_id": "new.machine_id",
}
_EVENT = {
    "instance_id": "new.instance_id",
    "operation_id": "new.operation_id",
    "gpu_utilization": "new.gpu_utilization",
    "snapshot_name": "new.snapshot_name",
}

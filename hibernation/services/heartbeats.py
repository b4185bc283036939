"""Receiving a heartbeat: authenticate the rental, judge it, commit, answer. What is answered is committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from agents.protocol import GuardFact, GuardTerms
from hibernation.domain import heartbeats
from hibernation.domain.errors import DumontError
from hibernation.domain.heartbeats import Beat, BeatResult
from hibernation.domain.idle import Activity
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.models import Instance, Machine, Operation
from hibernation.models.heartbeat import UNKNOWN
from hibernation.services.clock import db_now
from hibernation.services.due import hibernate_due_at, schedule
from hibernation.services.facts import operation_facts
from hibernation.services.guard import guard_terms, note_fact
from hibernation.services.starting import running_operation
from hibernation.services.tokens import AgentToken
from hibernation.services.transitions import emit, set_status

SPOOL_HORIZON = timedelta(hours=24)


class Forbidden(DumontError):
    """This token does not speak for this instance (any more)."""

    code = "forbidden"


class StaleHeartbeat(DumontError):
    """A heartbeat with this or a later sequence number was received before. Nothing was stored."""

    code = "stale_sequence"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A validated heartbeat. ``taken_at`` is the agent's clock: shown and filed, never compared with deadlines."""

    instance_id: str
    beat: Beat
    taken_at: datetime
    boot_id: str
    agent_version: str
    reading: Mapping[str, Any]
    guard: GuardFact | None = None

    @property
    def gpu_utilization(self) -> float | None:
        """The busiest GPU in per cent; ``None`` if any is unknown and no known one works."""
        known = [u for u in self.beat.utilizations if u is not None]
        if not known or (len(known) < len(self.beat.utilizations) and max(known) == 0):
            return None
        return max(known)


@dataclass(frozen=True, slots=True)
class Answer:
    instance_id: str
    status: str
    action: str
    interval_seconds: float
    guard: GuardTerms | None = None
    guard_noted: str = ""


@transaction.atomic
def receive_heartbeat(token: AgentToken, heartbeat: Heartbeat) -> Answer:
    """Store one heartbeat and what follows from it. ``Forbidden`` or ``StaleHeartbeat``: nothing was stored."""
    owner = Machine.objects.filter(pk=token.machine_id).values_list("instance_id", flat=True).first()
    if owner is None or owner != heartbeat.instance_id:
        raise Forbidden("This token does not speak for this instance.")
    instance = Instance.objects.select_for_update(no_key=True, of=("self",)).get(pk=owner)
    machine = Machine.objects.select_for_update(no_key=True, of=("self",)).get(pk=token.machine_id)
    if machine.token_epoch != token.epoch:
        raise Forbidden("This token was replaced by a newer one.")
    if machine.state == MachineState.RELEASED:
        # Nobody looks after this machine any more: its agent and its guard end, the machine goes on.
        return replace(_answer(instance), action="stop")
    now = db_now()
    _refuse(heartbeat, machine)
    _file_reading(instance, heartbeat, now)
    if heartbeat.beat.spooled:
        return _answer(instance)
    _store(instance, machine, heartbeat, now)
    return replace(
        _answer(instance),
        guard=guard_terms(instance, machine),
        guard_noted=note_fact(heartbeat.guard, instance, now),
    )


def _refuse(heartbeat: Heartbeat, machine: Machine) -> None:
    code = heartbeats.refuse(
        heartbeat.beat, last_seq=machine.heartbeat_seq, machine_state=MachineState(machine.state)
    )
    if code == "machine_gone":
        raise Forbidden("This rental has ended.")
    if code is not None:
        raise StaleHeartbeat(
            f"Sequence number {heartbeat.beat.seq} is not above {machine.heartbeat_seq}: nothing was stored."
        )


def _store(instance: Instance, machine: Machine, heartbeat: Heartbeat, now: datetime) -> None:
    operation = running_operation(instance)
    result = heartbeats.receive(
        heartbeat.beat,
        status=InstanceStatus(instance.status),
        policy=instance.policy,
        state=instance.idle_state,
        operation=operation_facts(operation) if operation is not None else None,
        now=now,
    )
    _store_machine(machine, heartbeat, now)
    if machine.state == MachineState.ACTIVE or instance.status == InstanceStatus.HIBERNATING:
        _store_instance(instance, heartbeat, result, operation, now)


def _store_machine(machine: Machine, heartbeat: Heartbeat, now: datetime) -> None:
    machine.heartbeat_seq = heartbeat.beat.seq
    machine.boot_id = heartbeat.boot_id
    machine.agent_version = heartbeat.agent_version
    machine.first_heartbeat_at = machine.first_heartbeat_at or now
    machine.last_reading = dict(heartbeat.reading)
    machine.save(
        update_fields=["heartbeat_seq", "boot_id", "agent_version", "first_heartbeat_at", "last_reading"]
    )


def _store_instance(
    instance: Instance,
    heartbeat: Heartbeat,
    result: BeatResult,
    operation: Operation | None,
    now: datetime,
) -> None:
    instance.gpu_utilization = heartbeat.gpu_utilization
    instance.last_heartbeat_at = now
    if result.judgement.activity is Activity.BUSY:
        instance.last_activity_at = now
    arrow = set_status(instance, result.status, now)
    instance.idle_since = result.idle.idle_since
    fields = ["gpu_utilization", "last_heartbeat_at", "last_activity_at", "idle_since", "hibernate_due_at"]
    if arrow == ("", ""):
        instance.hibernate_due_at = hibernate_due_at(instance)
    else:
        # A first idle reading lets the packs start to move; work calls that off.
        schedule(instance)
        fields.append("snapshot_due_at")
    instance.save(update_fields=fields)
    if result.event is not None:
        emit(result.event, result.judgement.why, instance=instance, now=now, operation=operation,
             actor="agent", status=arrow)  # fmt: skip
    if result.stop_operation and operation is not None:
        operation.cancel_reason = EventType.ACTIVITY_RESUMED
        operation.save(update_fields=["cancel_reason"])


def _answer(instance: Instance) -> Answer:
    action = "prepare_hibernate" if instance.status == InstanceStatus.HIBERNATING else "none"
    return Answer(instance.pk, instance.status, action, instance.heartbeat_interval.total_seconds())


_FILE_READING = """
INSERT INTO hibernation_readinghour AS r (instance_id, hour_at, gpu_max)
VALUES (%(instance)s, %(hour)s, %(empty)s)
ON CONFLICT (instance_id, hour_at) DO UPDATE
SET gpu_max[%(slot)s] = GREATEST(r.gpu_max[%(slot)s], %(value)s)
"""


def _file_reading(instance: Instance, heartbeat: Heartbeat, now: datetime) -> None:
    """File the reading under its minute. A live one under ours, a spooled one under the agent's, if plausible."""
    moment = heartbeat.taken_at if heartbeat.beat.spooled else now
    if not now - SPOOL_HORIZON <= moment <= now + timedelta(minutes=5):
        return
    moment = moment.astimezone(UTC)
    used = heartbeat.gpu_utilization
    value = UNKNOWN if used is None else round(used)
    slots = [UNKNOWN] * 60
    slots[moment.minute] = value
    hour = moment.replace(minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(
            _FILE_READING,
            {
                "instance": instance.pk,
                "hour": hour,
                "empty": slots,
                "slot": moment.minute + 1,
                "value": value,
            },
        )

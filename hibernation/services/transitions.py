"""Every change of an instance's or a machine's state, with its event, inside the caller's transaction.

The caller holds the instance's row lock. An arrow that the tables do not have is a programming error and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    machine_may_become,
    may_become,
)
from hibernation.models import Event, Instance, Machine, Operation, Snapshot, UsageInterval

_ENDS_USAGE = frozenset({MachineState.DESTROYED, MachineState.LOST, MachineState.RELEASED})
_STARTS_USAGE = frozenset({MachineState.LAUNCHED, MachineState.DESTROYING, MachineState.ORPHAN})


class IllegalTransition(Exception):
    """Code asked for an arrow that does not exist."""


def emit(
    event: EventType,
    reason: str,
    *,
    instance: Instance | None,
    now: datetime,
    operation: Operation | None = None,
    snapshot: Snapshot | None = None,
    actor: str = "",
    status: tuple[str, str] = ("", ""),
    data: Mapping[str, Any] | None = None,
    used: float | None = None,
) -> Event:
    """Append one event. ``snapshot`` and ``actor`` default to the operation's, else nothing and ``system``.

    ``used``: the GPU's use in per cent, where the instance does not tell it any more.
    """
    if snapshot is None and operation is not None:
        snapshot = operation.snapshot
    return Event.objects.create(
        instance=instance,
        operation=operation,
        event_type=event,
        timestamp=now,
        status_from=status[0],
        status_to=status[1],
        gpu_utilization=used if used is not None or instance is None else instance.gpu_utilization,
        snapshot_name=snapshot.name if snapshot is not None else "",
        reason=reason,
        actor=actor or (operation.actor if operation is not None else "system"),
        data=dict(data or {}),
    )


def set_status(instance: Instance, status: InstanceStatus, now: datetime) -> tuple[str, str]:
    """Follow one arrow and return (from, to) for the event that must accompany it. Staying put changes nothing."""
    old = InstanceStatus(instance.status)
    if old is status:
        return ("", "")
    if not may_become(old, status):
        raise IllegalTransition(f"{instance.pk}: {old} → {status}")
    fields = fields_of_status(status, now)
    if status is InstanceStatus.HIBERNATED:
        fields["delete_due_at"] = now + instance.delete_after
    for name, value in fields.items():
        setattr(instance, name, value)
    instance.save(update_fields=list(fields))
    return (old.value, status.value)


def fields_of_status(status: InstanceStatus, now: datetime) -> dict[str, Any]:
    """What becomes of an instance's fields with that status, but for ``delete_due_at`` of a hibernated one."""
    fields: dict[str, Any] = {
        "status": status,
        "status_changed_at": now,
        "hibernate_due_at": None,
        "delete_due_at": None,
        "snapshot_due_at": None,
    }
    if status not in (InstanceStatus.IDLE, InstanceStatus.HIBERNATING):
        fields["idle_since"] = None
    if status is InstanceStatus.HIBERNATED:
        fields["gpu_utilization"] = fields["kept_alive_until"] = None
    return fields


def set_machine(
    machine: Machine,
    state: MachineState,
    now: datetime,
    *,
    contract_id: str | None = None,
    reason: str = "",
) -> None:
    """Follow one arrow of a machine and open or close its usage interval."""
    old = MachineState(machine.state)
    if not machine_may_become(old, state):
        raise IllegalTransition(f"machine {machine.pk}: {old} → {state}")
    machine.state, machine.state_reason, machine.state_changed_at = state, reason, now
    fields = ["state", "state_reason", "state_changed_at"]
    if contract_id is not None and machine.contract_id is None:
        machine.contract_id = contract_id
        fields.append("contract_id")
    if state in (MachineState.LAUNCHED, MachineState.ACTIVE) and machine.launched_at is None:
        # What an adopted machine cost before was not ours.
        machine.launched_at = now
        fields.append("launched_at")
    if state is MachineState.ACTIVE:
        machine.activated_at = machine.activated_at or now
        machine.parked_until = machine.parked_snapshot = None
        fields += ["activated_at", "parked_until", "parked_snapshot"]
    if state is MachineState.PARKED or (old is MachineState.PARKED and state is MachineState.LAUNCHED):
        fields += _begin_anew(machine)
    elif old in (MachineState.PARKED, MachineState.LOST):
        machine.missing_since = machine.alarmed_at = None
        fields += ["missing_since", "alarmed_at"]
    if state is MachineState.DESTROYED:
        machine.destroyed_at = now
        fields.append("destroyed_at")
    machine.save(update_fields=fields)
    _count_usage(machine, old, state, now)


def _begin_anew(machine: Machine) -> list[str]:
    """What was seen and heard of it before it was stopped, or started again, says nothing from now on."""
    machine.phase, machine.phase_reason, machine.phase_since, machine.phase_lists = "", "", None, 0
    machine.first_heartbeat_at = machine.missing_since = machine.down_since = machine.alarmed_at = None
    machine.starts = 0
    return [
        "phase", "phase_reason", "phase_since", "phase_lists", "first_heartbeat_at", "missing_since",
        "down_since", "alarmed_at", "starts",
    ]  # fmt: skip


def _count_usage(machine: Machine, old: MachineState, state: MachineState, now: datetime) -> None:
    if old in _ENDS_USAGE and state not in _ENDS_USAGE:
        # It was not gone: the interval that was closed too early goes on.
        last = UsageInterval.objects.filter(machine=machine).order_by("-id")[:1]
        UsageInterval.objects.filter(pk__in=last.values("pk")).update(ended_at=None)
    was_stopped = old is MachineState.PARKED or (old is MachineState.LOST and _stopped_last(machine))
    changes = state is MachineState.PARKED or (was_stopped and state is not MachineState.DESTROYING)
    if changes and state not in _ENDS_USAGE:
        _change_price(machine, now)
    elif state in _STARTS_USAGE or (old is MachineState.ADOPTING and state is MachineState.ACTIVE):
        began = machine.launched_at or machine.intended_at
        UsageInterval.objects.get_or_create(
            machine=machine,
            ended_at__isnull=True,
            defaults={
                "instance": machine.instance,
                "price_per_hour": machine.price_per_hour,
                "started_at": began,
            },
        )
    if state in _ENDS_USAGE:
        UsageInterval.objects.filter(machine=machine, ended_at__isnull=True).update(ended_at=now)


def _stopped_last(machine: Machine) -> bool:
    """A machine that was lost from its parking comes back running: its disk's price is over."""
    return UsageInterval.objects.filter(machine=machine, ended_at__isnull=True, stopped=True).exists()


def _change_price(machine: Machine, now: datetime) -> None:
    """A stopped machine's disk bills, and nothing else of it."""
    stopped = machine.state == MachineState.PARKED
    price = (machine.stopped_usd_hour or Decimal(0)) if stopped else machine.price_per_hour
    UsageInterval.objects.filter(machine=machine, ended_at__isnull=True).update(ended_at=now)
    UsageInterval.objects.create(
        machine=machine, instance=machine.instance, price_per_hour=price, started_at=now, stopped=stopped
    )

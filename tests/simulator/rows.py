"""The modelled database: rows, the event log and usage intervals. A transaction is a function that does not yield."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hibernation.domain.facts import Memo
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.states import (
    TERMINAL_OPERATION_STATES,
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    Phase,
    SnapshotPurpose,
    SnapshotState,
)


@dataclass(slots=True)
class InstanceRow:
    """``machine_id``: the machine that holds the workspace, kept while that machine is lost, until woken elsewhere."""

    id: int
    status: InstanceStatus
    status_changed_at: datetime
    policy: Policy
    idle: IdleState
    machine_id: int | None = None
    snapshot_id: int | None = None
    hold_until: datetime | None = None
    interval: timedelta | None = None
    snapshot_due_at: datetime | None = None
    warm: timedelta = timedelta(0)


@dataclass(slots=True)
class Machine:
    id: int
    label: str
    state: MachineState
    since: datetime
    intended_at: datetime
    instance_id: int | None
    host: str = ""
    contract_id: str | None = None
    first_beat_at: datetime | None = None
    last_seq: int = 0
    missing_since: datetime | None = None
    destroy_due_at: datetime | None = None
    parked_until: datetime | None = None
    parked_snapshot_id: int | None = None
    phase: Phase | None = None
    phase_since: datetime | None = None
    phase_lists: int = 0
    listed_at: datetime | None = None
    told_at: datetime | None = None


@dataclass(slots=True)
class OperationRow:
    id: int
    instance_id: int
    kind: OperationKind
    state: OperationState
    step: str
    created_at: datetime
    forced: bool = False
    started_at: datetime | None = None
    entered_at: datetime | None = None
    deadline_at: datetime | None = None
    due_at: datetime | None = None
    lease_token: int | None = None
    lease_until: datetime | None = None
    waits: int = 0
    failures: int = 0
    cancel_reason: str = ""
    point_of_no_return_at: datetime | None = None
    status_before: InstanceStatus = InstanceStatus.RUNNING
    machine_id: int | None = None
    spare_id: int | None = None
    snapshot_id: int | None = None
    memo: Memo = Memo()
    error_code: str = ""
    purpose: SnapshotPurpose = SnapshotPurpose.ORDERED
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        return self.state in TERMINAL_OPERATION_STATES


@dataclass(slots=True)
class SnapshotRow:
    id: int
    instance_id: int
    name: str
    state: SnapshotState
    round: int
    frozen_at: datetime | None = None
    unreadable: int = 0
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class EventRow:
    at: datetime
    type: EventType
    instance_id: int | None
    operation_id: int | None
    status_from: str
    status_to: str
    reason: str


@dataclass(slots=True)
class Usage:
    machine_id: int
    started_at: datetime
    ended_at: datetime | None = None


@dataclass(slots=True)
class Database:
    """``commits`` grows with every transaction that wrote something."""

    instances: dict[int, InstanceRow] = field(default_factory=dict)
    machines: dict[int, Machine] = field(default_factory=dict)
    operations: dict[int, OperationRow] = field(default_factory=dict)
    snapshots: dict[int, SnapshotRow] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    commits: int = 0

    def is_saved(self, machine: Machine) -> bool:
        """Whether all that its stopped disk holds is in a good copy."""
        row = self.snapshots.get(machine.parked_snapshot_id or 0)
        return row is None or (row.state is SnapshotState.VERIFIED and not row.damaged)

    def parked(self, instance_id: int) -> Machine | None:
        found = (row for row in self.machines.values() if row.state is MachineState.PARKED)
        return next((row for row in found if row.instance_id == instance_id), None)

    def active(self, instance_id: int, state: OperationState) -> OperationRow | None:
        for operation in self.operations.values():
            if operation.instance_id == instance_id and operation.state is state:
                return operation
        return None

    def running(self, instance_id: int) -> OperationRow | None:
        return self.active(instance_id, OperationState.RUNNING)

    def queued(self, instance_id: int) -> OperationRow | None:
        return self.active(instance_id, OperationState.QUEUED)

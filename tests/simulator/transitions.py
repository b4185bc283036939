"""Every change of a modelled row: arrows are checked, events and usage intervals are written with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from hibernation.domain.outcomes import (
    BeginSnapshot,
    Change,
    Changes,
    DismissSpare,
    Emit,
    ForgetMachine,
    ForgetSpare,
    HoldHibernation,
    IntendMachine,
    JudgeHost,
    MeasuredHost,
    Park,
    PassPointOfNoReturn,
    RecordEquipment,
    SetAside,
    SetMachine,
    SetStatus,
    SnapshotAbandoned,
    SnapshotFailed,
    SnapshotFrozen,
    SnapshotVerified,
    SpareChange,
    SwapMachines,
    TakeSpare,
)
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    SnapshotState,
    machine_may_become,
    may_become,
)
from tests.simulator.clock import Clock
from tests.simulator.rows import Database, EventRow, InstanceRow, Machine, OperationRow, SnapshotRow, Usage
from tests.simulator.witness import Witness

OUR_PREFIX = "dumont-"
BILLING = frozenset(
    {
        MachineState.LAUNCHED,
        MachineState.SPARE,
        MachineState.ACTIVE,
        MachineState.DESTROYING,
        MachineState.ORPHAN,
        MachineState.PARKED,
    }
)
KEEPS_WINDOW = (InstanceStatus.IDLE, InstanceStatus.HIBERNATING)


class Writer:
    """Applies changes inside the caller's transaction."""

    def __init__(self, db: Database, clock: Clock, witness: Witness) -> None:
        self.db, self.clock, self.witness = db, clock, witness

    def apply(self, operation: OperationRow, changes: Changes) -> None:
        status = ("", "")
        for change in changes:
            if isinstance(change, SetStatus):
                status = self._set_operation_status(operation, change.status)
            elif isinstance(change, Emit):
                self.emit(change.event, change.reason, operation.instance_id, operation.id, status)
                status = ("", "")
            else:
                self._apply(operation, change)
        if status != ("", ""):
            raise AssertionError(f"a status change without an event: {status}")
        self.db.commits += 1

    def _apply(self, operation: OperationRow, change: Change) -> None:
        match change:
            case IntendMachine(offer):
                operation.machine_id = self._intend(operation, offer.host).id
            case SetMachine(state, contract_id, _):
                self._set_operation_machine(operation, state, contract_id)
            case Park(until):
                self._park(operation, until)
            case ForgetMachine():
                operation.machine_id = None
            case SetAside() | SwapMachines() | TakeSpare() | DismissSpare() | ForgetSpare():
                self._apply_to_spare(operation, change)
            case HoldHibernation(seconds):
                instance = self.db.instances[operation.instance_id]
                instance.hold_until = self.clock.after(seconds)
            case PassPointOfNoReturn():
                operation.point_of_no_return_at = self.clock.now
                self.witness.passed.append(operation.id)
            case BeginSnapshot(round_):
                operation.snapshot_id = self._new_snapshot(operation, round_).id
            case SnapshotFrozen(_, result):
                row = self._snapshot(operation)
                row.state, row.frozen_at = SnapshotState.FROZEN, self.clock.now
                row.unreadable = int(result.get("unreadable_total", 0))
            case SnapshotVerified():
                self._verified(operation)
            case SnapshotFailed() | SnapshotAbandoned():
                if operation.snapshot_id is not None:
                    self._snapshot(operation).state = SnapshotState.FAILED
            case JudgeHost() | MeasuredHost() | RecordEquipment():
                pass
            case SetStatus() | Emit():
                raise AssertionError(change)
            case _:
                assert_never(change)

    def _apply_to_spare(self, operation: OperationRow, change: SpareChange) -> None:
        match change:
            case SetAside():
                self._set_operation_machine(operation, MachineState.SPARE, None)
                operation.machine_id, operation.spare_id = None, operation.machine_id
            case SwapMachines():
                operation.machine_id, operation.spare_id = operation.spare_id, operation.machine_id
            case TakeSpare():
                operation.machine_id, operation.spare_id = operation.spare_id, None
                machine = self.db.machines[operation.machine_id or 0]
                if machine.state is MachineState.SPARE:
                    self.set_machine(machine, MachineState.LAUNCHED)
            case DismissSpare():
                self.set_machine(self.db.machines[operation.spare_id or 0], MachineState.DESTROYING)
                operation.spare_id = None
            case ForgetSpare():
                operation.spare_id = None
            case _:
                assert_never(change)

    def _set_operation_status(self, operation: OperationRow, status: InstanceStatus) -> tuple[str, str]:
        return self.set_status(self.db.instances[operation.instance_id], status)

    def set_status(self, instance: InstanceRow, status: InstanceStatus) -> tuple[str, str]:
        """Follow one arrow; the answer belongs into the event of the same transaction."""
        old = instance.status
        if old is status:
            return ("", "")
        if not may_become(old, status):
            raise AssertionError(f"instance {instance.id}: {old} → {status}")
        instance.status, instance.status_changed_at = status, self.clock.now
        instance.snapshot_due_at = None
        if status not in KEEPS_WINDOW:
            instance.idle = replace(instance.idle, idle_since=None)
        return (old.value, status.value)

    def set_machine(self, machine: Machine, state: MachineState, contract_id: str | None = None) -> None:
        """Follow one arrow and open or close the usage interval that goes with it."""
        if not machine_may_become(machine.state, state):
            raise AssertionError(f"machine {machine.id}: {machine.state} → {state}")
        if MachineState.PARKED in (machine.state, state):
            machine.phase, machine.phase_since, machine.phase_lists = None, None, 0
            machine.first_beat_at = machine.missing_since = machine.told_at = None
        machine.state, machine.since = state, self.clock.now
        machine.contract_id = machine.contract_id or contract_id
        if state is MachineState.DESTROYING:
            self.witness.destroying_at[machine.id] = self.clock.now
        self.count_usage(machine)

    def count_usage(self, machine: Machine) -> None:
        open_ = [u for u in self.db.usage if u.machine_id == machine.id and u.ended_at is None]
        if machine.state in BILLING and not open_:
            self.db.usage.append(Usage(machine.id, self.clock.now))
        elif machine.state not in BILLING:
            for interval in open_:
                interval.ended_at = self.clock.now

    def emit(
        self,
        event: EventType,
        reason: str,
        instance_id: int | None,
        operation_id: int | None = None,
        status: tuple[str, str] = ("", ""),
    ) -> None:
        row = EventRow(self.clock.now, event, instance_id, operation_id, *status, reason)
        self.db.events.append(row)

    def _intend(self, operation: OperationRow, host: str) -> Machine:
        number = len(self.db.machines) + 1
        label = f"{OUR_PREFIX}{operation.instance_id}-{operation.id}-{number}"
        now = self.clock.now
        machine = Machine(number, label, MachineState.INTENDED, now, now, operation.instance_id, host)
        self.db.machines[number] = machine
        return machine

    def _set_operation_machine(
        self, operation: OperationRow, state: MachineState, contract_id: str | None
    ) -> None:
        if operation.machine_id is None:
            raise AssertionError("no machine to set")
        machine = self.db.machines[operation.machine_id]
        self.set_machine(machine, state, contract_id)
        if state is MachineState.ACTIVE:
            self.db.instances[operation.instance_id].machine_id = machine.id
            self.witness.woke.append(operation.id)
            self.witness.strangers.discard(machine.contract_id or "")
            machine.parked_snapshot_id = machine.parked_until = None
        if state in (MachineState.DESTROYED, MachineState.PARKED):
            self.db.instances[operation.instance_id].machine_id = None

    def _park(self, operation: OperationRow, until: datetime) -> None:
        machine = self.db.machines[operation.machine_id or 0]
        machine.parked_until, machine.parked_snapshot_id = until, operation.snapshot_id
        self._set_operation_machine(operation, MachineState.PARKED, None)

    def _new_snapshot(self, operation: OperationRow, round_: int) -> SnapshotRow:
        number = len(self.db.snapshots) + 1
        row = SnapshotRow(number, operation.instance_id, f"s{number}", SnapshotState.WRITING, round_)
        self.db.snapshots[number] = row
        return row

    def _snapshot(self, operation: OperationRow) -> SnapshotRow:
        return self.db.snapshots[operation.snapshot_id or 0]

    def _verified(self, operation: OperationRow) -> None:
        """The newest proven copy is what a wake restores, unless it lacks files that an older one may have."""
        row, instance = self._snapshot(operation), self.db.instances[operation.instance_id]
        row.state = SnapshotState.VERIFIED
        kept = self.db.snapshots.get(instance.snapshot_id or 0)
        kept = None if kept is not None and kept.damaged else kept
        if self.may_replace(row, kept):
            instance.snapshot_id = row.id

    def may_replace(self, proven: SnapshotRow, kept: SnapshotRow | None) -> bool:
        return kept is None or not proven.unreadable or kept.unreadable > 0


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)

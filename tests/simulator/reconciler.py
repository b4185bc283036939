"""The modelled edge of reconciliation: list, read rows, let the core plan, apply each repair guarded on its row."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from hibernation.domain import reconcile
from hibernation.domain.errors import DumontError
from hibernation.domain.reconcile import (
    Action,
    ConfirmDestroyed,
    DeclareLost,
    DestroyAgain,
    Listing,
    MachineRow,
    NoteMissing,
    NotePresent,
    Recover,
    ReportOrphan,
    SendAway,
)
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationKind, SnapshotState
from tests.simulator.edge import Edge
from tests.simulator.keeping_warm import KeepingWarm
from tests.simulator.provider import SimProvider
from tests.simulator.rows import Machine
from tests.simulator.transitions import OUR_PREFIX, Writer
from tests.simulator.witness import Call

DESTROY_AGAIN_SECONDS = 20.0
S = InstanceStatus
Looked = tuple[Listing, list[MachineRow]]


class Reconciler:
    def __init__(self, writer: Writer, edge: Edge, provider: SimProvider) -> None:
        self.writer, self.edge, self.provider = writer, edge, provider
        self.db, self.clock, self.witness = writer.db, writer.clock, writer.witness
        self.keeping_warm = KeepingWarm(writer, edge, provider)

    def run(self) -> Iterator[str]:
        """One pass. Each ``yield`` is a boundary at which it may die or be overtaken."""
        yield "reconcile"
        looked = yield from self.look()
        if looked is None:
            return
        listing, rows = looked
        actions = reconcile.plan_reconcile(listing, rows, our_prefix=OUR_PREFIX, now=self.clock.now)
        seen = {row.id: row.state for row in rows}
        for action in actions:
            yield "planned"
            yield from self.act(action, seen)
        self.witness.saw(listing)
        yield from self.keeping_warm.run(listing)

    def look(self) -> Generator[str, None, Looked | None]:
        """The list first and the rows after it, so that a row can only be newer."""
        try:
            listing = self.edge.listing()
        except DumontError:
            return None
        self.witness.missed(listing, self.provider.boxes)
        yield "listed"
        return listing, self.rows()

    def rows(self) -> list[MachineRow]:
        return [self._row(machine) for machine in self.db.machines.values()]

    def _row(self, machine: Machine) -> MachineRow:
        return MachineRow(
            machine.id,
            machine.label,
            machine.state,
            machine.since,
            machine.contract_id,
            machine.missing_since,
            machine.destroy_due_at,
            owned=self._owned(machine),
            holds_work=self._holds_work(machine),
        )

    def _owned(self, machine: Machine) -> bool:
        running = self.db.running(machine.instance_id or 0)
        if machine.state is MachineState.SPARE:
            return running is not None and machine.id in (running.machine_id, running.spare_id)
        return (
            running is not None
            and running.kind is OperationKind.HIBERNATE
            and running.machine_id == machine.id
            and running.point_of_no_return_at is not None
        )

    def _holds_work(self, machine: Machine) -> bool:
        instance = self.db.instances.get(machine.instance_id or 0)
        lost = machine.state is MachineState.LOST
        return lost and instance is not None and instance.machine_id == machine.id

    def unchanged(self, machine: Machine, seen: dict[int, MachineState]) -> bool:
        return machine.state is seen[machine.id]

    def act(self, action: Action, seen: dict[int, MachineState]) -> Iterator[str]:
        if isinstance(action, ReportOrphan):
            self._report_orphan(action)
            return
        machine = self.db.machines[action.machine_id]
        if isinstance(action, NotePresent):
            machine.missing_since = None  # whatever became of it meanwhile: it was there
        if not self.unchanged(machine, seen):
            return
        self.db.commits += 1
        match action:
            case ConfirmDestroyed():
                self.writer.set_machine(machine, MachineState.DESTROYED)
                self._tell(EventType.MACHINE_DESTROYED, machine)
            case DestroyAgain(_, contract):
                machine.destroy_due_at = self.clock.after(DESTROY_AGAIN_SECONDS)
                yield "destroy noted"
                self._destroy(machine, contract)
            case NoteMissing():
                machine.missing_since = self.clock.now
            case DeclareLost():
                self._declare_lost(machine)
            case SendAway(_, contract):
                machine.destroy_due_at = None
                self.writer.set_machine(machine, MachineState.DESTROYING, contract)
            case Recover(_, contract):
                self._recover(machine, contract)

    def _tell(self, event: EventType, machine: Machine, status: tuple[str, str] = ("", "")) -> None:
        self.writer.emit(event, machine.label, machine.instance_id, None, status)

    def _destroy(self, machine: Machine, contract: str) -> None:
        committed = machine.state in (MachineState.DESTROYING, MachineState.DESTROYED)
        self.witness.calls.append(Call(f"destroy of machine {machine.id} by reconcile", committed, True))
        try:
            self.provider.destroy(contract)
        except DumontError:
            return

    def _declare_lost(self, machine: Machine) -> None:
        if machine.state is MachineState.PARKED:
            if self.db.running(machine.instance_id or 0) is None:
                self.keeping_warm.no_longer_listed(machine)
            return
        instance = self.db.instances[machine.instance_id or 0]
        self.witness.declared_lost.append(machine.id)
        self.writer.set_machine(machine, MachineState.LOST)
        machine.missing_since = None
        kept = self.db.snapshots.get(instance.snapshot_id or 0)
        proven = kept is not None and kept.state is SnapshotState.VERIFIED
        after = self.after_loss(instance.status, proven)
        self._tell(EventType.MACHINE_LOST, machine, self.writer.set_status(instance, after))

    def after_loss(self, status: InstanceStatus, proven: bool) -> InstanceStatus:
        return reconcile.status_after_loss(status, has_proven_copy=proven)

    def _recover(self, machine: Machine, contract: str) -> None:
        instance = self.db.instances[machine.instance_id or 0]
        if not self._holds_work(machine) or self.db.running(instance.id) is not None:
            return
        try:
            self.edge.release_lost(contract)
        except DumontError:
            return
        self.writer.set_machine(machine, MachineState.ACTIVE)
        self._tell(EventType.MACHINE_RETURNED, machine, self.writer.set_status(instance, S.RUNNING))

    def _report_orphan(self, action: ReportOrphan) -> None:
        number, now = len(self.db.machines) + 1, self.clock.now
        row = Machine(
            number, action.label, MachineState.ORPHAN, now, now, None, contract_id=action.contract_id
        )
        self.db.machines[number] = row
        self.writer.count_usage(row)
        self._tell(EventType.ORPHAN_FOUND, row)
        self.witness.orphaned_labels.append(action.label)
        self.db.commits += 1

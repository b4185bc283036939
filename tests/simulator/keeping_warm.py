"""Machines that are kept warm: what lists lead to, what the world does to them meanwhile, and what must hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from hibernation.domain import keeping_warm
from hibernation.domain.keeping_warm import Deed, EndParked, Parked, TakeBack
from hibernation.domain.parking import WATCHED
from hibernation.domain.reconcile import Listing
from hibernation.domain.states import EventType, InstanceStatus, MachineState, Phase, SnapshotState
from tests.simulator.box import Box, SimAgent
from tests.simulator.edge import BEAT_SECONDS, Edge
from tests.simulator.provider import SimProvider
from tests.simulator.rows import InstanceRow, Machine, OperationRow, SnapshotRow
from tests.simulator.store import StoredCopy
from tests.simulator.transitions import OUR_PREFIX, Writer
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

S, M = InstanceStatus, MachineState
LONGEST_UNNOTICED = timedelta(minutes=4)
"""Of a machine that somebody else started, in a world without faults: some lists, and their distance there."""


class KeepingWarm:
    """The part of a reconciliation that looks after parked machines."""

    def __init__(self, writer: Writer, edge: Edge, provider: SimProvider) -> None:
        self.writer, self.edge, self.provider = writer, edge, provider
        self.db, self.clock, self.witness = writer.db, writer.clock, writer.witness

    def run(self, listing: Listing) -> Iterator[str]:
        self._note(listing)
        for machine in [row for row in self.db.machines.values() if row.state is M.PARKED]:
            deed = self._plan(machine)
            if deed is not None:
                yield "parked planned"
                if machine.state is M.PARKED and self._plan(machine) == deed:
                    self._act(machine, deed)
        self._put_to_work()

    def no_longer_listed(self, machine: Machine) -> None:
        if not self.db.is_saved(machine):
            machine.told_at = self.clock.now
            self._tell(EventType.STILL_BILLING, machine)
            return
        ran = machine.phase is Phase.RUNNING
        self.writer.set_machine(machine, M.LOST if ran else M.DESTROYED)
        if ran:
            self.db.instances[machine.instance_id or 0].machine_id = machine.id
        self._tell(EventType.MACHINE_LOST, machine)

    def _note(self, listing: Listing) -> None:
        for machine in self.db.machines.values():
            if machine.contract_id not in listing.labels or machine.state is not M.PARKED:
                continue
            if listing.taken_at <= machine.since:
                continue
            phase = self.provider.boxes[machine.contract_id].phase(listing.taken_at)
            again = machine.phase is phase
            machine.phase_lists = machine.phase_lists + 1 if again else 1
            machine.phase_since = machine.phase_since if again else listing.taken_at
            machine.phase, machine.listed_at = phase, listing.taken_at

    def _plan(self, machine: Machine) -> Deed | None:
        if machine.phase is None or machine.listed_at is None or machine.phase_since is None:
            return None
        seen = Parked(
            machine.id,
            machine.contract_id or "",
            machine.phase,
            machine.phase_since,
            machine.phase_lists,
            machine.listed_at,
            machine.parked_until or self.clock.now,
            is_saved=self.db.is_saved(machine),
            alarmed_at=machine.told_at,
            occupied=self.db.running(machine.instance_id or 0) is not None,
        )
        return keeping_warm.plan_parked(seen, self.clock.now)

    def _act(self, machine: Machine, deed: Deed) -> None:
        self.db.commits += 1
        if isinstance(deed, EndParked):
            self.writer.set_machine(machine, M.DESTROYING)
            self._tell(EventType.PARKING_ENDED, machine)
        elif isinstance(deed, TakeBack):
            instance = self.db.instances[machine.instance_id or 0]
            self.writer.set_machine(machine, M.ACTIVE)
            machine.parked_snapshot_id = machine.parked_until = None
            instance.machine_id = machine.id
            self.witness.taken_back.append(instance.id)
            self._tell(EventType.MACHINE_RETURNED, machine, self.writer.set_status(instance, S.RUNNING))
        else:
            machine.told_at = self.clock.now
            self._tell(EventType.STILL_BILLING, machine)

    def _put_to_work(self) -> None:
        """The agent is put again on machines that run without one."""
        for machine in self.db.machines.values():
            box = self.provider.boxes.get(machine.contract_id or "")
            if machine.state is not M.ACTIVE or box is None or not box.answers(self.clock.now):
                continue
            if box.agent is None:
                box.let_go()
                box.agent = SimAgent(machine.id, BEAT_SECONDS, self.clock.after(1))

    def _tell(self, event: EventType, machine: Machine, status: tuple[str, str] = ("", "")) -> None:
        self.writer.emit(event, machine.label, machine.instance_id, None, status)


class Strangers:
    """Somebody who starts a machine that we stopped, and a store that loses what was proven."""

    def __init__(self, world: World) -> None:
        self.world, self.db, self.clock = world, world.db, world.clock

    def start(self) -> None:
        boxes = [box for _, box in self._parked() if box.stopped]
        if boxes:
            box = self.world.rng.choice(boxes)
            self.world.provider.power_on(box)
            box.by_hand = True

    def write(self) -> None:
        """Not in the first minute and a half: whoever looks may be a minute late."""
        for _, box in self._parked():
            up_since = box.boots_at or self.clock.now
            if (
                box.by_hand
                and not box.paused
                and box.answers(self.clock.now)
                and self.clock.now - up_since > timedelta(seconds=90)
            ):
                box.version = self.world.next_version()
                return

    def damage(self) -> None:
        """Stored bytes that a stopped machine was saved in go bad, and that is found out at once."""
        rows = [row for row, box in self._parked() if self.db.is_saved(row) and box.alive]
        free = [row for row in rows if self.db.running(row.instance_id or 0) is None]
        if not free:
            return
        machine = self.world.rng.choice(free)
        snapshot = self.db.snapshots[machine.parked_snapshot_id or 0]
        snapshot.damaged = True
        copy = self.world.store.copies[snapshot.name, snapshot.round]
        copy.packs[0] = "corrupt"
        copy.read_back.discard(0)
        self._point_to_best(machine.instance_id or 0)
        self.db.commits += 1

    def _parked(self) -> list[tuple[Machine, Box]]:
        boxes = self.world.provider.boxes
        rows = [row for row in self.db.machines.values() if row.state is M.PARKED]
        found = [(row, boxes[row.contract_id or ""]) for row in rows]
        return [(row, box) for row, box in found if box.alive and box.hidden_until <= self.clock.now]

    def _point_to_best(self, instance_id: int) -> None:
        proven = [
            row
            for row in self.db.snapshots.values()
            if row.instance_id == instance_id and row.state is SnapshotState.VERIFIED
        ]
        order = sorted(proven, key=lambda row: (row.damaged, row.unreadable > 0, -row.id))
        self.db.instances[instance_id].snapshot_id = order[0].id


def begin_parked(instance: InstanceRow, world: World, writer: Writer) -> None:
    """Its workspace is saved and proven, and its machine was stopped a moment ago."""
    db, now = world.db, world.clock.now
    box = world.provider.rent(f"{OUR_PREFIX}{instance.id}-0-0", "host-0")
    box.trouble, box.needs_start, box.boots_at = "", False, now
    box.version = world.next_version()
    box.power_off()
    snapshot = SnapshotRow(1, instance.id, "s1", SnapshotState.VERIFIED, 0, now)
    world.store.copies["s1", 0] = StoredCopy(box.version, ["right"], {0})
    machine = Machine(1, box.label, M.PARKED, now, now, instance.id, box.host, box.contract)
    machine.parked_until, machine.parked_snapshot_id = now + instance.warm, snapshot.id
    db.snapshots[1], db.machines[1] = snapshot, machine
    instance.status, instance.snapshot_id = S.HIBERNATED, snapshot.id
    world.witness.hibernated_version[instance.id] = box.version
    writer.count_usage(machine)


def a_parked_machine_is_saved_and_its_instance_sleeps(sim: Simulation) -> str | None:
    for row in sim.db.machines.values():
        if row.state is not M.PARKED:
            continue
        copy = sim.db.snapshots.get(row.parked_snapshot_id or 0)
        if copy is None or copy.state is not SnapshotState.VERIFIED or row.parked_until is None:
            return f"machine {row.id} is parked on {copy} until {row.parked_until}"
        instance = sim.db.instances[row.instance_id or 0]
        if instance.status in (S.RUNNING, S.IDLE, S.RELEASED):
            return f"machine {row.id} is parked and instance {instance.id} is {instance.status}"
    return None


def a_hibernated_machine_is_gone_or_stands_still(sim: Simulation) -> str | None:
    """At the moment that the hibernation ends; who may have been started by somebody else is left running."""
    for event in sim.new_events():
        operation = sim.db.operations.get(event.operation_id or 0)
        machine = sim.db.machines.get(operation.machine_id or 0) if operation is not None else None
        if event.type is EventType.HIBERNATED and machine is not None and machine.state is M.PARKED:
            box = sim.world.provider.boxes[machine.contract_id or ""]
            if box.alive and not box.stopped and sim.db.is_saved(machine) and _ran_on(sim, operation, box):
                return f"{box.contract} was to stop, and runs"
    return None


def _ran_on(sim: Simulation, operation: OperationRow | None, box: Box) -> bool:
    """Nobody started it since the gate, and lists were there to show that it ran all along."""
    assert operation is not None
    passed = operation.point_of_no_return_at
    assert passed is not None
    seen_at = max(passed.timestamp(), operation.memo.answered_at)
    is_watched = sim.clock.now.timestamp() - seen_at <= WATCHED.total_seconds()
    return is_watched and (box.boots_at is None or box.boots_at <= passed)


def a_machine_that_runs_is_noticed(sim: Simulation) -> str | None:
    """Nobody's machine runs for long: its instance is up, or an operation is at work on it."""
    calm_at, now = sim.witness.calm_at, sim.clock.now
    for row in sim.db.machines.values():
        box = sim.world.provider.boxes.get(row.contract_id or "")
        if calm_at is None or row.state is not M.PARKED or box is None or not box.answers(now):
            continue
        since = max(box.boots_at or now, row.since, calm_at)
        if sim.db.running(row.instance_id or 0) is None and now - since > LONGEST_UNNOTICED:
            return f"{box.contract} runs and is taken for stopped"
    return None


def no_machine_is_parked_for_ever(sim: Simulation) -> str | None:
    """Only one whose disk alone has the workspace right."""
    for row in sim.db.machines.values():
        if row.state is M.PARKED and sim.db.is_saved(row):
            return f"machine {row.id} stays parked"
    return None

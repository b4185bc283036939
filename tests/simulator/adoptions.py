"""Strangers' machines that come into our care and go again: what people ask for, and what must hold meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hibernation.domain.idle import IdleState
from hibernation.domain.keeping_warm import FRESH
from hibernation.domain.states import EventType, InstanceStatus, MachineState, Phase
from tests.simulator.box import Box
from tests.simulator.requests import Requests
from tests.simulator.rows import InstanceRow, Machine
from tests.simulator.scenario import POLICY
from tests.simulator.transitions import OUR_PREFIX
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

S, M = InstanceStatus, MachineState
RESTING = (S.RUNNING, S.IDLE, S.HIBERNATED, S.DELETED, S.FAILED)
NOT_OURS = (M.ADOPTING, M.RELEASED)
MOST = 3
"""So many instances are adopted in one simulation; what is released may be adopted again as another."""


class Adoptions:
    def __init__(self, requests: Requests, world: World) -> None:
        self.requests, self.world, self.db = requests, world, world.db
        self.clock, self.writer = world.clock, requests.writer

    def begin(self) -> InstanceRow | None:
        """Somebody has a machine adopted that runs and is not ours (any more)."""
        boxes = [box for box in self.world.provider.boxes.values() if self._may_be_adopted(box)]
        if not boxes or sum(row.state in NOT_OURS for row in self.db.machines.values()) >= MOST:
            return None
        box, number, now = self.world.rng.choice(boxes), len(self.db.instances) + 1, self.clock.now
        idle = IdleState(interval=self.db.instances[1].idle.interval)
        instance = self.db.instances[number] = InstanceRow(number, S.PROVISIONING, now, POLICY, idle)
        machine_id = len(self.db.machines) + 1
        label = f"{OUR_PREFIX}{number}-adopted-{machine_id}"
        self.db.machines[machine_id] = Machine(
            machine_id, label, M.ADOPTING, now, now, number, box.host, box.contract
        )
        self.requests.adopt(number, machine_id)
        return instance

    def release(self) -> None:
        """Somebody lets go of an instance, and of its machine if it has one."""
        rows = [row for row in self.db.instances.values() if self._may_be_released(row)]
        if not rows:
            return
        instance = self.world.rng.choice(rows)
        for machine in self.db.machines.values():
            held = machine.state is M.ACTIVE or (
                machine.state is M.LOST and machine.id == instance.machine_id
            )
            if machine.instance_id == instance.id and held:
                self.writer.set_machine(machine, M.RELEASED)
                self.requests.witness.strangers.add(machine.contract_id or "")
        parked = self.db.parked(instance.id)
        if parked is not None:
            self.writer.set_machine(parked, M.DESTROYING)
        instance.machine_id = None
        status = self.writer.set_status(instance, S.RELEASED)
        self.writer.emit(EventType.RELEASED, "released", instance.id, None, status)
        self.db.commits += 1

    def _may_be_adopted(self, box: Box) -> bool:
        row = _last_row(self.db.machines.values(), box)
        known = row is not None and row.state is not M.RELEASED
        foreign = row is not None or not box.label.startswith(OUR_PREFIX)
        return foreign and not known and box.answers(self.clock.now) and box.listed(self.clock.now)

    def _may_be_released(self, instance: InstanceRow) -> bool:
        busy = self.db.running(instance.id) is not None or self.db.queued(instance.id) is not None
        return instance.status in RESTING and not busy and self._may_be_ended(self.db.parked(instance.id))

    def _may_be_ended(self, parked: Machine | None) -> bool:
        if parked is None:
            return True
        fresh = parked.listed_at is not None and self.clock.now - parked.listed_at <= FRESH
        return fresh and parked.phase is Phase.STOPPED and self.db.is_saved(parked)


def _last_row(rows: Iterable[Machine], box: Box) -> Machine | None:
    found = [row for row in rows if row.contract_id == box.contract]
    return found[-1] if found else None


def what_is_not_ours_is_left_alone(sim: Simulation) -> str | None:
    """Whatever it is labelled: one that is only just being adopted, and one that was released."""
    for box in sim.witness.ended:
        if box.contract in sim.witness.strangers:
            return f"{box.contract} ({box.label}) was destroyed and is not ours"
    return None


def no_adoption_lasts(sim: Simulation) -> str | None:
    for row in sim.db.machines.values():
        if row.state is M.ADOPTING:
            return f"machine {row.id} stays {row.state}"
    return None

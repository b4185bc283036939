"""Everything outside the control plane: clock, provider, boxes, store, the users' work, the agents and the network."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hibernation.domain.heartbeats import Beat
from hibernation.domain.states import InstanceStatus, MachineState
from tests.simulator.box import UTILIZATIONS, Box, Gpu
from tests.simulator.clock import Clock
from tests.simulator.faults import Faults
from tests.simulator.provider import SimProvider
from tests.simulator.requests import SentBeat
from tests.simulator.rows import Database
from tests.simulator.store import SimStore
from tests.simulator.transitions import OUR_PREFIX
from tests.simulator.witness import Witness

NEWCOMER_SECONDS = 90.0
"""A program started after a fence is not paused by it. It appears only when the last fence is older than this."""

WORKING = (InstanceStatus.RUNNING, InstanceStatus.IDLE, InstanceStatus.HIBERNATING)


class World:
    def __init__(self, rng: Random, db: Database) -> None:
        self.rng, self.db = rng, db
        self.clock, self.faults, self.witness = Clock(), Faults(rng), Witness()
        self.store = SimStore(self.faults)
        self.provider = SimProvider(self.clock, self.faults, self.witness.ended.append)
        self.network: list[SentBeat] = []
        self._versions = 0

    def working_boxes(self) -> list[tuple[int, Box]]:
        """Instances whose user can reach a living machine, in the row that holds their workspace."""
        found = []
        for instance in self.db.instances.values():
            machine = self.db.machines.get(instance.machine_id or 0)
            if machine is None or machine.state is not MachineState.ACTIVE or instance.status not in WORKING:
                continue
            box = self.provider.boxes[machine.contract_id or ""]
            if box.answers(self.clock.now):
                found.append((instance.id, box))
        return found

    def write(self) -> None:
        """Somebody's program writes into the workspace, if it is not paused."""
        boxes = self.working_boxes()
        if not boxes:
            return
        instance_id, box = self.rng.choice(boxes)
        if box.paused and not self._newcomer_may_come(instance_id, box):
            return
        box.version = self.next_version()

    def next_version(self) -> int:
        self._versions += 1
        return self._versions

    def _newcomer_may_come(self, instance_id: int, box: Box) -> bool:
        running = self.db.running(instance_id)
        passed = running is not None and running.point_of_no_return_at is not None
        since = box.fenced_at
        return (
            not passed
            and since is not None
            and (self.clock.now - since).total_seconds() > NEWCOMER_SECONDS
            and self.rng.random() < 0.3
        )

    def turn_gpu(self) -> None:
        boxes = self.working_boxes()
        if boxes:
            _, box = self.rng.choice(boxes)
            box.gpu = self.rng.choices((Gpu.IDLE, Gpu.BUSY, Gpu.UNREADABLE), (70, 22, 8))[0]

    def beat(self) -> None:
        """Every agent whose time has come sends one heartbeat."""
        now = self.clock.now
        for box in self.provider.boxes.values():
            agent = box.agent
            if agent is None or not box.alive or agent.next_beat_at > now:
                continue
            agent.next_beat_at = self.clock.after(agent.interval)
            if agent.silent_until is None or agent.silent_until <= now:
                agent.seq += 1
                self._send(box, agent.machine_id, agent.seq)

    def _send(self, box: Box, machine_id: int, seq: int) -> None:
        instance_id = self.db.machines[machine_id].instance_id
        if instance_id is None or self.faults.hit("beat_lost"):
            return
        utilizations = UTILIZATIONS[box.gpu]
        sent = SentBeat(machine_id, instance_id, Beat(seq, utilizations), utilizations)
        if self.faults.hit("beat_spooled"):
            sent = replace(sent, beat=replace(sent.beat, spooled=True))
        self.network.append(sent)
        if self.faults.hit("beat_doubled"):
            self.network.append(sent)
        if self.faults.hit("beat_foreign"):
            self.network.append(replace(sent, instance_id=self.rng.choice(tuple(self.db.instances))))

    def take_beat(self) -> SentBeat | None:
        """The next heartbeat to arrive: any of those under way."""
        if not self.network:
            return None
        late = self.faults.active and self.rng.random() < 0.2
        index = self.rng.randrange(len(self.network)) if late else 0
        return self.network.pop(index)

    def harm(self) -> None:
        """One fault of a machine: vanished, hidden from lists, unreachable, or its agent silent."""
        boxes = [box for box in self.provider.boxes.values() if box.alive]
        if not boxes:
            return
        box, now, after = self.rng.choice(boxes), self.clock.now, self.clock.after
        match self.rng.choices(("vanish", "hide", "cut", "silence"), (1, 3, 5, 5))[0]:
            case "vanish":
                box.ended_at = now
            case "hide":
                box.hidden_until = after(self.rng.uniform(20, 200))
            case "cut":
                box.unreachable_until = after(self.rng.uniform(5, 120))
            case _ if box.agent is not None:
                box.agent.silent_until = after(self.rng.uniform(10, 90))

    def foreign_machine(self) -> None:
        """A machine of somebody else on the same account, or of ours that no row explains."""
        ours = self.rng.random() < 0.5
        label = f"{OUR_PREFIX}stray-{len(self.provider.boxes)}" if ours else "somebody-else"
        box = self.provider.rent(label, "host-x")
        if not ours:
            # His work is his own: no copy of it exists.
            box.version = self.next_version()
            self.witness.strangers.add(box.contract)

    def calm(self) -> None:
        """From now on nothing fails any more; what has begun runs its course."""
        self.faults.quiet()
        for box in self.provider.boxes.values():
            if box.gpu is Gpu.UNREADABLE:
                box.gpu = self.rng.choice((Gpu.IDLE, Gpu.BUSY))

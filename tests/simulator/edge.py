"""Performs the core's effects on the modelled world and brings back what the real edge would."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from hibernation.domain.effects import (
    AttachKey,
    Destroy,
    Effect,
    Fence,
    FenceSeen,
    HookRan,
    InstallAgent,
    JobSeen,
    Launch,
    Launched,
    ListMachines,
    Look,
    MachineSeen,
    MachinesSeen,
    OffersSeen,
    Ok,
    Quiesce,
    Reach,
    Release,
    Reply,
    RunFreeze,
    RunHook,
    RunThaw,
    SearchOffers,
    SetLabel,
    StartMachine,
    StopMachine,
    Trial,
    TryMachine,
    Verify,
    VerifySeen,
)
from hibernation.domain.errors import (
    BoxSilent,
    BoxUnreachable,
    DumontError,
    HostKeyChanged,
    KeyRefused,
    MachineFailed,
    SnapshotUnproven,
)
from hibernation.domain.reconcile import Listing
from hibernation.domain.states import MachineState, Phase, SnapshotState
from tests.simulator.box import Box, Gpu, Job, SimAgent
from tests.simulator.faults import Faults
from tests.simulator.provider import SimProvider
from tests.simulator.rows import Database, OperationRow, SnapshotRow
from tests.simulator.store import SimStore
from tests.simulator.witness import Call, Witness

_UP_ON_ORDER = (MachineState.LAUNCHED, MachineState.SPARE)
"""What a wake may start: while it tries two machines, the one in its hand may be the one it set aside."""
PACKS_PER_LOOK = 2
BEAT_SECONDS = 10.0
ENDED_BADLY = ("died", "failed")


class Edge:
    def __init__(
        self, db: Database, provider: SimProvider, store: SimStore, faults: Faults, witness: Witness
    ) -> None:
        self._db, self._provider, self._store = db, provider, store
        self._faults, self._rng, self._witness = faults, faults.rng, witness
        self._clock = provider._clock

    def perform(self, operation: OperationRow, effect: Effect) -> Reply:
        try:
            return self._perform(operation, effect)
        except DumontError as error:
            return error

    def _perform(self, operation: OperationRow, effect: Effect) -> Reply:
        match effect:
            case Quiesce():
                return self._on_box(operation, lambda box: self._quiesce(operation, box))
            case RunFreeze():
                return self._on_box(operation, lambda box: self._freeze(operation, box, effect))
            case Verify():
                return self.verify(operation)
            case Fence():
                return self._on_box(operation, lambda box: self._fence(operation, box))
            case Release():
                return self._on_box(operation, lambda box: self._release(operation, box))
            case Destroy(contract):
                return self._destroy(operation, contract)
            case ListMachines():
                return self._machines_seen()
            case SearchOffers(_, widely):
                held = self.held(operation.instance_id)
                return OffersSeen(self._provider.search(), widely=widely, held=held)
            case Launch():
                return self._launch(operation, effect)
            case Look(contract):
                return self._look(contract)
            case StartMachine(contract):
                row = self._db.machines[operation.machine_id or 0]
                self._note("start", operation, row.state in _UP_ON_ORDER)
                self._provider.start(contract)
                return Ok()
            case StopMachine(contract):
                self._stop_machine(operation, contract)
                return Ok()
            case AttachKey(contract):
                self._provider.attach_key(contract)
                return Ok()
            case SetLabel(contract, label):
                self._provider.set_label(contract, label)
                return Ok()
            case Reach(contract):
                return self._greet(operation, contract)
            case TryMachine():
                return self._on_box(operation, self._test)
            case RunHook():
                return self._on_box(operation, lambda box: HookRan(self._rng.randrange(2)))
            case InstallAgent(resumed):
                return self._on_box(operation, lambda box: self._install(operation, box, resumed))
            case RunThaw():
                return self._on_box(operation, lambda box: self._thaw(operation, box, effect))
            case _:
                assert_never(effect)

    def held(self, instance_id: int) -> frozenset[str]:
        """The hosts that other wakes intend to rent."""
        rows = self._db.machines.values()
        others = (row for row in rows if row.instance_id != instance_id)
        return frozenset(row.host for row in others if row.state is MachineState.INTENDED)

    def listing(self) -> Listing:
        """One complete list."""
        listing = self._provider.listing()
        self._witness.listed(listing, self._provider.boxes)
        return listing

    def release_lost(self, contract: str) -> None:
        """Let the paused writers of a machine that came back go on. Raises ``BoxUnreachable``."""
        self._reach(self._provider.boxes[contract]).let_go()

    def _on_box(self, operation: OperationRow, act: Callable[[Box], Reply]) -> Reply:
        box = self._reach(self.box_of(operation))
        reply = act(box)
        if self._faults.hit("ssh_answer_lost"):
            raise BoxUnreachable
        return reply

    def box_of(self, operation: OperationRow) -> Box:
        machine = self._db.machines[operation.machine_id or 0]
        return self._provider.boxes[machine.contract_id or ""]

    def _reach(self, box: Box) -> Box:
        if not box.answers(self._clock.now) or self._faults.hit("ssh_lost"):
            raise BoxUnreachable
        if self._faults.hit("host_key_changed"):
            raise HostKeyChanged
        return box

    def _quiesce(self, operation: OperationRow, box: Box) -> Ok:
        """Stop what an operation left behind that gave up while the box did not answer."""
        left = self.left_behind(operation)
        if left is not None:
            self._stop(box, left.name)
        return Ok()

    def left_behind(self, operation: OperationRow) -> SnapshotRow | None:
        earlier = [
            other.snapshot_id
            for other in self._db.operations.values()
            if other.machine_id == operation.machine_id and other.snapshot_id and other.id != operation.id
        ]
        row = self._db.snapshots[max(earlier)] if earlier else None
        return row if row is not None and row.state is SnapshotState.FAILED else None

    def _freeze(self, operation: OperationRow, box: Box, effect: RunFreeze) -> JobSeen:
        now, name = self._clock.now, self._snapshot(operation).name
        job = box.freezes.get(name)
        if job is None or (effect.again and job.state in ENDED_BADLY):
            job = box.freezes[name] = self._new_job(box.version)
            job.yields = effect.yields
            job.unreadable = 1 if self._faults.hit("unreadable_files") else 0
        elif job.state == "running" and self._faults.hit("job_died"):
            job.state = "died"
        elif job.state == "running" and job.yields and box.gpu is not Gpu.IDLE:
            job.state, job.error_code = "failed", "activity_resumed"
        elif job.state == "running" and job.done_at <= now:
            job.state = "done"
        return self._seen(name, effect.round, job)

    def _seen(self, name: str, round_: int, job: Job) -> JobSeen:
        if job.state == "done" and (name, round_) not in self._store.copies:
            self._store.put(name, round_, job.version)
        result = {"unreadable_total": job.unreadable} if job.state == "done" else None
        return JobSeen(job.state, result=result, error_code=job.error_code)

    def _snapshot(self, operation: OperationRow) -> SnapshotRow:
        return self._db.snapshots[operation.snapshot_id or 0]

    def _new_job(self, version: int) -> Job:
        long = self._faults.hit("long_job")
        return Job(
            self._clock.after(self._rng.uniform(25, 240) if long else self._rng.uniform(1, 25)), version
        )

    def verify(self, operation: OperationRow) -> Reply:
        row = self._db.snapshots[operation.snapshot_id or 0]
        copy = self._store.copies[row.name, row.round]
        left = [index for index in range(len(copy.packs)) if index not in copy.read_back]
        for index in left[:PACKS_PER_LOOK]:
            if not self._store.read_pack(row.name, row.round, index):
                raise SnapshotUnproven
        return VerifySeen(len(copy.read_back), len(copy.packs))

    def _fence(self, operation: OperationRow, box: Box) -> FenceSeen:
        captured = box.freezes[self._snapshot(operation).name].version
        changed = box.fence(captured, self._clock.now)
        busy = None if box.gpu is Gpu.UNREADABLE else box.gpu is Gpu.BUSY
        return FenceSeen(changed, busy, ("results.bin",) if changed else ())

    def _release(self, operation: OperationRow, box: Box) -> Reply:
        box.let_go()
        if operation.snapshot_id is None:
            return Ok()
        row = self._snapshot(operation)
        job = self._stop(box, row.name)
        return Ok() if job is None else self._seen(row.name, row.round, job)

    def _stop(self, box: Box, name: str) -> Job | None:
        return box.stop(name, self._clock.now)

    def _launch(self, operation: OperationRow, effect: Launch) -> Launched:
        row = self._db.machines.get(operation.machine_id or 0)
        intended = row is not None and row.state is MachineState.INTENDED
        rented = row is not None and any(b.label == row.label for b in self._provider.boxes.values())
        self._note("launch", operation, intended and not rented)
        return Launched(self._provider.launch(row.label if row else "dumont-nobody", effect.offer))

    def _look(self, contract: str) -> MachineSeen:
        box = self._provider.boxes[contract] if contract in self.listing().labels else None
        if box is None:
            return MachineSeen(None)
        return MachineSeen(box.phase(self._clock.now), box.trouble, box.our_fault, box.needs_start)

    def _greet(self, operation: OperationRow, contract: str) -> Reply:
        box = self._provider.boxes[contract]
        if box.alive and box.phase(self._clock.now) in (Phase.FAILED, Phase.STOPPED):
            raise MachineFailed(box.trouble, our_fault=box.our_fault)
        if self._faults.hit("silence"):
            raise BoxSilent
        if self._faults.hit("key_refused"):
            raise KeyRefused
        return self._on_box(operation, lambda box: Ok())

    def _test(self, box: Box) -> Trial:
        gpus = ("NVIDIA RTX 4090",) * (1 if self._faults.hit("gpu_missing") else 2)
        speed = 5.0 if self._faults.hit("slow_network") else 500.0
        return Trial(gpus, download_mbps=speed)

    def _destroy(self, operation: OperationRow, contract: str) -> Ok:
        row = self._db.machines[operation.machine_id or 0]
        self._note("destroy", operation, row.state is MachineState.DESTROYING and row.contract_id == contract)
        self._provider.destroy(contract)
        return Ok()

    def _note(self, what: str, operation: OperationRow, committed: bool) -> None:
        until = operation.lease_until
        leased = until is not None and until > self._clock.now
        self._witness.calls.append(Call(f"{what} by operation {operation.id}", committed, leased))

    def _stop_machine(self, operation: OperationRow, contract: str) -> None:
        row = self._db.machines[operation.machine_id or 0]
        self._note("stop", operation, row.state is MachineState.PARKED and row.contract_id == contract)
        self._provider.stop(contract)

    def _machines_seen(self) -> MachinesSeen:
        listing, now = self.listing(), self._clock.now
        phases = {contract: self._provider.boxes[contract].phase(now) for contract in listing.labels}
        by_label = {label: contract for contract, label in listing.labels.items()}
        return MachinesSeen(by_label, frozenset(listing.labels), phases)

    def _install(self, operation: OperationRow, box: Box, resumed: bool) -> Ok:
        if resumed:
            box.let_go()
        machine_id = operation.machine_id or 0
        if box.agent is None or box.agent.machine_id != machine_id:
            box.agent = SimAgent(machine_id, BEAT_SECONDS, self._clock.after(self._rng.uniform(1, 6)))
        return Ok()

    def _thaw(self, operation: OperationRow, box: Box, effect: RunThaw) -> JobSeen:
        row = self._db.snapshots[operation.snapshot_id or 0]
        version = self._store.copies[row.name, row.round].version
        job = box.thaws.get(operation.id)
        if job is None or (effect.again and job.state in ENDED_BADLY):
            job = box.thaws[operation.id] = self._new_job(version)
            if self._faults.hit("disk_full"):
                job.state, job.error_code = "failed", "disk_full"
        elif job.state == "running" and self._faults.hit("job_died"):
            job.state = "died"
        elif job.state == "running" and job.done_at <= self._clock.now:
            job.state = "done"
            box.version = box.base = version
        return JobSeen(
            job.state, result={"files": 1} if job.state == "done" else None, error_code=job.error_code
        )

"""One seeded simulation: faults and work in random order, a check after every boundary, then a quiet phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random

from hibernation.domain.idle import IdleState
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationKind,
)
from tests.simulator.adoptions import Adoptions
from tests.simulator.edge import BEAT_SECONDS, Edge
from tests.simulator.executor import Executor, Message
from tests.simulator.invariants import ALWAYS, IN_THE_END, TERMINAL_EVENTS, UP
from tests.simulator.keeping_warm import Strangers, begin_parked
from tests.simulator.reconciler import Reconciler
from tests.simulator.requests import Requests, change_threshold
from tests.simulator.rows import Database, EventRow, InstanceRow
from tests.simulator.scenario import (
    BEGINS_ASLEEP,
    INSTANCES,
    INTERVAL,
    LIMITS,
    NAMES,
    POLICY,
    QUIET_AT_LEAST,
    QUIET_AT_MOST,
    QUIET_ROUND,
    WARM,
    WEIGHTS,
    WORKERS,
)
from tests.simulator.transitions import Writer
from tests.simulator.world import World

Begin = Callable[[], Iterator[str] | None]


class Violation(Exception):
    """An invariant did not hold."""


@dataclass(slots=True)
class Worker:
    """``process`` is what it is in the middle of; it stalls until ``stalled_until``."""

    process: Iterator[str] | None = None
    stalled_until: datetime | None = None


@dataclass(slots=True)
class Report:
    seed: int
    steps: int = 0
    boundaries: int = 0
    crashes: int = 0
    violation: str = ""
    trace: list[str] = field(default_factory=list)


class Simulation:
    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.rng = Random(seed)
        self.db = Database()
        self.world = World(self.rng, self.db)
        self.clock, self.witness = self.world.clock, self.world.witness
        self.writer = Writer(self.db, self.clock, self.witness)
        self.requests = Requests(self.writer)
        self.strangers = Strangers(self.world)
        self.adoptions = Adoptions(self.requests, self.world)
        self.edge = Edge(self.db, self.world.provider, self.world.store, self.world.faults, self.witness)
        self.executor = Executor(self.writer, self.edge, self.requests, LIMITS)
        self.reconciler = Reconciler(self.writer, self.edge, self.world.provider)
        self.workers = [Worker() for _ in range(WORKERS)]
        self.reconciling = Worker()
        self.swept: list[int] | None = None
        self.replayed: dict[int, str] = {}
        self.ends: dict[int, int] = {}
        self.report = Report(seed)
        self._tracing, self._checked, self._read = trace, -1, 0
        self._do = {name: getattr(self, name) for name in NAMES}
        for number in range(1, INSTANCES + 1):
            self._create(number)

    def _create(self, number: int) -> None:
        idle = IdleState(interval=timedelta(seconds=BEAT_SECONDS))
        now = self.clock.now
        row = InstanceRow(number, InstanceStatus.PROVISIONING, now, POLICY, idle)
        row.interval = INTERVAL if number == INSTANCES else None
        row.warm = WARM if number > 1 else timedelta(0)
        self.db.instances[number] = row
        if number == BEGINS_ASLEEP:
            begin_parked(row, self.world, self.writer)
        else:
            self.requests.ask(number, OperationKind.WAKE)
        self.replayed[number] = row.status.value

    def run(self, steps: int) -> Report:
        """``steps`` random steps with faults, then quiet ones until everything has settled."""
        try:
            for name in self.rng.choices(NAMES, WEIGHTS, k=steps):
                self.step(name)
            self.settle_down()
        except Exception as error:
            self.report.violation = f"{type(error).__name__}: {error}"
        self.report.boundaries, self.report.crashes = self.witness.boundaries, self.witness.crashes
        return self.report

    def step(self, name: str) -> None:
        self.report.steps += 1
        self._do[name]()
        self.check(name)

    def check(self, name: str) -> None:
        seen, db = self.witness, self.db
        if db.commits == self._checked and not (seen.ended or seen.calls):
            return
        self._checked = db.commits
        if self._tracing:
            self._trace(name)
        self._count_ends()
        for invariant in ALWAYS:
            broken = invariant(self)
            if broken:
                raise Violation(f"{invariant.__name__}: {broken}")
        self._remember()
        seen.clear()
        self._read = len(db.events)

    def new_events(self) -> list[EventRow]:
        return self.db.events[self._read :]

    def _count_ends(self) -> None:
        for event in self.new_events():
            operation = self.db.operations.get(event.operation_id or 0)
            if operation is not None and event.type in TERMINAL_EVENTS[operation.kind]:
                self.ends[operation.id] = self.ends.get(operation.id, 0) + 1

    def _remember(self) -> None:
        """What the observer must know later: the work that was put to sleep, and who was just woken."""
        for operation_id in self.witness.passed:
            operation = self.db.operations[operation_id]
            machine = self.db.machines[operation.machine_id or 0]
            box = self.world.provider.boxes[machine.contract_id or ""]
            self.witness.hibernated_version[operation.instance_id] = box.version
        for instance in self.db.instances.values():
            if self.requests.is_idle_enough(instance):
                self.witness.due_since.setdefault(instance.id, self.clock.now)
            else:
                self.witness.due_since.pop(instance.id, None)
        for instance_id in self.witness.taken_back:
            self.witness.woke_at[instance_id] = self.clock.now
            self.witness.hibernated_version.pop(instance_id, None)
        for operation_id in self.witness.woke:
            instance_id = self.db.operations[operation_id].instance_id
            self.witness.woke_at[instance_id] = self.clock.now
            self.witness.hibernated_version.pop(instance_id, None)

    def pass_time(self) -> None:
        self.clock.forward(self.rng.expovariate(0.7))
        self.world.provider.land()

    def work(self) -> None:
        """One worker goes on to its next boundary, or takes a message. It may die or stall there."""
        self._advance(self.rng.choice(self.workers), self._next_message)

    def reconcile(self) -> None:
        self._advance(self.reconciling, self.reconciler.run)

    def _next_message(self) -> Iterator[str] | None:
        broker = self.executor.broker
        if not broker:
            return None
        message = broker.pop(self.rng.randrange(len(broker)))
        if message.eta > self.clock.now:
            broker.append(message)
            return None
        if self.world.faults.hit("message_lost"):
            return None
        if self.world.faults.hit("message_doubled"):
            broker.append(message)
        return self.executor.run(message)

    def _advance(self, worker: Worker, begin: Begin) -> None:
        if worker.stalled_until is not None and worker.stalled_until > self.clock.now:
            return
        if worker.process is None:
            worker.process = begin()
        if worker.process is None:
            return
        self.witness.boundaries += 1
        if next(worker.process, None) is None:
            worker.process = None
        elif self.world.faults.hit("crash"):
            worker.process = None
            self.witness.crashes += 1
        elif self.world.faults.hit("stall"):
            worker.stalled_until = self.clock.after(self.rng.uniform(5, 120))

    def beats(self) -> None:
        self.world.beat()

    def hear(self) -> None:
        sent = self.world.take_beat()
        if sent is not None:
            self.requests.hear(sent)

    def write(self) -> None:
        self.world.write()
        self.strangers.write()

    def turn_gpu(self) -> None:
        self.world.turn_gpu()

    def tick(self) -> None:
        self.executor.tick()

    def sweep(self) -> None:
        """Found at one step, acted on at a later one: whatever came between must be respected."""
        if self.swept is None:
            self.swept = self.requests.due() or None
            self.requests.release_slots()
        elif self.rng.random() < 0.15 or not self.world.faults.active:
            self.requests.sweep(self.swept)
            self.swept = None
        self.requests.save_due()

    def command(self) -> None:
        """Somebody orders what fits the state, mostly; sometimes the opposite, or a cancellation."""
        instance_id, mood = self.rng.choice(tuple(self.db.instances)), self.rng.random()
        running = self.db.running(instance_id)
        if running is not None and mood < 0.12:
            self.requests.cancel(running)
        elif mood > 0.88 and self.db.instances[instance_id].status in UP:
            self.requests.ask(instance_id, OperationKind.SNAPSHOT)
        elif running is None:
            up = self.db.instances[instance_id].status in UP
            self.requests.ask(instance_id, OperationKind.HIBERNATE if up else OperationKind.WAKE)
        elif mood < 0.25:
            asleep = running.kind is OperationKind.WAKE
            self.requests.ask(instance_id, OperationKind.HIBERNATE if asleep else OperationKind.WAKE)

    def harm(self) -> None:
        self.world.harm()

    def want_back(self) -> None:
        """Somebody wakes what is kept warm."""
        parked = [row for row in self.db.machines.values() if row.state is MachineState.PARKED]
        if parked:
            self.requests.ask(self.rng.choice(parked).instance_id or 0, OperationKind.WAKE)

    def start_by_hand(self) -> None:
        self.strangers.start()

    def damage(self) -> None:
        self.strangers.damage()

    def foreign(self) -> None:
        self.world.foreign_machine()

    def adopt(self) -> None:
        instance = self.adoptions.begin()
        if instance is not None:
            self.replayed[instance.id] = instance.status.value

    def release(self) -> None:
        self.adoptions.release()

    def flush(self) -> None:
        self.executor.broker.clear()

    def suspend(self) -> None:
        """The server sleeps: every lease runs out, every agent seems silent."""
        self.clock.forward(self.rng.uniform(60, 1200))

    def config(self) -> None:
        instance = self.rng.choice(tuple(self.db.instances.values()))
        change_threshold(instance, self.rng.choice((5.0, 30.0)))

    def settle_down(self) -> None:
        """Without faults, everything begun must end. Raises ``Violation`` if it does not."""
        self.world.calm()
        self.witness.calm_at = self.clock.now
        for instance in self.db.instances.values():
            instance.interval = None
        for instance_id in self.db.instances:
            if self.rng.random() < 0.6:
                self.requests.ask(instance_id, OperationKind.WAKE)
        began, rounds = self.clock.elapsed(), 0
        while not self._settled(self.clock.elapsed() - began):
            if self.clock.elapsed() - began > QUIET_AT_MOST:
                break
            self._quiet_round(rounds)
            rounds += 1
        for invariant in IN_THE_END:
            broken = invariant(self)
            if broken:
                raise Violation(f"{invariant.__name__}: {broken}")

    def _quiet_round(self, number: int) -> None:
        self.clock.forward(QUIET_ROUND)
        self.world.provider.land()
        self.step("beats")
        while self.world.network:
            self.step("hear")
        if number % 5 == 0:
            self.step("sweep")
        if number % 2 == 0:
            self.step("tick")
        if number % 10 == 0:
            self._finish(self.reconciling, self.reconciler.run)
        self._drain()

    def _drain(self) -> None:
        now, broker = self.clock.now, self.executor.broker
        due: list[Message] = [message for message in broker if message.eta <= now]
        self.executor.broker = [message for message in broker if message.eta > now]
        for worker in self.workers:
            if worker.process is not None:
                self._finish(worker, lambda: None)
        for message in due:
            self._finish(self.workers[0], partial(self.executor.run, message))

    def _finish(self, worker: Worker, begin: Begin) -> None:
        worker.stalled_until = None
        self._advance(worker, begin)
        self.check("quiet")
        while worker.process is not None:
            self._advance(worker, begin)
            self.check("quiet")
        self.report.steps += 1

    def _settled(self, quiet_for: float) -> bool:
        if quiet_for < QUIET_AT_LEAST or any(not o.over for o in self.db.operations.values()):
            return False
        waiting = (
            MachineState.INTENDED,
            MachineState.LAUNCHED,
            MachineState.SPARE,
            MachineState.DESTROYING,
            MachineState.ORPHAN,
        )
        machines = self.db.machines.values()
        if any(m.state is MachineState.PARKED and self.db.is_saved(m) for m in machines):
            return False
        missed = [m for m in machines if m.missing_since is not None and m.state is MachineState.ACTIVE]
        if missed or any(m.state in waiting for m in machines):
            return False
        return all(i.status is not InstanceStatus.IDLE for i in self.db.instances.values())

    def _trace(self, name: str) -> None:
        instances = " ".join(
            f"{row.id}:{row.status.value}/{running.step if running else '-'}"
            for row in self.db.instances.values()
            for running in (self.db.running(row.id),)
        )
        said = "; ".join(
            f"{event.type.value}[{event.instance_id}] {event.reason}" for event in self.new_events()
        )
        called = "; ".join(call.what for call in self.witness.calls)
        self.report.trace.append(
            f"{self.clock.elapsed():9.1f} {name:10} {instances} {said} {called}".rstrip()
        )

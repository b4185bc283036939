"""What people, heartbeats and clocks ask for: commands, beats, idle sweep, released slots. Each is one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hibernation.domain import heartbeats, idle, lifecycle
from hibernation.domain.heartbeats import Beat
from hibernation.domain.occasions import Attempt, Wish, next_snapshot
from hibernation.domain.states import (
    LIVE_MACHINE_STATES,
    EventType,
    InstanceStatus,
    OperationKind,
    OperationState,
    SnapshotPurpose,
    SnapshotState,
)
from tests.simulator.rows import InstanceRow, OperationRow
from tests.simulator.transitions import Writer
from tests.simulator.witness import HeardBeat, Quiet

S = InstanceStatus
UP = (S.RUNNING, S.IDLE)
MAY_START: dict[OperationKind, tuple[InstanceStatus, ...]] = {
    OperationKind.HIBERNATE: (S.RUNNING, S.IDLE),
    OperationKind.SNAPSHOT: (S.RUNNING, S.IDLE),
    OperationKind.WAKE: (S.HIBERNATED, S.DELETED, S.FAILED, S.PROVISIONING),
}
DEADLINE = timedelta(minutes=20)


@dataclass(frozen=True, slots=True)
class SentBeat:
    """A heartbeat on its way: the rental whose token it carries, and the instance it claims to speak for."""

    machine_id: int
    instance_id: int
    beat: Beat
    utilizations: tuple[float | None, ...]


class Requests:
    def __init__(self, writer: Writer) -> None:
        self.writer, self.db, self.clock, self.witness = writer, writer.db, writer.clock, writer.witness

    def ask(self, instance_id: int, kind: OperationKind, *, forced: bool = True) -> OperationRow | None:
        """The operation that answers this command: started, queued or already there; ``None`` is a conflict."""
        running = self.db.running(instance_id)
        if running is None:
            return self._ask_idle(instance_id, kind, forced)
        if running.kind is OperationKind.ADOPT:
            return None
        if kind is OperationKind.SNAPSHOT or running.kind is OperationKind.SNAPSHOT:
            return self._ask_beside_snapshot(instance_id, kind, running)
        turning_back = running.step == "release" or running.cancel_reason != ""
        if running.kind is kind and not (kind is OperationKind.HIBERNATE and turning_back):
            self._drop_queued(instance_id)
            running.forced = running.forced or forced
            return running
        if kind is OperationKind.WAKE and running.point_of_no_return_at is None:
            running.cancel_reason = running.cancel_reason or "superseded"
        return self._queue(instance_id, kind, forced)

    def adopt(self, instance_id: int, machine_id: int) -> None:
        operation = self._new(instance_id, OperationKind.ADOPT, forced=False)
        operation.machine_id = machine_id
        self._start(operation)

    def _ask_beside_snapshot(
        self, instance_id: int, kind: OperationKind, running: OperationRow
    ) -> OperationRow | None:
        """A hibernation waits for a snapshot; a wake has nothing to do, unless the machine was lost meanwhile."""
        up = self.db.instances[instance_id].status in UP
        waiting = self.db.queued(instance_id)
        hibernation_waits = waiting is not None and waiting.kind is OperationKind.HIBERNATE
        if kind is OperationKind.WAKE:
            if not up:
                running.cancel_reason = running.cancel_reason or "superseded"
            return self._queue(instance_id, kind, forced=True) if hibernation_waits or not up else None
        if not up or running.kind is not OperationKind.SNAPSHOT:
            return None
        if kind is OperationKind.HIBERNATE:
            return self._queue(instance_id, kind, forced=True)
        if running.step == "release" or running.cancel_reason:
            return None if hibernation_waits else self._queue(instance_id, kind, forced=True)
        running.forced, running.purpose = True, SnapshotPurpose.ORDERED
        self.db.commits += 1
        return running

    def _queue(self, instance_id: int, kind: OperationKind, forced: bool) -> OperationRow:
        """At most one waits: the same kind is answered, another kind gives way to the newer wish."""
        waiting = self.db.queued(instance_id)
        if waiting is not None and waiting.kind is kind:
            return waiting
        self._drop_queued(instance_id)
        operation = self._new(instance_id, kind, forced)
        self._emit(EventType.OPERATION_QUEUED, "waits for the operation in flight", operation)
        return operation

    def _drop_queued(self, instance_id: int) -> None:
        waiting = self.db.queued(instance_id)
        if waiting is not None:
            self.supersede(waiting)

    def cancel(self, operation: OperationRow) -> None:
        if operation.state is OperationState.RUNNING and operation.point_of_no_return_at is None:
            operation.cancel_reason = operation.cancel_reason or "cancelled"
            self.db.commits += 1

    def finished(self, operation: OperationRow) -> None:
        """In the transaction that ends an operation: start the one that waited for it."""
        queued = self.db.queued(operation.instance_id)
        if queued is not None:
            self.promote(queued)

    def promote(self, operation: OperationRow) -> None:
        instance = self.db.instances[operation.instance_id]
        if instance.status in MAY_START[operation.kind]:
            self._start(operation)
        elif operation.kind is OperationKind.WAKE and instance.status in (S.RUNNING, S.IDLE):
            operation.state = OperationState.SUCCEEDED
            self._emit(EventType.WOKE, "the machine had stayed up", operation)
        else:
            self.supersede(operation)

    def supersede(self, operation: OperationRow) -> None:
        operation.state, operation.error_code = OperationState.CANCELLED, "superseded"
        self._emit(EventType.OPERATION_CANCELLED, "superseded", operation)

    def due(self) -> list[int]:
        """Instances that are idle for long enough now."""
        return [row.id for row in self.db.instances.values() if self._is_due(row)]

    def sweep(self, due: list[int]) -> None:
        """Hibernate what was found due, if it still is: the reading that cleared it may have come meanwhile."""
        for instance_id in due:
            if self.still_due(self.db.instances[instance_id]):
                operation = self._new(instance_id, OperationKind.HIBERNATE, forced=False)
                self._start(operation)
                self.witness.started_unforced.append(operation.id)

    def still_due(self, instance: InstanceRow) -> bool:
        return self._is_due(instance)

    def _is_due(self, instance: InstanceRow) -> bool:
        return self.is_idle_enough(instance) and self.db.running(instance.id) is None

    def is_idle_enough(self, instance: InstanceRow) -> bool:
        return (
            instance.status is S.IDLE
            and idle.is_due(instance.idle, instance.policy, self.clock.now)
            and (instance.hold_until is None or instance.hold_until <= self.clock.now)
        )

    def schedule(self, instance: InstanceRow) -> None:
        """In every transaction that ends an operation or changes what the machine does."""
        due = self.snapshot_due(instance)
        instance.snapshot_due_at = due[0] if due is not None else None

    def snapshot_due(self, instance: InstanceRow) -> tuple[datetime, SnapshotPurpose] | None:
        mine = [o for o in self.db.operations.values() if o.instance_id == instance.id]
        earlier = [o for o in mine if o.kind is OperationKind.SNAPSHOT and o.started_at is not None]
        proven = [
            row.frozen_at
            for row in self.db.snapshots.values()
            if row.instance_id == instance.id and row.frozen_at and row.state is SnapshotState.VERIFIED
        ]
        woken = self.witness.woke_at.get(instance.id)
        return next_snapshot(
            Wish(instance.policy, interval=instance.interval),
            status=instance.status,
            idle=instance.idle,
            saved_at=max([*proven, *([woken] if woken else [])], default=None),
            attempts=[Attempt(o.started_at, o.state) for o in reversed(earlier) if o.started_at],
        )

    def save_due(self) -> None:
        """Start the snapshots that are due, judged anew."""
        for instance in self.db.instances.values():
            if instance.snapshot_due_at is None or instance.snapshot_due_at > self.clock.now:
                continue
            instance.snapshot_due_at = None
            due = self.snapshot_due(instance) if self.db.running(instance.id) is None else None
            if due is None or due[0] > self.clock.now:
                instance.snapshot_due_at = due[0] if due is not None else None
                continue
            forced = due[1] is not SnapshotPurpose.PRE_COPY
            operation = self._new(instance.id, OperationKind.SNAPSHOT, forced)
            operation.purpose = due[1]
            self._start(operation)
            self.witness.saves_started.append(operation.id)

    def release_slots(self) -> None:
        for row in self.db.instances.values():
            if (
                row.status is S.HIBERNATED
                and row.status_changed_at + row.policy.delete_after <= self.clock.now
            ):
                status = self.writer.set_status(row, S.DELETED)
                self.writer.emit(EventType.DELETED, "the slot is released", row.id, None, status)
                self.db.commits += 1

    def hear(self, sent: SentBeat) -> None:
        """One heartbeat, with the guards of the door: token, instance, sequence, state of the rental."""
        machine = self.db.machines[sent.machine_id]
        instance = self.db.instances[sent.instance_id]
        void = self._why_void(sent)
        before = _picture(instance, self.db.running(instance.id))
        refusal = heartbeats.refuse(sent.beat, last_seq=machine.last_seq, machine_state=machine.state)
        if sent.instance_id == machine.instance_id and refusal is None:
            self._receive(sent, instance)
        if void is not None:
            after = _picture(instance, self.db.running(instance.id))
            self.witness.void_beats.append(HeardBeat(void, before, after))
        self.db.commits += 1

    def _why_void(self, sent: SentBeat) -> str | None:
        """The observer's own opinion whether this beat may change anything."""
        machine, heard = self.db.machines[sent.machine_id], self.witness.heard_seq
        if sent.instance_id != machine.instance_id:
            return "foreign token"
        if sent.beat.spooled:
            return "spooled"
        if machine.state not in LIVE_MACHINE_STATES:
            return "ended rental"
        if sent.beat.seq <= heard.get(machine.id, 0):
            return "old sequence"
        heard[machine.id] = sent.beat.seq
        instance = self.db.instances[sent.instance_id]
        limit, now = instance.policy.gpu_usage_threshold, self.clock.now
        gap = timedelta(seconds=instance.idle.interval.total_seconds() * 2.5)
        self.witness.quiet.setdefault(instance.id, Quiet()).hear(sent.utilizations, limit, gap, now)
        self._note_busy(sent, instance)
        return None

    def _note_busy(self, sent: SentBeat, instance: InstanceRow) -> None:
        running = self.db.running(instance.id)
        busy = any(u is not None and u > instance.policy.gpu_usage_threshold for u in sent.utilizations)
        gives_way = (OperationKind.HIBERNATE, OperationKind.SNAPSHOT)
        unforced = running is not None and running.kind in gives_way and not running.forced
        if busy and running is not None and unforced and running.point_of_no_return_at is None:
            self.witness.must_stop.add(running.id)

    def _receive(self, sent: SentBeat, instance: InstanceRow) -> None:
        from tests.simulator.executor import operation_facts

        machine, running = self.db.machines[sent.machine_id], self.db.running(instance.id)
        result = heartbeats.receive(
            sent.beat,
            status=instance.status,
            policy=instance.policy,
            state=instance.idle,
            operation=None if running is None else operation_facts(running),
            now=self.clock.now,
        )
        machine.last_seq = max(machine.last_seq, sent.beat.seq)
        machine.first_beat_at = machine.first_beat_at or self.clock.now
        status = self.writer.set_status(instance, result.status)
        instance.idle = result.idle
        if status != ("", ""):
            self.schedule(instance)
        if result.stop_operation and running is not None:
            running.cancel_reason = "activity_resumed"
        if result.event is not None:
            self.writer.emit(result.event, result.judgement.why, instance.id, None, status)

    def _ask_idle(self, instance_id: int, kind: OperationKind, forced: bool) -> OperationRow | None:
        instance = self.db.instances[instance_id]
        back = (
            kind is OperationKind.WAKE and instance.status is S.RELEASED and instance.snapshot_id is not None
        )
        if instance.status not in MAY_START[kind] and not back:
            return None
        operation = self._new(instance_id, kind, forced)
        self._start(operation)
        return operation

    def _new(self, instance_id: int, kind: OperationKind, forced: bool) -> OperationRow:
        number, now = len(self.db.operations) + 1, self.clock.now
        first = lifecycle.CHAINS[kind][0]
        operation = OperationRow(number, instance_id, kind, OperationState.QUEUED, first, now, forced)
        self.db.operations[number] = operation
        self.db.commits += 1
        return operation

    def _start(self, operation: OperationRow) -> None:
        instance, now = self.db.instances[operation.instance_id], self.clock.now
        operation.state, operation.status_before = OperationState.RUNNING, instance.status
        operation.started_at = operation.entered_at = operation.due_at = now
        operation.deadline_at = now + DEADLINE
        if operation.kind is OperationKind.SNAPSHOT:
            operation.machine_id, status = instance.machine_id, ("", "")
            event = EventType.SNAPSHOT_STARTED
        elif operation.kind is OperationKind.HIBERNATE:
            operation.machine_id = instance.machine_id
            status = self.writer.set_status(instance, S.HIBERNATING)
            event = EventType.HIBERNATE_STARTED
        elif operation.kind is OperationKind.ADOPT:
            status, event = ("", ""), EventType.ADOPTION_STARTED
        else:
            self._forsake(instance)
            operation.snapshot_id, instance.machine_id = instance.snapshot_id, None
            parked = self.db.parked(instance.id)
            operation.machine_id = None if parked is None else parked.id
            operation.step = lifecycle.first_step(operation.kind, parked=parked is not None)
            waking = instance.status is not S.PROVISIONING
            status = self.writer.set_status(instance, S.WAKING) if waking else ("", "")
            event = EventType.WAKE_STARTED
        self.writer.emit(event, "started", instance.id, operation.id, status)

    def _forsake(self, instance: InstanceRow) -> None:
        lost = self.db.machines.get(instance.machine_id or 0)
        if lost is not None and lost.contract_id is not None:
            self.witness.forsaken.add(lost.contract_id)

    def _emit(self, event: EventType, reason: str, operation: OperationRow) -> None:
        self.writer.emit(event, reason, operation.instance_id, operation.id)
        self.db.commits += 1


def _picture(instance: InstanceRow, running: OperationRow | None) -> object:
    return (instance.status, instance.idle, None if running is None else running.cancel_reason)


def change_threshold(instance: InstanceRow, percent: float) -> None:
    instance.policy = replace(instance.policy, gpu_usage_threshold=percent)

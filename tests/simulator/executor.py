"""The modelled edge of the operation core: claim, perform, settle, with a boundary wherever a worker can die."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from hibernation.domain import lifecycle
from hibernation.domain.effects import Effect, Reply
from hibernation.domain.facts import Facts, Limits, MachineFacts, OperationFacts, SnapshotFacts
from hibernation.domain.offers import OfferFilter
from hibernation.domain.outcomes import Finish, Go, Outcome, Perform, Wait
from hibernation.domain.states import OperationState, SnapshotState
from tests.simulator.edge import Edge
from tests.simulator.provider import price_on
from tests.simulator.requests import Requests
from tests.simulator.rows import Database, OperationRow
from tests.simulator.transitions import Writer, seconds

ANYTHING, CHEAP = OfferFilter(), OfferFilter(max_price=Decimal("0.36"))
WITH_A_HOOK = 1
"""The instance that has something run after each wake."""


@dataclass(frozen=True, slots=True)
class Message:
    operation_id: int
    step: str
    eta: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    operation_id: int
    token: int
    effect: Effect


class Executor:
    def __init__(self, writer: Writer, edge: Edge, requests: Requests, limits: Limits) -> None:
        self.writer, self.edge, self.requests, self.limits = writer, edge, requests, limits
        self.db: Database = writer.db
        self.clock = writer.clock
        self.broker: list[Message] = []
        self._tokens = 0

    def run(self, message: Message) -> Iterator[str]:
        """One worker on one message. Each ``yield`` is a boundary: the worker may die, stall or be overtaken there."""
        yield "received"
        claimed = self.claim(message.operation_id, message.step)
        if claimed is not None:
            yield "claimed"
            if not self.holds_lease(claimed):
                return
            reply = self.edge.perform(self.db.operations[claimed.operation_id], claimed.effect)
            yield "performed"
            self.settle(claimed, reply)
        yield "committed"
        self.publish(message.operation_id)

    def publish(self, operation_id: int) -> None:
        operation = self.db.operations[operation_id]
        if operation.state is OperationState.RUNNING and operation.due_at is not None:
            self.broker.append(Message(operation.id, operation.step, operation.due_at))

    def tick(self) -> None:
        """Poke every operation that is due and free, whatever became of its messages."""
        for operation in self.db.operations.values():
            if operation.state is OperationState.RUNNING and self._claimable(operation):
                self.publish(operation.id)

    def claim(self, operation_id: int, step: str) -> Claim | None:
        """One transaction: take the step if it is current, due and free, and let the core plan it."""
        operation = self.db.operations[operation_id]
        if operation.state is not OperationState.RUNNING or operation.step != step:
            return None
        if not self._claimable(operation):
            return None
        plan = lifecycle.plan(self.facts(operation))
        if not isinstance(plan, Perform):
            self._outcome(operation, plan)
            return None
        operation.memo = plan.memo or operation.memo
        self.writer.apply(operation, plan.changes)
        self._tokens += 1
        operation.lease_token = self._tokens
        operation.lease_until = self.clock.now + self.limits.lease
        return Claim(operation_id, self._tokens, plan.effect)

    def holds_lease(self, claimed: Claim) -> bool:
        """Asked right before the effect: a worker that stalled must not act on what it claimed long ago."""
        return self.is_current(self.db.operations[claimed.operation_id], claimed)

    def settle(self, claimed: Claim, reply: Reply) -> None:
        """One transaction: commit what follows from ``reply``, unless the claim is stale."""
        operation = self.db.operations[claimed.operation_id]
        if not self.is_current(operation, claimed):
            return
        self._outcome(operation, lifecycle.conclude(self.facts(operation), reply))

    def is_current(self, operation: OperationRow, claimed: Claim) -> bool:
        return (
            operation.state is OperationState.RUNNING
            and operation.lease_token == claimed.token
            and lifecycle.holds(lease_until=operation.lease_until, now=self.clock.now)
        )

    def _claimable(self, operation: OperationRow) -> bool:
        due_at = operation.due_at
        return due_at is not None and lifecycle.claimable(
            due_at=due_at, lease_until=operation.lease_until, now=self.clock.now
        )

    def _outcome(self, operation: OperationRow, outcome: Outcome) -> None:
        operation.lease_token = operation.lease_until = None
        if not isinstance(outcome, Finish):
            operation.memo = outcome.memo or operation.memo
        self.writer.apply(operation, outcome.changes)
        now = self.clock.now
        if isinstance(outcome, Go):
            operation.step, operation.entered_at, operation.due_at = outcome.step, now, now
            operation.waits = operation.failures = 0
        elif isinstance(outcome, Wait):
            operation.waits += 1
            operation.failures += outcome.failed
            operation.due_at = now + seconds(outcome.seconds)
        else:
            self._finish(operation, outcome)

    def _finish(self, operation: OperationRow, outcome: Finish) -> None:
        failed = OperationState.CANCELLED if outcome.cancelled else OperationState.FAILED
        operation.state = failed if outcome.error_code else OperationState.SUCCEEDED
        operation.error_code, operation.ended_at = outcome.error_code, self.clock.now
        self.requests.schedule(self.db.instances[operation.instance_id])
        self.requests.finished(operation)

    def facts(self, operation: OperationRow) -> Facts:
        instance = self.db.instances[operation.instance_id]
        return Facts(
            now=self.clock.now,
            operation=operation_facts(operation),
            status=instance.status,
            policy=instance.policy,
            idle=instance.idle,
            machine=self._machine_facts(operation.machine_id),
            snapshot=self._snapshot_facts(operation.snapshot_id),
            kept=self._kept(instance.snapshot_id),
            offer_held=self._offer_held(operation),
            has_hook=instance.id == WITH_A_HOOK,
            spare=self._machine_facts(operation.spare_id),
            warm=instance.warm,
            limits=self.limits,
        )

    def _offer_held(self, operation: OperationRow) -> bool:
        offer = operation.memo.offer
        if offer is None or operation.machine_id is not None:
            return False
        return offer.host in self.edge.held(operation.instance_id)

    def _machine_facts(self, machine_id: int | None) -> MachineFacts | None:
        if machine_id is None:
            return None
        row = self.db.machines[machine_id]
        return MachineFacts(
            row.id,
            row.label,
            row.state,
            row.intended_at,
            row.contract_id,
            row.host,
            row.first_beat_at,
            gpu_count=2,
            price=price_on(row.host),
            parked_until=row.parked_until,
            is_saved=self.db.is_saved(row),
        )

    def _snapshot_facts(self, snapshot_id: int | None) -> SnapshotFacts | None:
        if snapshot_id is None:
            return None
        row = self.db.snapshots[snapshot_id]
        return SnapshotFacts(row.name, row.state, row.round, row.frozen_at, row.unreadable, row.damaged)

    def _kept(self, snapshot_id: int | None) -> SnapshotFacts | None:
        kept = self._snapshot_facts(snapshot_id)
        good = kept is not None and kept.state is SnapshotState.VERIFIED and not kept.damaged
        return kept if good else None


def operation_facts(operation: OperationRow) -> OperationFacts:
    started, entered, deadline = operation.started_at, operation.entered_at, operation.deadline_at
    if started is None or entered is None or deadline is None:
        raise AssertionError("an operation that has not started")
    return OperationFacts(
        id=operation.id,
        kind=operation.kind,
        step=operation.step,
        started_at=started,
        entered_at=entered,
        deadline_at=deadline,
        waits=operation.waits,
        failures=operation.failures,
        forced=operation.forced,
        cancel_reason=operation.cancel_reason,
        point_of_no_return_at=operation.point_of_no_return_at,
        want=ANYTHING if operation.id % 4 else CHEAP,
        status_before=operation.status_before,
        memo=operation.memo,
        purpose=operation.purpose,
    )

"""The operation core: request, claim, run, settle. The row is the truth; whoever runs a step holds its lease.

Lock order: instance, then operation. No network call happens inside a transaction.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

from django.conf import settings
from django.db import transaction

from hibernation.domain import lifecycle
from hibernation.domain.effects import Effect, Reply
from hibernation.domain.facts import Memo
from hibernation.domain.outcomes import Changes, Finish, Go, Outcome, Perform, Wait
from hibernation.domain.states import OperationKind, OperationState
from hibernation.logs.context import about, tell
from hibernation.models import Instance, Operation
from hibernation.services import leases
from hibernation.services.boundaries import Boundary, reached
from hibernation.services.changes import Applier
from hibernation.services.clock import db_now
from hibernation.services.dispatch import enqueue_operation
from hibernation.services.due import SCHEDULED, schedule
from hibernation.services.facts import dump_memo, load_facts
from hibernation.services.starting import promote_queued
from hibernation.services.steps import perform
from hibernation.services.visits import end_visit, enter_step, seconds_of_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to perform ``effect`` and settle it, until the lease runs out."""

    operation_id: int
    step: str
    token: uuid.UUID
    effect: Effect


def run_step(operation_id: int, step: str) -> bool:
    """Claim, perform and settle one step; whether the next step of the chain should start now.

    Safe to call at any time by anybody: a step that is not due, not current or held by another does nothing.
    """
    with about(operation_id=operation_id):
        return _run_step(operation_id, step)


@transaction.atomic
def claim(operation_id: int, step: str) -> Claim | bool:
    """Take the step if it is current, due and free, and let the core plan it.

    A plan that needs nothing from the world is settled at once; then the answer is whether the chain goes on.
    """
    locked = _lock(operation_id)
    if locked is None:
        return False
    instance, operation, now = locked
    if operation.state != OperationState.RUNNING or operation.step != step:
        return False
    if not lifecycle.claimable(due_at=operation.next_attempt_at, lease_until=operation.lease_until, now=now):
        return False
    plan = lifecycle.plan(load_facts(instance, operation, now))
    if not isinstance(plan, Perform):
        return _apply(instance, operation, plan, now)
    _record(instance, operation, plan.changes, plan.memo, now)
    operation.lease_token = uuid.uuid4()
    operation.lease_until = now + settings.DUMONT_LEASE
    operation.save()
    return Claim(operation_id, step, operation.lease_token, plan.effect)


@transaction.atomic
def settle(claimed: Claim, reply: Reply) -> bool:
    """Commit what follows from ``reply``; whether the chain goes on. A stale claim changes nothing."""
    locked = _lock(claimed.operation_id)
    if locked is None:
        return False
    instance, operation, now = locked
    held = lifecycle.holds(lease_until=operation.lease_until, now=now)
    if operation.lease_token != claimed.token or operation.state != OperationState.RUNNING or not held:
        log.info("operation %s: dropped a stale result of %s", claimed.operation_id, claimed.step)
        return False
    outcome = lifecycle.conclude(load_facts(instance, operation, now), reply)
    return _apply(instance, operation, outcome, now)


def _run_step(operation_id: int, step: str) -> bool:
    claimed = claim(operation_id, step)
    if not isinstance(claimed, Claim):
        return claimed
    with leases.renewing(operation_id, claimed.token) as held:
        if not held:
            return False
        reached(operation_id, step, Boundary.CLAIMED)
        reply = perform.perform(operation_id, claimed.effect)
        reached(operation_id, step, Boundary.PERFORMED)
    return settle(claimed, reply)


def _lock(operation_id: int) -> tuple[Instance, Operation, datetime] | None:
    found = Operation.objects.filter(pk=operation_id).values_list("instance_id", flat=True).first()
    if found is None:
        return None
    tell(instance_id=found)
    instance = Instance.objects.select_for_update(no_key=True, of=("self",)).get(pk=found)
    operation = (
        Operation.objects.select_for_update(no_key=True, of=("self",))
        .select_related("machine", "spare", "snapshot")
        .get(pk=operation_id)
    )
    operation.instance = instance
    return instance, operation, db_now()


def _record(
    instance: Instance, operation: Operation, changes: Changes, memo: Memo | None, now: datetime
) -> None:
    if memo is not None:
        operation.memo = dump_memo(memo)
    Applier(instance, operation, now).apply(changes)


def _apply(instance: Instance, operation: Operation, outcome: Outcome, now: datetime) -> bool:
    # Registered before anything is enqueued, so it runs after the commit and before the next message.
    transaction.on_commit(partial(reached, operation.pk, operation.step, Boundary.SETTLED))
    operation.lease_token = operation.lease_until = None
    _record(instance, operation, outcome.changes, getattr(outcome, "memo", None), now)
    match outcome:
        case Go(step):
            return _go(operation, step, now)
        case Wait():
            return _wait(operation, outcome, now)
        case Finish():
            return _finish(instance, operation, outcome, now)
        case _:
            assert_never(outcome)


def _go(operation: Operation, step: str, now: datetime) -> bool:
    kind = OperationKind(operation.kind)
    remaining = lifecycle.remaining_steps(kind, operation.step)
    follows = len(remaining) > 1 and remaining[1] == step
    enter_step(operation, step, now)
    operation.save()
    if not follows:
        enqueue_operation(operation.pk, kind, step)
    return follows


def _wait(operation: Operation, outcome: Wait, now: datetime) -> bool:
    operation.waits += 1
    operation.failures += 1 if outcome.failed else 0
    operation.next_attempt_at = now + timedelta(seconds=outcome.seconds)
    operation.waiting_for = outcome.why
    if outcome.progress is not None:
        operation.progress = dict(outcome.progress)
    operation.save()
    enqueue_operation(operation.pk, OperationKind(operation.kind), operation.step, delay=outcome.seconds)
    return False


def _finish(instance: Instance, operation: Operation, outcome: Finish, now: datetime) -> bool:
    end_visit(operation, now)
    failed = OperationState.CANCELLED if outcome.cancelled else OperationState.FAILED
    operation.state = failed if outcome.error_code else OperationState.SUCCEEDED
    operation.finished_at, operation.waiting_for = now, ""
    operation.result = {**operation.result, **outcome.result}
    if operation.kind == OperationKind.WAKE:
        operation.result["stages"] = seconds_of_steps(operation)
    operation.error_code, operation.error = outcome.error_code, outcome.error
    operation.save()
    # What fell due while this one ran was left alone until now.
    schedule(instance)
    instance.save(update_fields=SCHEDULED)
    promote_queued(instance, now)
    return False

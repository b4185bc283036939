"""Hibernate: save the workspace, then fence → destroy → confirm, with ``release`` as the way back.

Nothing here calls anything. Every way that ends without a proven, fenced snapshot leads to ``release``, which
leaves the machine running.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hibernation.domain import idle, parking, saving
from hibernation.domain.effects import (
    Destroy,
    Fence,
    FenceSeen,
    JobSeen,
    ListMachines,
    MachinesSeen,
    Reply,
)
from hibernation.domain.errors import DumontError
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import (
    Change,
    Changes,
    Emit,
    Finish,
    Go,
    HoldHibernation,
    Outcome,
    PassPointOfNoReturn,
    Perform,
    Plan,
    SetMachine,
    SetStatus,
    Wait,
)
from hibernation.domain.pacing import again, look_again, machine_of, overdue
from hibernation.domain.saving import abort, box_trouble
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.domain.step import Step

HOLD_AFTER_FAILURE = timedelta(minutes=10)
VETOES = frozenset(
    {"activity_resumed", "activity_unknown", "workspace_busy", "cancelled", "superseded", "switched_off"}
)


def doubt(facts: Facts) -> tuple[str, str] | None:
    """Why this hibernation must not go on, or ``None``. Asked before each step and again at the last moment."""
    operation = facts.operation
    if operation.cancel_reason:
        return operation.cancel_reason, f"cancelled: {operation.cancel_reason.replace('_', ' ')}"
    if facts.now > operation.deadline_at:
        return "deadline", "it was not done before its deadline"
    if operation.forced:
        return None
    if not (facts.policy.enabled or operation.scheduled):
        return "switched_off", "automatic hibernation was switched off"
    since = facts.idle.idle_since
    if since is None or since > operation.started_at:
        return "activity_unknown", "the machine was not seen idle without a break"
    return None


def _conclude_freeze(facts: Facts, reply: Reply) -> Outcome:
    return saving.conclude_freeze(facts, reply, frozen=_frozen)


def _frozen(facts: Facts, reply: JobSeen) -> Outcome:
    unreadable, change = saving.unreadable_in(reply), saving.accepted(facts, reply)
    if unreadable:
        reason = f"{unreadable} files could not be read, so the copy would not be whole"
        return abort(facts, "unreadable_files", reason, change)
    return Go("verify", (change,))


def _conclude_verify(facts: Facts, reply: Reply) -> Outcome:
    return saving.conclude_verify(facts, reply, proven=lambda facts, changes: Go("fence", changes))


def _plan_fence(facts: Facts) -> Plan:
    return Perform(Fence(), memo=replace(facts.operation.memo, paused=True))


def _conclude_fence(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return box_trouble(facts, reply, facts.limits.fence)
    if not isinstance(reply, FenceSeen):
        raise TypeError(reply)
    if reply.busy is not False and not facts.operation.forced:
        code = "activity_resumed" if reply.busy else "activity_unknown"
        return abort(
            facts, code, "the last look at the GPU found it " + ("busy" if reply.busy else "unreadable")
        )
    memo = facts.operation.memo
    if not reply.changed:
        return Go("destroy", memo=replace(memo, fenced_round=memo.round))
    if memo.round + 1 >= facts.limits.fence_rounds:
        named = ", ".join(reply.sample[:3])
        return abort(facts, "workspace_busy", f"the workspace keeps changing ({named})")
    return Go("freeze", memo=replace(memo, round=memo.round + 1, job_failures=0, restart=False))


def _plan_destroy(facts: Facts) -> Plan:
    """The last gate. Runs under the row lock; trusts neither order nor message, only the facts."""
    operation, machine = facts.operation, machine_of(facts)
    if operation.point_of_no_return_at is not None:
        if parking.is_parked(facts):
            # Whoever started it since may work there: looked at before it is told again.
            return parking.plan_stop(facts) if parking.is_watched(facts) else Go("confirm")
        if not operation.memo.redestroy or machine.contract_id is None:
            return Go("confirm")
        return Perform(Destroy(machine.contract_id), memo=replace(operation.memo, redestroy=False))
    refusal = _refuse_destroy(facts)
    if refusal is not None:
        return refusal
    if machine.contract_id is None:
        return abort(facts, "no_contract", "the machine has no contract id to end")
    if facts.warm:
        return parking.plan_stop(facts)
    changes = (PassPointOfNoReturn(), SetMachine(MachineState.DESTROYING, reason="hibernated"))
    return Perform(Destroy(machine.contract_id), changes)


def _refuse_destroy(facts: Facts) -> Outcome | None:
    snapshot, memo = facts.snapshot, facts.operation.memo
    if snapshot is None or not snapshot.is_good or snapshot.round != memo.round:
        return abort(facts, "snapshot_unproven", "there is no whole and verified snapshot of this round")
    if memo.fenced_round != memo.round:
        return Go("fence")
    if _stopped_under_the_fence(facts):
        return None
    if not facts.operation.forced and not idle.is_fresh(facts.idle, facts.now):
        if overdue(facts, facts.limits.fence):
            return abort(facts, "activity_unknown", "the agent fell silent")
        return Wait(1.0, "waiting for a fresh heartbeat before the rental is ended")
    # A worker may have died here and the step been taken up much later: new writers are not held by an old fence.
    return Go("fence") if overdue(facts, facts.limits.fence_holds) else None


def _stopped_under_the_fence(facts: Facts) -> bool:
    """Its host stopped it while the fence still held: nothing was written since, and it will never report."""
    stopped, beat = machine_of(facts).stopped_since, facts.idle.last_beat_at
    if stopped is None or (beat is not None and beat > stopped):
        return False
    return timedelta(0) <= stopped - facts.operation.entered_at <= facts.limits.fence_holds


def _conclude_destroy(facts: Facts, reply: Reply) -> Outcome:
    """Whatever the provider answered, only its list tells whether the machine is gone."""
    return parking.conclude_stop(facts, reply) if parking.is_parked(facts) else Go("confirm")


def _plan_confirm(facts: Facts) -> Plan:
    return Perform(ListMachines())


def _conclude_confirm(facts: Facts, reply: Reply) -> Outcome:
    machine, operation = machine_of(facts), facts.operation
    if parking.is_parked(facts):
        return parking.conclude_confirm(facts, reply, why=_why(facts), gone=lambda: _destroyed(facts))
    if isinstance(reply, MachinesSeen) and machine.contract_id not in reply.contracts:
        return _destroyed(facts)
    if isinstance(reply, DumontError):
        return again(facts, reply)
    if overdue(facts, facts.limits.redestroy_after * (1 + operation.memo.attempt)):
        memo = replace(operation.memo, redestroy=True, attempt=min(operation.memo.attempt + 1, 11))
        return Go("destroy", memo=memo)
    return look_again(facts, "the provider still lists the machine")


def _destroyed(facts: Facts) -> Finish:
    return _hibernated(facts, SetMachine(MachineState.DESTROYED))


def _hibernated(facts: Facts, *changes: Change) -> Finish:
    name = facts.snapshot.name if facts.snapshot else ""
    done = (*changes, SetStatus(InstanceStatus.HIBERNATED), Emit(EventType.HIBERNATED, _why(facts)))
    return Finish(done, {"success": True, "snapshot_id": name, "instance_destroyed": True})


def _why(facts: Facts) -> str:
    if facts.operation.scheduled:
        return "as scheduled"
    return "as ordered" if facts.operation.forced else idle.for_so_long(facts.policy)


def _conclude_release(facts: Facts, reply: Reply) -> Outcome:
    return saving.conclude_release(facts, reply, released=_released)


def _released(facts: Facts, changes: Changes) -> Finish:
    memo, running = facts.operation.memo, SetStatus(InstanceStatus.RUNNING)
    if memo.abort_code in VETOES:
        emit = Emit(EventType.HIBERNATE_VETOED, memo.abort_reason, {"code": memo.abort_code})
        done = (*changes, running, emit)
        return Finish(done, error_code=memo.abort_code, error=memo.abort_reason, cancelled=True)
    emit = Emit(EventType.FAILED, f"hibernation failed: {memo.abort_reason}", {"code": memo.abort_code})
    hold = HoldHibernation(HOLD_AFTER_FAILURE.total_seconds())
    return Finish((*changes, running, hold, emit), error_code=memo.abort_code, error=memo.abort_reason)


def machine_vanished(facts: Facts) -> Outcome | None:
    """The host took the machine back under us: keep what is proven, and say so."""
    if not saving.vanished(facts):
        return None
    if facts.snapshot is not None and facts.snapshot.is_good:
        return _vanished_after_saving(facts)
    reason = "the machine vanished before its workspace was saved"
    status = InstanceStatus.FAILED
    if facts.kept is not None:
        reason = f"{reason}; it is kept as of its last proven copy, {saving.age_of_kept(facts)} old"
        status = InstanceStatus.HIBERNATED
    told = (SetStatus(status), Emit(EventType.FAILED, reason, {"code": "machine_lost"}))
    return Finish((*saving.settle_unfinished(facts, reason), *told), error_code="machine_lost", error=reason)


def _vanished_after_saving(facts: Facts) -> Finish:
    reason = "the machine vanished; the workspace is kept as of its last proven copy"
    done = (
        SetStatus(InstanceStatus.HIBERNATED),
        Emit(EventType.HIBERNATED, reason, {"code": "machine_lost"}),
    )
    name = facts.snapshot.name if facts.snapshot else ""
    return Finish(done, {"success": True, "snapshot_id": name, "instance_destroyed": True})


def before(facts: Facts) -> Outcome | None:
    """Asked before every step's plan and conclusion: reasons that overrule it."""
    if facts.operation.point_of_no_return_at is not None:
        return None
    vanished = machine_vanished(facts)
    if vanished is not None or facts.operation.step == "release":
        return vanished
    found = doubt(facts)
    return None if found is None else abort(facts, *found)


STEPS = (
    Step("quiesce", "provision", saving.plan_quiesce, saving.conclude_quiesce),
    Step("freeze", "transfer", saving.plan_freeze, _conclude_freeze),
    Step("verify", "transfer", saving.plan_verify, _conclude_verify),
    Step("fence", "transfer", _plan_fence, _conclude_fence),
    Step("destroy", "provision", _plan_destroy, _conclude_destroy),
    Step("confirm", "provision", _plan_confirm, _conclude_confirm),
    Step("release", "provision", saving.plan_release, _conclude_release),
)
CHAIN = ("quiesce", "freeze", "verify", "fence", "destroy", "confirm")

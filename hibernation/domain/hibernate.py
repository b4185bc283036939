"""Hibernate: quiesce → freeze → verify → fence → destroy → confirm, with ``release`` as the way back.

Nothing here calls anything. Every way that ends without a proven, fenced snapshot leads to ``release``, which
leaves the machine running.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hibernation.domain import idle
from hibernation.domain.backoff import poll_seconds, retry_seconds
from hibernation.domain.effects import (
    Destroy,
    Fence,
    FenceSeen,
    JobSeen,
    ListMachines,
    MachinesSeen,
    Quiesce,
    Release,
    Reply,
    RunFreeze,
    Verify,
    VerifySeen,
)
from hibernation.domain.errors import DumontError, HostKeyChanged, SnapshotUnproven
from hibernation.domain.facts import Facts, MachineFacts, Memo
from hibernation.domain.outcomes import (
    BeginSnapshot,
    Change,
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
    SnapshotFailed,
    SnapshotFrozen,
    SnapshotVerified,
    Wait,
)
from hibernation.domain.states import EventType, InstanceStatus, MachineState, SnapshotState
from hibernation.domain.step import Step

HOLD_AFTER_FAILURE = timedelta(minutes=10)
VETOES = frozenset(
    {"activity_resumed", "activity_unknown", "workspace_busy", "cancelled", "superseded", "switched_off"}
)


def machine_of(facts: Facts) -> MachineFacts:
    if facts.machine is None:
        raise AssertionError("a hibernation without a machine")
    return facts.machine


def abort(facts: Facts, code: str, reason: str, *changes: Change) -> Go:
    """Give up and leave the machine running; ``release`` writes why."""
    memo = replace(facts.operation.memo, abort_code=code, abort_reason=reason)
    return Go("release", changes, memo)


def overdue(facts: Facts, allowed: timedelta) -> bool:
    return facts.now - facts.operation.entered_at > allowed


def silent(facts: Facts, allowed: timedelta) -> bool:
    """Whether a step that may take hours has not been seen going on for longer than ``allowed``."""
    since = max(facts.operation.entered_at.timestamp(), facts.operation.memo.answered_at)
    return facts.now.timestamp() - since > allowed.total_seconds()


def goes_on(facts: Facts, wait: Wait) -> Wait:
    """``wait``, and note that the step was seen going on."""
    return replace(wait, memo=replace(facts.operation.memo, answered_at=facts.now.timestamp()))


def again(facts: Facts, error: DumontError) -> Wait:
    return Wait(retry_seconds(facts.operation.failures), error.message, failed=True)


def look_again(facts: Facts, why: str) -> Wait:
    return Wait(poll_seconds(facts.operation.waits), why)


def restarted(memo: Memo) -> Memo | None:
    """The memo once its wish to restart a job is granted; ``None`` where it had none."""
    return replace(memo, restart=False) if memo.restart else None


def doubt(facts: Facts) -> tuple[str, str] | None:
    """Why this hibernation must not go on, or ``None``. Asked before each step and again at the last moment."""
    operation = facts.operation
    if operation.cancel_reason:
        return operation.cancel_reason, f"cancelled: {operation.cancel_reason.replace('_', ' ')}"
    if facts.now > operation.deadline_at:
        return "deadline", "it was not done before its deadline"
    if operation.forced:
        return None
    if not facts.policy.enabled:
        return "switched_off", "automatic hibernation was switched off"
    since = facts.idle.idle_since
    if since is None or since > operation.started_at:
        return "activity_unknown", "the machine was not seen idle without a break"
    return None


def _plan_quiesce(facts: Facts) -> Plan:
    return Perform(Quiesce())


def _conclude_quiesce(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _box_trouble(facts, reply, facts.limits.quiesce)
    return Go("freeze")


def _box_trouble(facts: Facts, error: DumontError, allowed: timedelta) -> Outcome:
    if isinstance(error, HostKeyChanged) or silent(facts, allowed):
        return abort(facts, error.code, error.message)
    return again(facts, error)


def _plan_freeze(facts: Facts) -> Plan:
    round_ = facts.operation.memo.round
    snapshot = facts.snapshot
    begun = snapshot is not None and snapshot.round == round_ and snapshot.state is SnapshotState.WRITING
    memo = facts.operation.memo
    changes = () if begun else (BeginSnapshot(round_),)
    return Perform(RunFreeze(round_, again=memo.restart), changes, restarted(memo))


def _conclude_freeze(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _box_trouble(facts, reply, facts.limits.freeze_unreachable)
    if not isinstance(reply, JobSeen):
        raise TypeError(reply)
    if reply.state == "running":
        wait = replace(look_again(facts, "the workspace is being saved"), progress=reply.progress)
        return goes_on(facts, wait)
    if reply.state == "done" and reply.result is not None:
        return _frozen(facts, reply)
    failures = facts.operation.memo.job_failures + 1
    if failures > facts.limits.freeze_restarts or reply.error_code == "cancelled":
        reason = f"the snapshot failed on the machine: {reply.error or reply.state}"
        return abort(facts, reply.error_code or "freeze_failed", reason, SnapshotFailed(reason))
    memo = replace(facts.operation.memo, job_failures=failures, restart=True)
    return Wait(retry_seconds(failures), reply.error or "the snapshot process died", memo=memo, failed=True)


def _frozen(facts: Facts, reply: JobSeen) -> Outcome:
    result = reply.result or {}
    unreadable = int(result.get("unreadable_total", 0))
    if unreadable:
        reason = f"{unreadable} files could not be read, so the copy would not be whole"
        return abort(facts, "unreadable_files", reason, SnapshotFailed(reason))
    return Go("verify", (SnapshotFrozen(facts.operation.memo.round, result),))


def _plan_verify(facts: Facts) -> Plan:
    return Perform(Verify())


def _conclude_verify(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, SnapshotUnproven):
        reason = f"the stored copy could not be proven: {reply.message}"
        return abort(facts, reply.code, reason, SnapshotFailed(reason))
    if isinstance(reply, DumontError):
        return _box_trouble(facts, reply, facts.limits.verify_unavailable)
    if not isinstance(reply, VerifySeen):
        raise TypeError(reply)
    if reply.packs_done < reply.packs_total:
        progress = {"packs_done": reply.packs_done, "packs_total": reply.packs_total}
        return goes_on(facts, Wait(0, "the stored copy is being read back", progress=progress))
    reason = f"every one of {reply.packs_total} stored packs was read back and is right"
    round_ = facts.operation.memo.round
    return Go("fence", (SnapshotVerified(round_), Emit(EventType.SNAPSHOT_VERIFIED, reason)))


def _plan_fence(facts: Facts) -> Plan:
    return Perform(Fence(), memo=replace(facts.operation.memo, paused=True))


def _conclude_fence(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _box_trouble(facts, reply, facts.limits.fence)
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
        if not operation.memo.redestroy or machine.contract_id is None:
            return Go("confirm")
        return Perform(Destroy(machine.contract_id), memo=replace(operation.memo, redestroy=False))
    refusal = _refuse_destroy(facts)
    if refusal is not None:
        return refusal
    if machine.contract_id is None:
        return abort(facts, "no_contract", "the machine has no contract id to end")
    changes = (PassPointOfNoReturn(), SetMachine(MachineState.DESTROYING, reason="hibernated"))
    return Perform(Destroy(machine.contract_id), changes)


def _refuse_destroy(facts: Facts) -> Outcome | None:
    snapshot, memo = facts.snapshot, facts.operation.memo
    proven = (
        snapshot is not None and snapshot.state is SnapshotState.VERIFIED and snapshot.round == memo.round
    )
    if not proven:
        return abort(facts, "snapshot_unproven", "there is no verified snapshot of this round")
    if memo.fenced_round != memo.round:
        return Go("fence")
    if not facts.operation.forced and not idle.is_fresh(facts.idle, facts.now):
        if overdue(facts, facts.limits.fence):
            return abort(facts, "activity_unknown", "the agent fell silent")
        return Wait(1.0, "waiting for a fresh heartbeat before the rental is ended")
    # A worker may have died here and the step been taken up much later: new writers are not held by an old fence.
    return Go("fence") if overdue(facts, facts.limits.fence_holds) else None


def _conclude_destroy(facts: Facts, reply: Reply) -> Outcome:
    """Whatever the provider answered, only its list tells whether the machine is gone."""
    return Go("confirm")


def _plan_confirm(facts: Facts) -> Plan:
    return Perform(ListMachines())


def _conclude_confirm(facts: Facts, reply: Reply) -> Outcome:
    machine, operation = machine_of(facts), facts.operation
    if isinstance(reply, MachinesSeen) and machine.contract_id not in reply.contracts:
        return _hibernated(facts, SetMachine(MachineState.DESTROYED))
    alarm = _alarm(facts)
    if isinstance(reply, DumontError):
        return replace(again(facts, reply), changes=alarm, memo=_alarmed(facts, alarm))
    if overdue(facts, facts.limits.redestroy_after * (1 + operation.memo.attempt)):
        memo = replace(_alarmed(facts, alarm), redestroy=True, attempt=min(operation.memo.attempt + 1, 11))
        return Go("destroy", alarm, memo)
    wait = look_again(facts, "the provider still lists the machine")
    return replace(wait, changes=alarm, memo=_alarmed(facts, alarm))


def _alarm(facts: Facts) -> tuple[Change, ...]:
    began = facts.operation.point_of_no_return_at or facts.now
    if facts.operation.memo.alarmed or facts.now - began < facts.limits.confirm_alarm:
        return ()
    reason = "the provider has not ended the rental yet: it still bills; destroy is being repeated"
    return (Emit(EventType.STILL_BILLING, reason),)


def _alarmed(facts: Facts, alarm: tuple[Change, ...]) -> Memo:
    return replace(facts.operation.memo, alarmed=facts.operation.memo.alarmed or bool(alarm))


def _hibernated(facts: Facts, *changes: Change) -> Finish:
    name = facts.snapshot.name if facts.snapshot else ""
    why = "as ordered" if facts.operation.forced else f"GPU idle for {_minutes(facts.policy.pause_after)}"
    emit = Emit(EventType.HIBERNATED, f"{why}; the copy is proven and the rental has ended")
    done = (*changes, SetStatus(InstanceStatus.HIBERNATED), emit)
    return Finish(done, {"success": True, "snapshot_id": name, "instance_destroyed": True})


def _minutes(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _plan_release(facts: Facts) -> Plan:
    return Perform(Release())


def _conclude_release(facts: Facts, reply: Reply) -> Outcome:
    memo, limits = facts.operation.memo, facts.limits
    patience = limits.release_paused if memo.paused else limits.release
    if isinstance(reply, DumontError) and not overdue(facts, patience):
        return again(facts, reply)
    running = SetStatus(InstanceStatus.RUNNING)
    if memo.abort_code in VETOES:
        emit = Emit(EventType.HIBERNATE_VETOED, memo.abort_reason, {"code": memo.abort_code})
        return Finish((running, emit), error_code=memo.abort_code, error=memo.abort_reason, cancelled=True)
    emit = Emit(EventType.FAILED, f"hibernation failed: {memo.abort_reason}", {"code": memo.abort_code})
    hold = HoldHibernation(HOLD_AFTER_FAILURE.total_seconds())
    return Finish((running, hold, emit), error_code=memo.abort_code, error=memo.abort_reason)


def machine_vanished(facts: Facts) -> Outcome | None:
    """The host took the machine back under us: keep what is proven, and say so."""
    machine = facts.machine
    if machine is None or machine.state is not MachineState.LOST:
        return None
    if facts.snapshot is not None and facts.snapshot.state is SnapshotState.VERIFIED:
        return _vanished_after_saving(facts)
    reason = "the machine vanished before its workspace was saved"
    changes = (SetStatus(InstanceStatus.FAILED), Emit(EventType.FAILED, reason, {"code": "machine_lost"}))
    return Finish(changes, error_code="machine_lost", error=reason)


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
    Step("quiesce", "provision", _plan_quiesce, _conclude_quiesce),
    Step("freeze", "transfer", _plan_freeze, _conclude_freeze),
    Step("verify", "transfer", _plan_verify, _conclude_verify),
    Step("fence", "transfer", _plan_fence, _conclude_fence),
    Step("destroy", "provision", _plan_destroy, _conclude_destroy),
    Step("confirm", "provision", _plan_confirm, _conclude_confirm),
    Step("release", "provision", _plan_release, _conclude_release),
)
CHAIN = ("quiesce", "freeze", "verify", "fence", "destroy", "confirm")

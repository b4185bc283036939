"""Snapshot: save a machine that goes on. Never touches the rental, never changes the instance's status.

A pre-copy only begins what a hibernation will finish: it gives way to any work, and nobody is alarmed if it does.
"""

from __future__ import annotations

from hibernation.domain import saving
from hibernation.domain.effects import JobSeen, Reply
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import Changes, Emit, Finish, Go, Outcome
from hibernation.domain.saving import YIELDED, abort
from hibernation.domain.states import EventType, SnapshotPurpose
from hibernation.domain.step import Step

_CALLED_OFF = frozenset({YIELDED, "cancelled", "superseded", "switched_off"})


def _conclude_freeze(facts: Facts, reply: Reply) -> Outcome:
    return saving.conclude_freeze(facts, reply, frozen=_frozen)


def _frozen(facts: Facts, reply: JobSeen) -> Outcome:
    """A copy that lacks what nobody could read is better than none. No rental ends on it."""
    return Go("verify", (saving.accepted(facts, reply),))


def _conclude_verify(facts: Facts, reply: Reply) -> Outcome:
    return saving.conclude_verify(facts, reply, proven=_saved)


def _saved(facts: Facts, changes: Changes) -> Finish:
    snapshot = facts.snapshot
    name, unreadable = (snapshot.name, snapshot.unreadable) if snapshot else ("", 0)
    result = {"success": True, "snapshot_id": name, "unreadable_files": unreadable}
    return Finish(changes, result)


def _conclude_release(facts: Facts, reply: Reply) -> Outcome:
    return saving.conclude_release(facts, reply, released=_released)


def _released(facts: Facts, changes: Changes) -> Finish:
    memo = facts.operation.memo
    return _ended(facts, memo.abort_code, memo.abort_reason, changes)


def _ended(facts: Facts, code: str, reason: str, changes: Changes) -> Finish:
    """What was stored is kept for the next one. A failure is told as one only where somebody counts on the copy."""
    called_off = code in _CALLED_OFF
    quiet = called_off or facts.operation.purpose is SnapshotPurpose.PRE_COPY
    event = EventType.SNAPSHOT_ABANDONED if quiet else EventType.FAILED
    told = f"{facts.operation.purpose} snapshot {'stopped' if quiet else 'failed'}: {reason}"
    done = (*changes, Emit(event, told, {"code": code}))
    return Finish(done, error_code=code, error=reason, cancelled=called_off)


def doubt(facts: Facts) -> tuple[str, str] | None:
    """Why this snapshot must not go on, or ``None``."""
    operation = facts.operation
    if operation.cancel_reason:
        return operation.cancel_reason, f"cancelled: {operation.cancel_reason.replace('_', ' ')}"
    if facts.now > operation.deadline_at:
        return "deadline", "it was not done before its deadline"
    if operation.purpose is not SnapshotPurpose.PRE_COPY:
        return None
    if not facts.policy.enabled:
        return "switched_off", "automatic hibernation was switched off"
    return (YIELDED, "the machine is not idle any more") if facts.idle.idle_since is None else None


def before(facts: Facts) -> Outcome | None:
    """Asked before every step's plan and conclusion: reasons that overrule it."""
    if saving.vanished(facts):
        reason = "the machine vanished before its workspace was saved"
        return _ended(facts, "machine_lost", reason, saving.settle_unfinished(facts, reason))
    if facts.operation.step == "release":
        return None
    found = doubt(facts)
    return None if found is None else abort(facts, *found)


STEPS = (
    Step("quiesce", "provision", saving.plan_quiesce, saving.conclude_quiesce),
    Step("freeze", "transfer", saving.plan_freeze, _conclude_freeze),
    Step("verify", "transfer", saving.plan_verify, _conclude_verify),
    Step("release", "provision", saving.plan_release, _conclude_release),
)
CHAIN = ("quiesce", "freeze", "verify")

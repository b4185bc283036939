"""Saving a workspace while its machine runs: quiesce → freeze → verify, and ``release`` as the way back.

Shared by hibernate, which goes on to end the rental, and by snapshot, which is done then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta

from hibernation.domain.backoff import retry_seconds
from hibernation.domain.durations import in_words
from hibernation.domain.effects import JobSeen, Quiesce, Release, Reply, RunFreeze, Verify, VerifySeen
from hibernation.domain.errors import DumontError, HostKeyChanged, SnapshotUnproven
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import (
    BeginSnapshot,
    Change,
    Changes,
    Emit,
    Go,
    Outcome,
    Perform,
    Plan,
    SnapshotAbandoned,
    SnapshotFailed,
    SnapshotFrozen,
    SnapshotVerified,
    Wait,
)
from hibernation.domain.pacing import again, goes_on, look_again, overdue, restarted, silent
from hibernation.domain.states import EventType, MachineState, SnapshotPurpose, SnapshotState

YIELDED = "activity_resumed"
_DISTRUSTED = frozenset({"", "internal", "snapshot_unproven"})
"""How a freeze ends that may have stumbled over what the box remembers. Every other code names something outside."""


def abort(facts: Facts, code: str, reason: str, *changes: Change) -> Go:
    """Give up and leave the machine running; ``release`` writes why."""
    memo = replace(facts.operation.memo, abort_code=code, abort_reason=reason)
    return Go("release", changes, memo)


def box_trouble(facts: Facts, error: DumontError, allowed: timedelta) -> Outcome:
    if isinstance(error, HostKeyChanged) or silent(facts, allowed):
        return abort(facts, error.code, error.message)
    return again(facts, error)


def plan_quiesce(facts: Facts) -> Plan:
    return Perform(Quiesce())


def conclude_quiesce(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return box_trouble(facts, reply, facts.limits.quiesce)
    return Go("freeze")


def plan_freeze(facts: Facts) -> Plan:
    memo, snapshot, purpose = facts.operation.memo, facts.snapshot, facts.operation.purpose
    begun = snapshot is not None and snapshot.round == memo.round and snapshot.state is SnapshotState.WRITING
    effect = RunFreeze(
        memo.round,
        again=memo.restart,
        background=purpose is not SnapshotPurpose.ORDERED,
        yields=purpose is SnapshotPurpose.PRE_COPY,
    )
    return Perform(effect, () if begun else (BeginSnapshot(memo.round),), restarted(memo))


def conclude_freeze(facts: Facts, reply: Reply, *, frozen: Callable[[Facts, JobSeen], Outcome]) -> Outcome:
    """``frozen`` says what follows from a copy that is stored whole, as the machine tells it."""
    if isinstance(reply, DumontError):
        return box_trouble(facts, reply, facts.limits.freeze_unreachable)
    if not isinstance(reply, JobSeen):
        raise TypeError(reply)
    if reply.state == "running":
        wait = replace(look_again(facts, "the workspace is being saved"), progress=reply.progress)
        return goes_on(facts, wait)
    if reply.state == "done" and reply.result is not None:
        return frozen(facts, reply)
    return _freeze_failed(facts, reply)


def _freeze_failed(facts: Facts, reply: JobSeen) -> Outcome:
    if reply.error_code == YIELDED and facts.operation.purpose is SnapshotPurpose.PRE_COPY:
        return abort(facts, YIELDED, "the GPU works again")
    failures = facts.operation.memo.job_failures + 1
    if failures > facts.limits.freeze_restarts or reply.error_code == "cancelled":
        reason = f"the snapshot failed on the machine: {reply.error or reply.state}"
        bad = reply.error_code in _DISTRUSTED
        change = SnapshotFailed(reason) if bad else SnapshotAbandoned(reason)
        return abort(facts, reply.error_code or "freeze_failed", reason, change)
    memo = replace(facts.operation.memo, job_failures=failures, restart=True)
    return Wait(retry_seconds(failures), reply.error or "the snapshot process died", memo=memo, failed=True)


def unreadable_in(reply: JobSeen) -> int:
    return int((reply.result or {}).get("unreadable_total", 0))


def accepted(facts: Facts, reply: JobSeen) -> SnapshotFrozen:
    return SnapshotFrozen(facts.operation.memo.round, reply.result or {})


def plan_verify(facts: Facts) -> Plan:
    return Perform(Verify())


def conclude_verify(facts: Facts, reply: Reply, *, proven: Callable[[Facts, Changes], Outcome]) -> Outcome:
    """``proven`` says what follows from a stored copy that was found right, and commits the changes given to it."""
    if isinstance(reply, SnapshotUnproven):
        reason = f"the stored copy could not be proven: {reply.message}"
        return abort(facts, reply.code, reason, SnapshotFailed(reason))
    if isinstance(reply, DumontError):
        return box_trouble(facts, reply, facts.limits.verify_unavailable)
    if not isinstance(reply, VerifySeen):
        raise TypeError(reply)
    if reply.packs_done < reply.packs_total:
        progress = {"phase": "verify", **asdict(reply)}
        return goes_on(facts, Wait(0, "the stored copy is being read back", progress=progress))
    count, decoded = reply.packs_total, reply.packs_decoded
    reason = f"all {count} stored packs are there with the right bytes; {decoded} of them were decoded whole"
    event = Emit(EventType.SNAPSHOT_VERIFIED, reason, {"packs": count, "packs_decoded": decoded})
    changes = (SnapshotVerified(facts.operation.memo.round), event)
    return proven(facts, changes)


def plan_release(facts: Facts) -> Plan:
    return Perform(Release())


def conclude_release(facts: Facts, reply: Reply, *, released: Callable[[Facts, Changes], Outcome]) -> Outcome:
    """``released`` says how the operation ends; the changes given to it settle the snapshot it was writing."""
    memo, limits = facts.operation.memo, facts.limits
    patience = limits.release_paused if memo.paused else limits.release
    if isinstance(reply, DumontError) and not overdue(facts, patience):
        return again(facts, reply)
    return released(facts, settle_unfinished(facts, memo.abort_reason, reply))


def settle_unfinished(facts: Facts, reason: str, reply: Reply | None = None) -> Changes:
    """What becomes of a snapshot still being written: it is kept if the machine was done with it after all."""
    if facts.snapshot is None or facts.snapshot.state is not SnapshotState.WRITING:
        return ()
    if isinstance(reply, JobSeen) and reply.state == "done" and reply.result is not None:
        return (accepted(facts, reply),)
    return (SnapshotAbandoned(reason),)


def vanished(facts: Facts) -> bool:
    """The host took the machine back under us."""
    return facts.machine is not None and facts.machine.state is MachineState.LOST


def age_of_kept(facts: Facts) -> str:
    """How old the workspace's last proven copy is, in words; empty without one."""
    if facts.kept is None or facts.kept.frozen_at is None:
        return ""
    return in_words(facts.now - facts.kept.frozen_at)

"""thaw → confirm → hook: the workspace comes back, the agent reports, and what people want done then is done. Pure."""

from __future__ import annotations

from dataclasses import replace

from hibernation.domain import choosing
from hibernation.domain.backoff import retry_seconds
from hibernation.domain.effects import HookRan, JobSeen, Reply, RunHook, RunThaw
from hibernation.domain.errors import DumontError
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import (
    Changes,
    Emit,
    Finish,
    Go,
    Outcome,
    Perform,
    Plan,
    SetMachine,
    SetStatus,
    Wait,
)
from hibernation.domain.pacing import again, goes_on, look_again, machine_of, overdue, restarted
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.domain.wake import ending
from hibernation.domain.wake.arriving import machine_trouble

_SHOWN = 500


def plan_thaw(facts: Facts) -> Plan:
    memo = facts.operation.memo
    if facts.snapshot is None or memo.resumed:
        return Go("confirm")
    return Perform(RunThaw(again=memo.restart), memo=restarted(memo))


def conclude_thaw(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return machine_trouble(facts, reply, facts.limits.thaw_unreachable)
    if not isinstance(reply, JobSeen):
        raise TypeError(reply)
    if reply.state == "running":
        wait = replace(look_again(facts, "the workspace is being restored"), progress=reply.progress)
        return goes_on(facts, wait)
    if reply.state == "done" and reply.result is not None:
        files = reply.result.get("files", 0)
        restored = Emit(EventType.RESTORED, f"{files} files restored", dict(reply.result))
        return Go("confirm", (restored, *choosing.measured(facts, reply)))
    return _thaw_failed(facts, reply)


def _thaw_failed(facts: Facts, reply: JobSeen) -> Outcome:
    reason = f"the restore failed on the machine: {reply.error or reply.state}"
    if reply.error_code == "disk_full":
        return ending.reject(facts, reason)
    if reply.error_code == "snapshot_unproven":
        return ending.give_up(facts, "snapshot_unproven", reason)
    failures = facts.operation.memo.job_failures + 1
    if failures > facts.limits.freeze_restarts:
        return ending.reject(facts, reason)
    memo = replace(facts.operation.memo, job_failures=failures, restart=True)
    return Wait(retry_seconds(failures), reason, memo=memo, failed=True)


def plan_confirm(facts: Facts) -> Plan:
    """The first heartbeat with this machine's own token is the proof that it is watched again."""
    if machine_of(facts).first_beat_at is not None:
        return _woke(facts)
    if not overdue(facts, facts.limits.first_beat):
        return look_again(facts, "waiting for the agent's first heartbeat")
    if not facts.operation.memo.reinstalled:
        return Go("install", memo=replace(facts.operation.memo, reinstalled=True))
    return ending.reject(facts, "the agent never reported from this machine")


def _woke(facts: Facts) -> Outcome:
    changes = (SetMachine(MachineState.ACTIVE), SetStatus(InstanceStatus.RUNNING), _told(facts))
    return Go("hook", changes) if facts.has_hook else finished(facts, changes)


def _told(facts: Facts) -> Emit:
    if facts.operation.memo.resumed:
        return Emit(EventType.WOKE, "the machine runs again with its workspace, and is watched")
    if facts.snapshot is not None:
        return Emit(EventType.WOKE, "the workspace is back and watched")
    return Emit(EventType.REGISTERED, "the machine is up and watched")


def finished(facts: Facts, changes: Changes = ()) -> Finish:
    """The wake has succeeded."""
    resumed = {"resumed": True} if facts.operation.memo.resumed else {}
    restored = facts.snapshot is not None and not resumed
    taken = (facts.now - facts.operation.started_at).total_seconds()
    result = {"success": True, "snapshot_restored": restored, "time_taken": round(taken, 1)}
    return Finish(changes, {**result, **resumed})


def conclude_confirm(facts: Facts, reply: Reply) -> Outcome:
    raise AssertionError("confirm performs no effect")


def plan_hook(facts: Facts) -> Plan:
    return Perform(RunHook()) if facts.has_hook else finished(facts)


def conclude_hook(facts: Facts, reply: Reply) -> Outcome:
    """The workspace is awake already, and stays so however the hook ends."""
    if isinstance(reply, HookRan):
        data = {"exit_code": reply.code, "output": reply.output[-_SHOWN:]}
        if reply.code == 0:
            return finished(facts, (Emit(EventType.HOOK_RAN, "the post-wake hook ran", data),))
        why = f"the post-wake hook ended with {reply.code}"
        return finished(facts, (Emit(EventType.HOOK_FAILED, why, data),))
    if isinstance(reply, DumontError) and not overdue(facts, facts.limits.hook):
        return again(facts, reply)
    why = reply.message if isinstance(reply, DumontError) else "no answer"
    return hook_dropped(facts, f"the post-wake hook could not be run: {why}")


def hook_dropped(facts: Facts, reason: str) -> Finish:
    return finished(facts, (Emit(EventType.HOOK_FAILED, reason),))

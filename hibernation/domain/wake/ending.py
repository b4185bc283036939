"""How a wake ends without success, and how it parts with a machine that disappoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hibernation.domain.facts import Facts, Memo
from hibernation.domain.offers import Verdict
from hibernation.domain.outcomes import (
    Change,
    Changes,
    DismissSpare,
    Emit,
    Finish,
    ForgetMachine,
    ForgetSpare,
    Go,
    JudgeHost,
    Outcome,
    SetMachine,
    SetStatus,
)
from hibernation.domain.pacing import machine_of
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.domain.wake import spares

BACK_TO = {
    InstanceStatus.HIBERNATED: InstanceStatus.HIBERNATED,
    InstanceStatus.DELETED: InstanceStatus.DELETED,
}
HELD = frozenset({MachineState.LAUNCHED, MachineState.SPARE, MachineState.ACTIVE})


def is_needed(facts: Facts) -> bool:
    """Whether the machine's disk may be the only place that has the workspace right: nothing ends it then."""
    machine = facts.machine
    return machine is not None and (not machine.is_saved or facts.operation.memo.unsaved)


def keep_needed(facts: Facts, reason: str) -> Finish:
    """End the wake without its machine, which no other can stand in for."""
    kept = "its disk is kept, for it alone may have the workspace right"
    return give_up(facts, "machine_needed", f"{reason}; {kept}")


def give_up(
    facts: Facts, code: str, reason: str, *, cancelled: bool = False, data: Mapping[str, Any] | None = None
) -> Finish:
    """End the wake. The workspace stays safe in storage; what is already rented is sent away."""
    if facts.operation.memo.unsaved:
        return _leave_running(facts, code, reason, cancelled=cancelled)
    back = (
        BACK_TO.get(facts.operation.status_before, InstanceStatus.FAILED)
        if cancelled
        else InstanceStatus.FAILED
    )
    event = EventType.OPERATION_CANCELLED if cancelled else EventType.FAILED
    changes = (
        *_part(facts, reason),
        *_part_with_spare(facts, reason),
        SetStatus(back),
        Emit(event, f"wake ended: {reason}", {"code": code, **(data or {})}),
    )
    return Finish(changes, error_code=code, error=reason, cancelled=cancelled)


def _leave_running(facts: Facts, code: str, reason: str, *, cancelled: bool) -> Finish:
    """Somebody started the machine before us and may work there: it goes on, and is looked after as any that does."""
    event = EventType.OPERATION_CANCELLED if cancelled else EventType.FAILED
    changes = (
        SetMachine(MachineState.ACTIVE, reason="it runs, and not by us"),
        SetStatus(InstanceStatus.RUNNING),
        Emit(event, f"wake ended: {reason}; its machine runs, and not by us", {"code": code}),
    )
    return Finish(changes, error_code=code, error=reason, cancelled=cancelled)


def reject(facts: Facts, reason: str, verdict: Verdict | None = Verdict.FAILED) -> Outcome:
    """Send this machine away and take the next offer, on another host; not for ever. With a spare, that one goes on."""
    if is_needed(facts):
        return keep_needed(facts, reason)
    judged = judge(facts, verdict, reason)
    memo = facts.operation.memo
    if _is_last(facts):
        ended = give_up(
            facts, "machines_exhausted", f"{memo.attempt} machines failed, the last one: {reason}"
        )
        return replace(ended, changes=(*judged, *ended.changes))
    host = machine_of(facts).host
    emit = Emit(EventType.MACHINE_REJECTED, reason, {"host": host})
    changes = (*_part(facts, reason), emit, ForgetMachine(), *judged)
    return _go_on(facts, changes, host)


def not_rented(
    facts: Facts,
    reason: str,
    verdict: Verdict | None = None,
    *,
    state: MachineState = MachineState.VOID,
) -> Outcome:
    """Nothing was rented under this label, as far as is known: the next offer, not for ever."""
    gone: Changes = (SetMachine(state, reason=reason),)
    return next_offer(facts, gone, reason, verdict)


def next_offer(facts: Facts, gone: Changes, reason: str, verdict: Verdict | None) -> Outcome:
    """After ``gone``, which settles the machine of this launch."""
    memo, host = facts.operation.memo, machine_of(facts).host
    emit = Emit(EventType.MACHINE_REJECTED, reason, {"host": host})
    changes: Changes = (*gone, emit, ForgetMachine(), *judge(facts, verdict, reason))
    if _is_last(facts):
        last = f"{memo.attempt} launches failed, the last one: {reason}"
        ended = give_up(replace(facts, machine=None), "machines_exhausted", last)
        return replace(ended, changes=(*changes, *ended.changes))
    return _go_on(facts, changes, host)


def _is_last(facts: Facts) -> bool:
    """A machine that is tried beside another costs the wake no attempt."""
    memo = facts.operation.memo
    return facts.spare is None and memo.attempt >= facts.limits.launch_attempts + memo.hedged


def _go_on(facts: Facts, changes: Changes, avoided: str) -> Go:
    memo = without_machine(facts.operation.memo, avoided)
    return Go("choose", changes, memo) if facts.spare is None else spares.back(memo, changes)


def judge(facts: Facts, verdict: Verdict | None, reason: str) -> tuple[JudgeHost, ...]:
    offer = facts.operation.memo.offer
    return () if offer is None or verdict is None else (JudgeHost(offer, verdict, reason),)


def without_machine(memo: Memo, host: str) -> Memo:
    """What a wake still knows when it begins again on another machine."""
    avoid = (*memo.avoid_hosts, host) if host else memo.avoid_hosts
    return Memo(attempt=memo.attempt, avoid_hosts=avoid, slow=memo.slow, hedged=memo.hedged, spare=memo.spare)


def _part(facts: Facts, reason: str) -> tuple[Change, ...]:
    machine = facts.machine
    if machine is not None and machine.state in HELD:
        after = MachineState.PARKED if is_needed(facts) else MachineState.DESTROYING
        return (SetMachine(after, reason=reason),)
    if machine is not None and machine.state is MachineState.INTENDED:
        # A launch that was put off rented nothing; any other may show up yet, and is ended then.
        state = MachineState.VOID if facts.operation.memo.deferred else MachineState.ABANDONED
        return (SetMachine(state, reason=reason),)
    return ()


def _part_with_spare(facts: Facts, reason: str) -> tuple[Change, ...]:
    if facts.spare is None:
        return ()
    return (DismissSpare(reason),) if facts.spare.state in HELD else (ForgetSpare(),)

"""Wake: choose → launch → reach → install → thaw → confirm. A machine that disappoints is rejected, the next chosen.

The first start of a fresh instance is a wake without a snapshot. Rejected machines are left in ``destroying``; the
reconciler ends them and has it confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hibernation.domain import choosing
from hibernation.domain.backoff import poll_seconds, retry_seconds
from hibernation.domain.effects import (
    InstallAgent,
    JobSeen,
    Launch,
    Launched,
    ListMachines,
    MachinesSeen,
    OffersSeen,
    Reach,
    Reply,
    RunThaw,
)
from hibernation.domain.errors import DumontError, HostKeyChanged, ProviderRefused
from hibernation.domain.facts import Facts
from hibernation.domain.offers import Verdict, verdict_on
from hibernation.domain.offers.words import headline
from hibernation.domain.outcomes import (
    Change,
    Changes,
    Emit,
    Finish,
    ForgetMachine,
    Go,
    IntendMachine,
    JudgeHost,
    Outcome,
    Perform,
    Plan,
    SetMachine,
    SetStatus,
    Wait,
)
from hibernation.domain.pacing import again, goes_on, look_again, machine_of, overdue, restarted, silent
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.domain.step import Step

BACK_TO = {
    InstanceStatus.HIBERNATED: InstanceStatus.HIBERNATED,
    InstanceStatus.DELETED: InstanceStatus.DELETED,
}
HELD = frozenset({MachineState.LAUNCHED, MachineState.ACTIVE})


def give_up(
    facts: Facts, code: str, reason: str, *, cancelled: bool = False, data: Mapping[str, Any] | None = None
) -> Finish:
    """End the wake. The workspace stays safe in storage; a machine already rented is sent away."""
    machine = facts.machine
    changes: list[Change] = []
    if machine is not None and machine.state in HELD:
        changes.append(SetMachine(MachineState.DESTROYING, reason=reason))
    if machine is not None and machine.state is MachineState.INTENDED:
        changes.append(SetMachine(MachineState.ABANDONED, reason=reason))
    back = (
        BACK_TO.get(facts.operation.status_before, InstanceStatus.FAILED)
        if cancelled
        else InstanceStatus.FAILED
    )
    changes.append(SetStatus(back))
    event = EventType.OPERATION_CANCELLED if cancelled else EventType.FAILED
    changes.append(Emit(event, f"wake ended: {reason}", {"code": code, **(data or {})}))
    return Finish(tuple(changes), error_code=code, error=reason, cancelled=cancelled)


def reject(facts: Facts, reason: str) -> Outcome:
    """Send this machine away and take the next offer, on another host; not for ever."""
    memo = facts.operation.memo
    if memo.attempt >= facts.limits.launch_attempts:
        last = f"{memo.attempt} machines failed, the last one: {reason}"
        ended = give_up(facts, "machines_exhausted", last)
        return replace(ended, changes=(*_judge(facts, Verdict.FAILED, reason), *ended.changes))
    host = machine_of(facts).host
    changes: list[Change] = [
        Emit(EventType.MACHINE_REJECTED, reason, {"host": host}),
        ForgetMachine(),
        *_judge(facts, Verdict.FAILED, reason),
    ]
    if machine_of(facts).state in HELD:
        changes.insert(0, SetMachine(MachineState.DESTROYING, reason=reason))
    memo = replace(memo, avoid_hosts=(*memo.avoid_hosts, host), offer=None, job_failures=0, reinstalled=False)
    return Go("choose", tuple(changes), memo)


def _judge(facts: Facts, verdict: Verdict | None, reason: str) -> tuple[JudgeHost, ...]:
    offer = facts.operation.memo.offer
    return () if offer is None or verdict is None else (JudgeHost(offer, verdict, reason),)


def _plan_choose(facts: Facts) -> Plan:
    if facts.machine is not None and facts.machine.state in (MachineState.INTENDED, MachineState.LAUNCHED):
        return Go("launch")
    return Perform(choosing.search(facts))


def _conclude_choose(facts: Facts, reply: Reply) -> Outcome:
    late = overdue(facts, facts.limits.choose)
    if isinstance(reply, DumontError):
        reason = f"the offers cannot be listed: {reply.message}"
        return give_up(facts, "no_offer", reason) if late else again(facts, reply)
    if not isinstance(reply, OffersSeen):
        raise TypeError(reply)
    ranking = choosing.ranking_of(facts, reply)
    if ranking.best is not None:
        memo = replace(facts.operation.memo, offer=ranking.best.offer)
        return Go("launch", (choosing.selected(ranking.best, ranking),), memo)
    why, data = choosing.advice_of(ranking) if reply.widely else ("no offer fits now", {})
    if late and reply.widely:
        return give_up(facts, "no_offer", why, data=data)
    return Wait(retry_seconds(facts.operation.failures, cap=15), why, failed=True)


def _plan_launch(facts: Facts) -> Plan:
    """Intent first. A second visit never launches: it looks for the label."""
    machine, offer = facts.machine, facts.operation.memo.offer
    if machine is not None and machine.state is MachineState.LAUNCHED:
        return Go("reach")
    if machine is not None and machine.state is MachineState.INTENDED:
        return Perform(ListMachines(), memo=replace(facts.operation.memo, looking=True))
    if offer is None:
        return Go("choose")
    memo = replace(facts.operation.memo, attempt=facts.operation.memo.attempt + 1, looking=False)
    # The label is filled in by the edge from the intent row it has just written.
    return Perform(Launch("", offer), (IntendMachine(offer),), memo)


def _conclude_launch(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, Launched):
        return _launched(facts, reply.contract_id)
    if isinstance(reply, ProviderRefused) and not facts.operation.memo.looking:
        return _not_rented(facts, MachineState.VOID, reply.message, verdict_on(reply))
    machine = machine_of(facts)
    if isinstance(reply, MachinesSeen):
        found = reply.by_label.get(machine.label)
        if found is not None:
            return _launched(facts, found)
        if facts.now - machine.intended_at > facts.limits.label_settle:
            return _not_rented(
                facts, MachineState.ABANDONED, "the launch was not answered and no machine appeared"
            )
    why = reply.message if isinstance(reply, DumontError) else "looking for the machine by its label"
    return Wait(min(2.0, retry_seconds(facts.operation.failures)), why, failed=True)


def _launched(facts: Facts, contract_id: str) -> Go:
    offer = facts.operation.memo.offer
    place = headline(offer) if offer else "a machine"
    emit = Emit(EventType.MACHINE_LAUNCHED, f"rented {place}", {"contract_id": contract_id})
    return Go("reach", (SetMachine(MachineState.LAUNCHED, contract_id), emit))


def _not_rented(facts: Facts, state: MachineState, reason: str, verdict: Verdict | None = None) -> Outcome:
    memo = facts.operation.memo
    host = machine_of(facts).host
    emit = Emit(EventType.MACHINE_REJECTED, reason, {"host": host})
    judged = _judge(facts, verdict, reason)
    changes: Changes = (SetMachine(state, reason=reason), emit, ForgetMachine(), *judged)
    if memo.attempt >= facts.limits.launch_attempts:
        last = f"{memo.attempt} launches failed, the last one: {reason}"
        ended = give_up(replace(facts, machine=None), "machines_exhausted", last)
        return replace(ended, changes=(*changes, *ended.changes))
    return Go("choose", changes, replace(memo, offer=None, avoid_hosts=(*memo.avoid_hosts, host)))


def _plan_reach(facts: Facts) -> Plan:
    contract = machine_of(facts).contract_id
    return Perform(Reach(contract)) if contract is not None else Go("launch")


def _conclude_reach(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _machine_trouble(facts, reply, facts.limits.reach, quick=True)
    return Go("install", (Emit(EventType.MACHINE_REACHED, "the machine answers over SSH"),))


def _machine_trouble(facts: Facts, error: DumontError, allowed: timedelta, *, quick: bool = False) -> Outcome:
    if isinstance(error, HostKeyChanged) or silent(facts, allowed):
        return reject(facts, error.message)
    seconds = poll_seconds(facts.operation.waits) if quick else retry_seconds(facts.operation.failures)
    return Wait(seconds, error.message, failed=True)


def _plan_install(facts: Facts) -> Plan:
    return Perform(InstallAgent())


def _conclude_install(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _machine_trouble(facts, reply, facts.limits.install)
    return Go("thaw" if facts.snapshot is not None else "confirm")


def _plan_thaw(facts: Facts) -> Plan:
    if facts.snapshot is None:
        return Go("confirm")
    memo = facts.operation.memo
    return Perform(RunThaw(again=memo.restart), memo=restarted(memo))


def _conclude_thaw(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _machine_trouble(facts, reply, facts.limits.thaw_unreachable)
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
        return reject(facts, reason)
    if reply.error_code == "snapshot_unproven":
        return give_up(facts, "snapshot_unproven", reason)
    failures = facts.operation.memo.job_failures + 1
    if failures > facts.limits.freeze_restarts:
        return reject(facts, reason)
    memo = replace(facts.operation.memo, job_failures=failures, restart=True)
    return Wait(retry_seconds(failures), reason, memo=memo, failed=True)


def _plan_confirm(facts: Facts) -> Plan:
    """The first heartbeat with this machine's own token is the proof that it is watched again."""
    machine = machine_of(facts)
    if machine.first_beat_at is not None:
        return _woke(facts)
    if not overdue(facts, facts.limits.first_beat):
        return look_again(facts, "waiting for the agent's first heartbeat")
    if not facts.operation.memo.reinstalled:
        return Go("install", memo=replace(facts.operation.memo, reinstalled=True))
    return reject(facts, "the agent never reported from this machine")


def _woke(facts: Facts) -> Finish:
    restored = facts.snapshot is not None
    event, reason = (
        (EventType.WOKE, "the workspace is back and watched")
        if restored
        else (EventType.REGISTERED, "the machine is up and watched")
    )
    changes = (SetMachine(MachineState.ACTIVE), SetStatus(InstanceStatus.RUNNING), Emit(event, reason))
    taken = (facts.now - facts.operation.started_at).total_seconds()
    return Finish(changes, {"success": True, "snapshot_restored": restored, "time_taken": round(taken, 1)})


def _conclude_confirm(facts: Facts, reply: Reply) -> Outcome:
    raise AssertionError("confirm performs no effect")


def before(facts: Facts) -> Outcome | None:
    """Asked before every step's plan: reasons that overrule it. A launch in doubt is resolved first."""
    operation, machine = facts.operation, facts.machine
    unclear = machine is not None and machine.state is MachineState.INTENDED
    if unclear:
        return None
    if machine is not None and machine.state not in HELD:
        return reject(facts, "the machine vanished from the provider's list")
    if operation.cancel_reason:
        return give_up(facts, operation.cancel_reason, operation.cancel_reason, cancelled=True)
    if facts.now > operation.deadline_at:
        return give_up(facts, "deadline", "it was not done before its deadline")
    return None


STEPS = (
    Step("choose", "provision", _plan_choose, _conclude_choose),
    Step("launch", "provision", _plan_launch, _conclude_launch),
    Step("reach", "provision", _plan_reach, _conclude_reach),
    Step("install", "provision", _plan_install, _conclude_install),
    Step("thaw", "transfer", _plan_thaw, _conclude_thaw),
    Step("confirm", "control", _plan_confirm, _conclude_confirm),
)
CHAIN = ("choose", "launch", "reach", "install", "thaw", "confirm")

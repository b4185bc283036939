"""resume: a wake whose machine was kept warm starts that one again, and looks for another only if it cannot. Pure.

Its disk is what the snapshot has: writers were paused, the workspace compared with the copy, then the machine stopped.
Nothing is restored, and it is ended for another one only as long as that copy is good.
"""

from __future__ import annotations

from dataclasses import replace

from hibernation.domain.effects import Look, MachineSeen, Reply, StartMachine, Trial
from hibernation.domain.errors import DumontError, NotFound, ProviderRefused
from hibernation.domain.facts import Facts, MachineFacts
from hibernation.domain.keeping_warm import FRESH
from hibernation.domain.offers import Offer, OfferFilter
from hibernation.domain.offers.fitting import Constraint, misfits
from hibernation.domain.outcomes import Emit, ForgetMachine, Go, Outcome, Perform, Plan, SetMachine, Wait
from hibernation.domain.pacing import again, look_again, machine_of, overdue
from hibernation.domain.states import EventType, MachineState, Phase
from hibernation.domain.wake import ending

_ASKED = {
    Constraint.GPU_TYPE: "its GPU",
    Constraint.GPU_COUNT: "the number of its GPUs",
    Constraint.REGION: "its region",
    Constraint.PRICE: "its price",
}
_UP = (Phase.RUNNING, Phase.LOADING)


def before(facts: Facts, *, late: bool) -> Outcome | None:
    machine, reason = facts.machine, facts.operation.cancel_reason
    if machine is None or machine.state not in (MachineState.PARKED, MachineState.LAUNCHED):
        return Go("choose", (ForgetMachine(),), ending.without_machine(facts.operation.memo, ""))
    if reason:
        return ending.give_up(facts, reason, reason, cancelled=True)
    return ending.give_up(facts, "deadline", "it was not done before its deadline") if late else None


def plan_resume(facts: Facts) -> Plan:
    """Looked at first: whoever started it meanwhile may have work on it. A start is written down before it is sent."""
    machine, memo = machine_of(facts), facts.operation.memo
    contract = machine.contract_id or ""
    if machine.state is MachineState.LAUNCHED:
        return Perform(StartMachine(contract))
    if memo.start_wanted and facts.now.timestamp() - memo.phase_at <= FRESH.total_seconds():
        launched = SetMachine(MachineState.LAUNCHED, reason="resumed")
        return Perform(StartMachine(contract), (launched,), replace(memo, resumed=True))
    return Perform(Look(contract))


def conclude_resume(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, MachineSeen):
        return _seen(facts, reply)
    if machine_of(facts).state is MachineState.PARKED:
        return _not_seen(facts, reply)
    if not isinstance(reply, DumontError):
        emit = Emit(EventType.MACHINE_RESUMED, "the machine that was kept warm is started again")
        return Go("loading", (emit,), replace(facts.operation.memo, start_wanted=False, phase_at=0.0))
    if isinstance(reply, ProviderRefused | NotFound) or overdue(facts, facts.limits.resume):
        return _elsewhere(facts, f"it cannot be started ({reply.message})", machine_of(facts).host)
    return again(facts, reply)


def _not_seen(facts: Facts, reply: Reply) -> Outcome:
    """A list that fails says nothing: a machine that may run for somebody is not ended for it."""
    if not isinstance(reply, DumontError):
        raise TypeError(reply)
    if overdue(facts, facts.limits.choose):
        reason = f"the machine that is kept warm cannot be looked at: {reply.message}"
        return ending.give_up(facts, reply.code, reason)
    return again(facts, reply)


def _seen(facts: Facts, seen: MachineSeen) -> Outcome:
    memo, machine = facts.operation.memo, machine_of(facts)
    if seen.phase in _UP:
        told = "the machine that was kept warm runs already, and not by us"
        changes = (SetMachine(MachineState.LAUNCHED, reason="resumed"), Emit(EventType.MACHINE_RESUMED, told))
        return Go("loading", changes, replace(memo, resumed=True, unsaved=True))
    if seen.phase is None:
        late = overdue(facts, facts.limits.standstill)
        return _lost(facts, "no list has it any more") if late else look_again(facts, "not listed")
    if seen.phase is Phase.OFFLINE:
        late = overdue(facts, facts.limits.resume)
        return _lost(facts, "it is offline") if late else look_again(facts, "its host is offline")
    if seen.phase is Phase.FAILED:
        return _elsewhere(facts, f"it is {seen.phase}", machine.host)
    wrong = misfit(facts.operation.want, machine)
    if wrong:
        return _elsewhere(facts, f"{wrong} is not what is wished now")
    looked = replace(memo, start_wanted=True, phase_at=facts.now.timestamp())
    return Wait(0.0, "the machine that was kept warm is started", memo=looked)


def misfit(want: OfferFilter, machine: MachineFacts) -> str:
    """What of the machine is not as wished, in words; empty where it fits. Its order is as it was rented."""
    as_offer = Offer(
        provider="",
        offer_id="",
        host=machine.host,
        gpu_type=machine.gpu_type,
        gpu_count=machine.gpu_count,
        region=machine.region,
        country=machine.country,
        price_per_hour=machine.price,
        disk_gb=0,
    )
    return ", ".join(_ASKED[one] for one in misfits(as_offer, want) if one in _ASKED)


def gpu_fault(machine: MachineFacts, tested: Trial) -> str:
    """What is wrong with GPUs that worked before the machine was stopped; empty where nothing is."""
    if len(tested.gpus) < machine.gpu_count:
        return f"it has {len(tested.gpus)} of {machine.gpu_count} GPUs"
    return f"its GPU does not compute: {tested.compute}" if tested.compute else ""


def _lost(facts: Facts, reason: str) -> Outcome:
    """It may have run for somebody: it counts again if it comes back before this wake has succeeded elsewhere."""
    return _elsewhere(facts, reason, machine_of(facts).host, MachineState.LOST)


def _elsewhere(
    facts: Facts, reason: str, avoided: str = "", becomes: MachineState = MachineState.DESTROYING
) -> Outcome:
    """End it and restore on another machine, unless only its disk has the workspace right."""
    if ending.is_needed(facts):
        return ending.keep_needed(facts, reason)
    told = f"the machine that was kept warm is not resumed: {reason}"
    changes = (
        SetMachine(becomes, reason=reason),
        Emit(EventType.MACHINE_REJECTED, told, {"host": machine_of(facts).host}),
        ForgetMachine(),
    )
    return Go("choose", changes, ending.without_machine(facts.operation.memo, avoided))

"""choose → launch: the offer to take, and renting it once, whatever the provider answers. Pure."""

from __future__ import annotations

from dataclasses import replace

from hibernation.domain import choosing
from hibernation.domain.backoff import retry_seconds
from hibernation.domain.effects import (
    Launch,
    Launched,
    ListMachines,
    MachinesSeen,
    OffersSeen,
    Reply,
)
from hibernation.domain.errors import (
    BadOrder,
    DumontError,
    LaunchDeferred,
    LaunchLeftover,
    OutOfCredit,
    ProviderDenied,
    ProviderRefused,
)
from hibernation.domain.facts import Facts
from hibernation.domain.offers import verdict_on
from hibernation.domain.offers.words import headline
from hibernation.domain.outcomes import Emit, Go, IntendMachine, Outcome, Perform, Plan, SetMachine, Wait
from hibernation.domain.pacing import again, machine_of, overdue, pause
from hibernation.domain.states import EventType, MachineState
from hibernation.domain.wake import ending

HOPELESS = (BadOrder, OutOfCredit, ProviderDenied)
"""Another offer would be refused as well: a person has to change the order, the account or the key."""


def plan_choose(facts: Facts) -> Plan:
    if facts.machine is not None and facts.machine.state in (MachineState.INTENDED, MachineState.LAUNCHED):
        return Go("launch")
    return Perform(choosing.search(facts))


def conclude_choose(facts: Facts, reply: Reply) -> Outcome:
    late = overdue(facts, facts.limits.choose)
    if isinstance(reply, HOPELESS):
        return ending.give_up(facts, reply.code, reply.message)
    if isinstance(reply, DumontError):
        reason = f"the offers cannot be listed: {reply.message}"
        return ending.give_up(facts, "no_offer", reason) if late else again(facts, reply)
    if not isinstance(reply, OffersSeen):
        raise TypeError(reply)
    ranking = choosing.ranking_of(facts, reply)
    if ranking.best is not None:
        memo = replace(facts.operation.memo, offer=ranking.best.offer, image_gb=reply.need.image_gb)
        return Go("launch", (choosing.selected(ranking.best, ranking),), memo)
    why, data = choosing.advice_of(ranking) if reply.widely else ("no offer fits now", {})
    if late and reply.widely:
        return ending.give_up(facts, "no_offer", why, data=data)
    return Wait(retry_seconds(facts.operation.failures, cap=15), why, failed=True)


def plan_launch(facts: Facts) -> Plan:
    """Intent first. A second visit looks for the label, and never launches unless the first was only put off."""
    machine, memo = facts.machine, facts.operation.memo
    if machine is not None and machine.state is MachineState.LAUNCHED:
        return Go("loading")
    if machine is not None and machine.state is MachineState.INTENDED:
        if memo.deferred and memo.offer is not None:
            return _launch_deferred(facts)
        return Perform(ListMachines(), memo=replace(memo, looking=True))
    offer = memo.offer
    if offer is None or facts.offer_held:
        # Somebody else is renting it at this moment: nothing is spent on being refused.
        return Go("choose", memo=replace(memo, offer=None))
    memo = replace(memo, attempt=memo.attempt + 1, looking=False, deferred=False)
    # The label is filled in by the edge from the intent row it has just written.
    return Perform(Launch("", offer), (IntendMachine(offer),), memo)


def _launch_deferred(facts: Facts) -> Plan:
    """The same order under the same label, which is its place in line. The permission is used up before the call."""
    memo = facts.operation.memo
    if memo.offer is None:
        raise AssertionError("a launch that was put off without an offer")
    if facts.now - machine_of(facts).intended_at > facts.limits.launch_queue:
        return ending.not_rented(facts, "its turn to be rented did not come in time")
    return Perform(Launch("", memo.offer), memo=replace(memo, deferred=False, looking=False))


def conclude_launch(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, Launched):
        return _launched(facts, reply.contract_id)
    if isinstance(reply, DumontError) and not facts.operation.memo.looking:
        outcome = _refused(facts, reply)
        if outcome is not None:
            return outcome
    machine = machine_of(facts)
    if isinstance(reply, MachinesSeen):
        found = reply.by_label.get(machine.label)
        if found is not None:
            return _launched(facts, found)
        if facts.now - machine.intended_at > facts.limits.label_settle:
            reason = "the launch was not answered and no machine appeared"
            return ending.not_rented(facts, reason, state=MachineState.ABANDONED)
    why = reply.message if isinstance(reply, DumontError) else "looking for the machine by its label"
    seconds = min(2.0, retry_seconds(facts.operation.failures))
    if isinstance(reply, DumontError):
        seconds = pause(reply, seconds)
    return Wait(seconds, why, failed=True)


def _refused(facts: Facts, error: DumontError) -> Outcome | None:
    """What follows from an answer to the launch itself; ``None``: it says nothing, something may have been rented."""
    if isinstance(error, LaunchDeferred):
        memo = replace(facts.operation.memo, deferred=True)
        return Wait(max(error.retry_after, 0.1), error.message, memo=memo)
    if isinstance(error, LaunchLeftover):
        gone = (
            SetMachine(MachineState.LAUNCHED, error.contract_id),
            SetMachine(MachineState.DESTROYING, reason=error.message),
        )
        return ending.next_offer(facts, gone, error.message, verdict_on(error))
    if isinstance(error, HOPELESS):
        changes = (SetMachine(MachineState.VOID, reason=error.message),)
        ended = ending.give_up(replace(facts, machine=None), error.code, error.message)
        return replace(ended, changes=(*changes, *ended.changes))
    if isinstance(error, ProviderRefused):
        return ending.not_rented(facts, error.message, verdict_on(error))
    return None


def _launched(facts: Facts, contract_id: str) -> Go:
    offer = facts.operation.memo.offer
    place = headline(offer) if offer else "a machine"
    emit = Emit(EventType.MACHINE_LAUNCHED, f"rented {place}", {"contract_id": contract_id})
    return Go("loading", (SetMachine(MachineState.LAUNCHED, contract_id), emit))

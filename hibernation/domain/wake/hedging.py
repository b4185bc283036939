"""A second machine beside one that is slow to answer: choose → launch → race; the first to answer wins. Pure.

At most one such hedge a wake, on another machine of another operator, for a bounded price. A second machine that does
not come at once is done without. In the race the two take turns; each is judged by its own clock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hibernation.domain.durations import in_words
from hibernation.domain.effects import OffersSeen, Reply
from hibernation.domain.errors import DumontError, LaunchDeferred
from hibernation.domain.facts import Facts, Limits
from hibernation.domain.offers import Need, Offer
from hibernation.domain.offers.words import headline
from hibernation.domain.outcomes import (
    Change,
    Changes,
    Emit,
    ForgetMachine,
    ForgetSpare,
    Go,
    Outcome,
    SetAside,
    SetMachine,
)
from hibernation.domain.pacing import entered, machine_of, overdue
from hibernation.domain.states import EventType, MachineState
from hibernation.domain.wake import arriving, ending, renting, spares

ANSWERS_WITHIN = timedelta(seconds=20)
"""So long a machine that runs is waited for alone: most are reached in their first seconds."""


def before(facts: Facts) -> Outcome | None:
    """Asked before every step's plan: whether another machine is to be tried, and what two of them mean for a step."""
    memo = facts.operation.memo
    if facts.spare is None:
        return _set_aside(facts) if _is_due(facts) else None
    if facts.spare.state not in ending.HELD:
        return _without_spare(facts)
    if facts.operation.step == "loading":
        now = facts.now.timestamp()
        return Go("race", memo=replace(memo, stage="loading", stage_at=now, came_at=now))
    return None


def _is_due(facts: Facts) -> bool:
    memo, machine, limits = facts.operation.memo, facts.machine, facts.limits
    if facts.operation.step not in ("loading", "reach") or memo.hedged or not limits.hedge_most_usd:
        return False
    if machine is None or machine.state is not MachineState.LAUNCHED:
        return False
    if memo.offer is None or not _is_sold_by_host(memo.offer):
        return False
    waited = facts.now.timestamp() - _came_at(facts)
    nearly_up = facts.operation.step == "reach" and not overdue(facts, ANSWERS_WITHIN)
    return waited >= limits.hedge_after.total_seconds() and not nearly_up


def _is_sold_by_host(offer: Offer) -> bool:
    """Else one may be given the same host twice."""
    return bool(offer.host) and offer.host != offer.offer_id


def _came_at(facts: Facts) -> float:
    return facts.operation.memo.came_at or facts.operation.entered_at.timestamp()


def _set_aside(facts: Facts) -> Go:
    memo, step = facts.operation.memo, facts.operation.step
    stage_at, came_at = entered(facts).timestamp(), _came_at(facts)
    known = replace(spares.arrival_of(memo), stage=step, stage_at=stage_at, came_at=came_at)
    return Go("choose", (SetAside(),), replace(ending.without_machine(memo, ""), hedged=True, spare=known))


def _without_spare(facts: Facts) -> Go:
    """The one that was set aside is gone, as the reconciler has told. What is in hand, if anything, goes on."""
    memo = replace(facts.operation.memo, spare=None)
    step = memo.stage if facts.operation.step == "race" else facts.operation.step
    return Go(step, (ForgetSpare(), *spares.launched_again(facts)), replace(memo, stage="", due_at=0.0))


def conclude_choose(facts: Facts, reply: Reply) -> Outcome:
    """As ever; but for a second machine nothing is waited for."""
    if facts.spare is None:
        return renting.conclude_choose(facts, reply)
    if isinstance(reply, OffersSeen):
        fits = (offer for offer in reply.offers if _may_stand_beside(facts, offer, reply.need))
        reply = replace(reply, offers=tuple(fits))
    outcome = renting.conclude_choose(facts, reply)
    if not isinstance(outcome, Go):
        return spares.back(ending.without_machine(facts.operation.memo, ""))
    return replace(outcome, changes=tuple(_with_reason(facts, change) for change in outcome.changes))


def _with_reason(facts: Facts, change: Change) -> Change:
    if not isinstance(change, Emit) or change.event is not EventType.OFFER_SELECTED:
        return change
    return replace(change, reason=f"{_why(facts)}, so a second is tried: {change.reason}")


def _may_stand_beside(facts: Facts, offer: Offer, need: Need) -> bool:
    first = spares.spare_of(facts.operation.memo).offer
    same = first is not None and (
        offer.host == first.host or (offer.operator and offer.operator == first.operator)
    )
    dear = most_usd(offer, need.image_gb, facts.limits) > facts.limits.hedge_most_usd
    return _is_sold_by_host(offer) and not same and not dear


def most_usd(offer: Offer, image_gb: float, limits: Limits) -> Decimal:
    """What a machine may cost until it answers or is sent away, as if its whole price counted from the first second."""
    most = arriving.time_to_load(offer, image_gb, limits) + limits.reach
    return offer.price_per_hour * Decimal(most.total_seconds()) / 3600


def _why(facts: Facts) -> str:
    return f"{in_full(spares.spare_of(facts.operation.memo).offer)} does not answer after {in_words(_waited(facts))}"


def _waited(facts: Facts) -> timedelta:
    return timedelta(seconds=facts.now.timestamp() - spares.spare_of(facts.operation.memo).came_at)


def in_full(offer: Offer | None) -> str:
    return headline(offer) if offer is not None else "the machine"


def as_data(offer: Offer | None) -> dict[str, str]:
    if offer is None:
        return {}
    return {
        "offer_id": offer.offer_id,
        "host": offer.host,
        "price_per_hour_usd": str(offer.price_per_hour),
    }


def conclude_launch(facts: Facts, reply: Reply) -> Outcome:
    """As ever; but what cannot be rented at once is not rented, for whatever reason: the first machine is there."""
    clear = isinstance(reply, (LaunchDeferred, *renting.HOPELESS)) and not facts.operation.memo.looking
    if facts.spare is not None and isinstance(reply, DumontError) and clear:
        return _not_rented(facts, reply.message)
    outcome = renting.conclude_launch(facts, reply)
    if facts.spare is None or not isinstance(outcome, Go) or outcome.memo is not None:
        # With a memo it is on the way back to the first one.
        return outcome
    return replace(outcome, changes=(*outcome.changes, _told(facts)))


def _not_rented(facts: Facts, reason: str) -> Go:
    """No host's fault, and no attempt of the wake."""
    changes: Changes = (
        SetMachine(MachineState.VOID, reason=reason),
        Emit(EventType.MACHINE_REJECTED, reason, {"host": machine_of(facts).host}),
        ForgetMachine(),
    )
    return spares.back(ending.without_machine(facts.operation.memo, ""), changes)


def _told(facts: Facts) -> Emit:
    memo = facts.operation.memo
    first, second = spares.spare_of(memo).offer, memo.offer
    data = {
        "first": as_data(first),
        "second": as_data(second),
        "waited_seconds": round(_waited(facts).total_seconds()),
        "most_usd": "" if second is None else f"{most_usd(second, memo.image_gb, facts.limits):.2f}",
    }
    return Emit(EventType.HEDGE_STARTED, f"{_why(facts)}: {in_full(second)} is tried beside it", data)

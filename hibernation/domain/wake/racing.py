"""race: two machines of one wake come up side by side; the first that answers goes on, the other is sent away. Pure.

They take turns. Whichever is in hand is judged as if it were alone, by its own clock.
"""

from __future__ import annotations

from dataclasses import replace

from hibernation.domain.effects import Reply
from hibernation.domain.facts import Arrival, Facts, Memo
from hibernation.domain.offers import Verdict
from hibernation.domain.outcomes import (
    Changes,
    DismissSpare,
    Emit,
    Finish,
    Go,
    JudgeHost,
    Outcome,
    Plan,
    SwapMachines,
    Wait,
)
from hibernation.domain.states import EventType
from hibernation.domain.wake import arriving, spares
from hibernation.domain.wake.hedging import as_data, in_full


def plan_race(facts: Facts) -> Plan:
    """The next look at the machine whose turn it is."""
    reaching = facts.operation.memo.stage == "reach"
    return arriving.plan_reach(facts) if reaching else arriving.plan_loading(facts)


def conclude_race(facts: Facts, reply: Reply) -> Outcome:
    """What the look says of the machine in hand, as if it were alone; where that one is rejected, the other goes on."""
    memo = facts.operation.memo
    reaching = memo.stage == "reach"
    outcome = arriving.conclude_reach(facts, reply) if reaching else arriving.conclude_loading(facts, reply)
    if isinstance(outcome, Wait):
        return _next_turn(facts, outcome)
    if isinstance(outcome, Finish):
        return outcome
    memo = outcome.memo or memo
    if memo.spare is None:
        return outcome
    if reaching:
        return _won(facts, outcome)
    up = replace(memo, stage="reach", stage_at=facts.now.timestamp())
    return _next_turn(facts, Wait(0.0, "it runs", memo=up))


def _next_turn(facts: Facts, wait: Wait) -> Wait:
    """Each machine is looked at when it is due; whose time comes first is in hand next."""
    now = facts.now.timestamp()
    memo = replace(wait.memo or facts.operation.memo, due_at=now + wait.seconds)
    other = max(now, spares.spare_of(memo).due_at)
    if other > memo.due_at:
        return replace(wait, memo=memo)
    changes = (*wait.changes, SwapMachines())
    return replace(wait, seconds=other - now, changes=changes, memo=spares.swapped(memo))


def _won(facts: Facts, outcome: Go) -> Go:
    """It answers: the other is sent away in the same moment."""
    memo, loser = facts.operation.memo, spares.spare_of(facts.operation.memo)
    reason = "the machine beside it answered first"
    told = Emit(EventType.SPARE_DISMISSED, f"{in_full(loser.offer)}: {reason}", as_data(loser.offer))
    changes = (
        *outcome.changes,
        DismissSpare(reason),
        told,
        *_judged(memo, loser),
        *spares.launched_again(facts),
    )
    return replace(outcome, changes=changes, memo=replace(memo, spare=None, stage="", due_at=0.0))


def _judged(memo: Memo, loser: Arrival) -> Changes:
    """Whoever is overtaken in spite of a long start is no use for a while; whoever merely came second is."""
    if loser.offer is None or loser.came_at >= memo.came_at:
        return ()
    return (JudgeHost(loser.offer, Verdict.TOO_SLOW, "a machine that was rented later answered first"),)

"""The operation core, pure: which step, what it plans, how it concludes, and who may claim it.

The control plane and the simulator run these very functions; only the edges differ.
"""

from __future__ import annotations

from datetime import datetime

from hibernation.domain import adopt, hibernate, snapshot, wake
from hibernation.domain.effects import Reply
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import Outcome, Plan
from hibernation.domain.states import OperationKind
from hibernation.domain.step import Step

_MODULES = {
    OperationKind.HIBERNATE: hibernate,
    OperationKind.WAKE: wake,
    OperationKind.SNAPSHOT: snapshot,
    OperationKind.ADOPT: adopt,
}
STEPS: dict[OperationKind, dict[str, Step]] = {
    kind: {step.name: step for step in module.STEPS} for kind, module in _MODULES.items()
}
CHAINS: dict[OperationKind, tuple[str, ...]] = {kind: module.CHAIN for kind, module in _MODULES.items()}


def first_step(kind: OperationKind, *, parked: bool) -> str:
    """Where an operation begins. ``parked``: the instance has a machine that is kept warm."""
    return wake.RESUME.name if kind is OperationKind.WAKE and parked else CHAINS[kind][0]


def step_of(facts: Facts) -> Step:
    return STEPS[facts.operation.kind][facts.operation.step]


def plan(facts: Facts) -> Plan:
    """What to do now. Runs in the claim transaction under the instance's lock."""
    return _MODULES[facts.operation.kind].before(facts) or step_of(facts).plan(facts)


def conclude(facts: Facts, reply: Reply) -> Outcome:
    """What follows from ``reply``. Runs in the settle transaction, on facts read anew under the lock.

    What saves a workspace stops for any doubt that came up meanwhile. A wake concludes first, so that a machine it has
    just rented is never forgotten; its doubts are heard before the next step.
    """
    if facts.operation.kind is OperationKind.WAKE:
        return step_of(facts).conclude(facts, reply)
    return _MODULES[facts.operation.kind].before(facts) or step_of(facts).conclude(facts, reply)


def remaining_steps(kind: OperationKind, step: str) -> tuple[str, ...]:
    """The chain from ``step`` on. A step outside the chain (``release``) stands alone."""
    chain = CHAINS[kind]
    return chain[chain.index(step) :] if step in chain else (step,)


def claimable(*, due_at: datetime, lease_until: datetime | None, now: datetime) -> bool:
    """Whether a running operation's step may be taken: due, and nobody holds it or its holder's lease ran out."""
    return due_at <= now and (lease_until is None or lease_until <= now)


def holds(*, lease_until: datetime | None, now: datetime) -> bool:
    """Whether the worker whose token is on the row may still act on its claim, and later settle it.

    Asked right before the effect and again when settling: after a long stall even an undisputed result is too old,
    for what a fence saw then says nothing about now.
    """
    return lease_until is not None and lease_until > now

"""Wake: choose → launch → loading → reach → install → test → thaw → confirm → hook. A machine that disappoints is
rejected, the next chosen. Beside one that is slow to answer a second is tried, and the two ``race``.

One whose machine was kept warm begins with ``resume``, outside the chain, and goes on from ``loading`` or
``choose``.
The first start of a fresh instance is a wake without a snapshot. Rejected machines are left in ``destroying``; the
reconciler ends them and has it confirmed.
"""

from __future__ import annotations

from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import Outcome
from hibernation.domain.states import MachineState
from hibernation.domain.step import Step
from hibernation.domain.wake import arriving, ending, hedging, racing, renting, restoring, resuming, trying


def before(facts: Facts) -> Outcome | None:
    """Asked before every step's plan: reasons that overrule it. A launch in doubt is resolved first, if it can be."""
    operation, machine = facts.operation, facts.machine
    late = facts.now > operation.deadline_at
    if operation.step == "hook":
        return _without_hook(facts, late=late)
    if operation.step == "resume":
        return resuming.before(facts, late=late)
    intended = machine is not None and machine.state is MachineState.INTENDED
    if intended and not operation.memo.deferred and facts.now <= operation.deadline_at + facts.limits.doubt:
        return None
    if machine is not None and not intended and machine.state not in ending.HELD:
        return ending.reject(facts, "the machine vanished from the provider's list")
    if operation.cancel_reason:
        return ending.give_up(facts, operation.cancel_reason, operation.cancel_reason, cancelled=True)
    if late:
        return ending.give_up(facts, "deadline", "it was not done before its deadline")
    return hedging.before(facts)


def _without_hook(facts: Facts, *, late: bool) -> Outcome | None:
    """The workspace is awake: nothing takes that back, a hook that did not run least of all."""
    if facts.machine is None or facts.machine.state not in ending.HELD:
        return restoring.hook_dropped(facts, "the machine vanished before the post-wake hook ran")
    if facts.operation.cancel_reason or late:
        reason = facts.operation.cancel_reason or "the wake's time is up"
        return restoring.hook_dropped(facts, f"the post-wake hook was not waited for: {reason}")
    return None


RACE = Step("race", "provision", racing.plan_race, racing.conclude_race)
RESUME = Step("resume", "provision", resuming.plan_resume, resuming.conclude_resume)
STEPS = (
    Step("choose", "provision", renting.plan_choose, hedging.conclude_choose),
    Step("launch", "provision", renting.plan_launch, hedging.conclude_launch),
    Step("loading", "provision", arriving.plan_loading, arriving.conclude_loading),
    Step("reach", "provision", arriving.plan_reach, arriving.conclude_reach),
    Step("install", "provision", arriving.plan_install, arriving.conclude_install),
    Step("test", "transfer", trying.plan_test, trying.conclude_test),
    Step("thaw", "transfer", restoring.plan_thaw, restoring.conclude_thaw),
    Step("confirm", "control", restoring.plan_confirm, restoring.conclude_confirm),
    Step("hook", "transfer", restoring.plan_hook, restoring.conclude_hook),
    RACE,
    RESUME,
)
CHAIN = tuple(step.name for step in STEPS if step not in (RACE, RESUME))

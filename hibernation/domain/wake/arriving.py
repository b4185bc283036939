"""loading → reach → install: from a contract to a machine that answers and has its agent. Pure.

Each stage has a time of its own; a machine that needs longer is sent away, whatever it says meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hibernation.domain.backoff import poll_seconds, retry_seconds
from hibernation.domain.durations import in_words
from hibernation.domain.effects import AttachKey, InstallAgent, Look, MachineSeen, Reach, Reply, StartMachine
from hibernation.domain.errors import (
    BoxSilent,
    DumontError,
    HostKeyChanged,
    MachineFailed,
    NoCapacity,
    NotSupported,
    ProviderRefused,
)
from hibernation.domain.facts import Facts, Limits, Memo
from hibernation.domain.offers import Offer, Verdict
from hibernation.domain.outcomes import Emit, Go, Outcome, Perform, Plan, Wait
from hibernation.domain.pacing import again, entered, look_again, machine_of, overdue, pause, silent
from hibernation.domain.states import EventType, Phase
from hibernation.domain.wake import ending

DOWNLOADS_SLOWER = 3.0
"""How much longer an image may take than its size and the advertised network say: it is unpacked as well."""
STILL = frozenset({Phase.STOPPED, Phase.STOPPING, Phase.OFFLINE})


def loading_allowed(facts: Facts) -> timedelta:
    """How long this machine may load its image."""
    return time_to_load(facts.operation.memo.offer, facts.operation.memo.image_gb, facts.limits)


def time_to_load(offer: Offer | None, image_gb: float, limits: Limits) -> timedelta:
    """How long a machine of this offer may load its image."""
    if offer is None or offer.download_mbps <= 0:
        return limits.loading
    seconds = image_gb * 8000 / offer.download_mbps * DOWNLOADS_SLOWER
    return min(limits.loading + timedelta(seconds=seconds), max(limits.loading_most, limits.loading))


def plan_loading(facts: Facts) -> Plan:
    contract, memo = machine_of(facts).contract_id, facts.operation.memo
    if contract is None:
        return Go("launch")
    if not memo.key_attached:
        return Perform(AttachKey(contract))
    return Perform(StartMachine(contract) if memo.start_wanted else Look(contract))


def conclude_loading(facts: Facts, reply: Reply) -> Outcome:
    memo = facts.operation.memo
    if isinstance(reply, MachineSeen):
        return _standing(facts, reply)
    if not memo.key_attached:
        return _attached(facts, reply)
    if memo.start_wanted and (not isinstance(reply, DumontError) or isinstance(reply, NotSupported)):
        return Wait(1.0, "started once more", memo=replace(memo, start_wanted=False, started=True))
    if isinstance(reply, NoCapacity):
        return ending.reject(facts, reply.message, Verdict.NO_CAPACITY)
    # A list that fails says nothing of the machine; only the clock does.
    patience = facts.limits.resume if memo.resumed else facts.limits.loading_most
    if overdue(facts, patience):
        return ending.reject(facts, "it did not come up in time, and the provider did not say why", None)
    return again(facts, reply) if isinstance(reply, DumontError) else look_again(facts, "it comes up")


def _attached(facts: Facts, reply: Reply) -> Outcome:
    """The order has our key too, and whoever does not let us in later is sent it again: no machine ends for this."""
    failed = isinstance(reply, DumontError) and not isinstance(reply, ProviderRefused)
    if isinstance(reply, DumontError) and failed and not overdue(facts, facts.limits.created):
        return again(facts, reply)
    return Wait(0.0, "it comes up", memo=replace(facts.operation.memo, key_attached=True))


def _standing(facts: Facts, seen: MachineSeen) -> Outcome:
    """What follows from where the machine stands by its provider's word."""
    memo = _noted(facts, seen)
    if seen.phase is Phase.RUNNING:
        return Go("reach", memo=replace(memo, stage_at=0.0))
    if seen.phase is Phase.FAILED:
        return failed(facts, seen.reason, our_fault=seen.our_fault)
    # One that was taken for running by a list from before its stop was never told to start.
    lagged = memo.unsaved and seen.phase is Phase.STOPPED
    if (seen.needs_start or lagged) and not memo.started:
        return Wait(0.0, "its start got lost", memo=replace(memo, start_wanted=True))
    late = _too_long(facts, memo, seen)
    if late:
        return ending.reject(facts, f"{late}{_said(seen)}")
    why = f"{seen.phase or 'not listed yet'}{_said(seen)}"
    return Wait(max(1.0, poll_seconds(facts.operation.waits)), why, memo=memo)


def _noted(facts: Facts, seen: MachineSeen) -> Memo:
    memo, phase = facts.operation.memo, seen.phase or ""
    if memo.phase == phase and memo.phase_at:
        return memo
    came_at = memo.came_at or entered(facts).timestamp()
    return replace(memo, phase=str(phase), phase_at=facts.now.timestamp(), came_at=came_at)


def _too_long(facts: Facts, memo: Memo, seen: MachineSeen) -> str:
    """Why it is sent away, if it is."""
    limits, since = facts.limits, facts.now.timestamp() - memo.phase_at
    if memo.resumed:
        # Lists that are some seconds old still show it as it was before its start.
        late = overdue(facts, limits.resume)
        return f"it did not run again within {in_words(limits.resume)}" if late else ""
    allowed = loading_allowed(facts)
    if overdue(facts, allowed):
        return f"it was still loading after {in_words(allowed)}"
    if seen.phase is None and overdue(facts, limits.created):
        return f"it was not listed within {in_words(limits.created)}"
    if seen.phase is Phase.STOPPED and since > limits.standstill.total_seconds():
        return "it was stopped before it was up"
    if seen.phase in STILL and since > limits.running.total_seconds():
        return f"it was {seen.phase} for {in_words(limits.running)}"
    return ""


def _said(seen: MachineSeen) -> str:
    return f": {seen.reason}" if seen.reason else ""


def failed(facts: Facts, reason: str, *, our_fault: bool) -> Outcome:
    """It will not come up. What is wrong with our image or order is wrong on every host."""
    if our_fault and not facts.operation.memo.resumed:
        return ending.give_up(facts, "image_failed", f"the machine cannot run what was ordered: {reason}")
    return ending.reject(facts, f"it will not come up: {reason}" if reason else "it will not come up")


def plan_reach(facts: Facts) -> Plan:
    contract = machine_of(facts).contract_id
    return Perform(Reach(contract)) if contract is not None else Go("launch")


def conclude_reach(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, MachineFailed):
        return failed(facts, reply.message, our_fault=reply.our_fault)
    if isinstance(reply, DumontError):
        return _unreached(facts, reply)
    return Go("install", (Emit(EventType.MACHINE_REACHED, "the machine answers over SSH"),))


def _unreached(facts: Facts, error: DumontError) -> Outcome:
    """Whoever refuses is coming up; whoever says nothing at all for long is not."""
    now, memo = facts.now.timestamp(), facts.operation.memo
    since = (memo.silent_at or now) if isinstance(error, BoxSilent) else 0.0
    if since and now - since > facts.limits.silence.total_seconds():
        return ending.reject(facts, f"{error.message} For {in_words(facts.limits.silence)} by now.")
    outcome = machine_trouble(facts, error, facts.limits.reach, quick=True)
    return replace(outcome, memo=replace(memo, silent_at=since)) if isinstance(outcome, Wait) else outcome


def machine_trouble(facts: Facts, error: DumontError, allowed: timedelta, *, quick: bool = False) -> Outcome:
    if isinstance(error, HostKeyChanged) or silent(facts, allowed):
        return ending.reject(facts, error.message)
    seconds = poll_seconds(facts.operation.waits) if quick else retry_seconds(facts.operation.failures)
    return Wait(pause(error, seconds), error.message, failed=True)


def plan_install(facts: Facts) -> Plan:
    return Perform(InstallAgent(resumed=facts.operation.memo.resumed))


def conclude_install(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return machine_trouble(facts, reply, facts.limits.install)
    return Go("test")

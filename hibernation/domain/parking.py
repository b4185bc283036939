"""Stopping instead of ending: the last steps of a hibernation whose machine is kept warm. Pure.

The gate before it is the one before a destroy. Nothing is parked that could not be destroyed, so whatever does not stop
in time is ended as usual; but only while it was watched all along: one that stopped behind our back and was started by
somebody else may hold new work. What is not known to have run on is left to the reconciler, which takes back what runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hibernation.domain.durations import in_words
from hibernation.domain.effects import MachinesSeen, Reply, StopMachine
from hibernation.domain.errors import DumontError, NotFound, ProviderRefused
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import (
    Changes,
    Emit,
    Finish,
    Go,
    Outcome,
    Park,
    PassPointOfNoReturn,
    Perform,
    Plan,
    SetMachine,
    SetStatus,
)
from hibernation.domain.pacing import again, look_again, machine_of, overdue
from hibernation.domain.states import EventType, InstanceStatus, MachineState, Phase

WATCHED = timedelta(seconds=60)
"""Between two lists that show it running nobody stops a machine, starts it again and works there: not within this."""


_RUNS_ON = (Phase.RUNNING, Phase.STOPPING)


def is_parked(facts: Facts) -> bool:
    return machine_of(facts).state is MachineState.PARKED


def plan_stop(facts: Facts) -> Plan:
    """Stop it, and pass the gate with the first call. The caller has seen that the machine may be ended."""
    first: Changes = () if is_parked(facts) else (PassPointOfNoReturn(), Park(facts.now + facts.warm))
    return Perform(StopMachine(machine_of(facts).contract_id or ""), first)


def conclude_stop(facts: Facts, reply: Reply) -> Outcome:
    """Only a list tells whether it stops; the next stop is sent from there. A refusal counts before one was taken."""
    first = not facts.operation.memo.attempt
    if isinstance(reply, ProviderRefused | NotFound) and first and is_watched(facts):
        return _end_it(facts, f"it could not be stopped ({reply.message})")
    return Go("confirm")


def conclude_confirm(facts: Facts, reply: Reply, *, why: str, gone: Callable[[], Outcome]) -> Outcome:
    """Kept warm once a complete list says that it stands still. ``gone``: what follows if no list has it any more."""
    if not isinstance(reply, MachinesSeen):
        if not isinstance(reply, DumontError):
            raise TypeError(reply)
        return again(facts, reply) if is_watched(facts) or not _late(facts) else _leave(facts)
    contract = machine_of(facts).contract_id or ""
    if contract not in reply.contracts:
        return gone() if machine_of(facts).is_saved else _leave(facts)
    phase = reply.phases.get(contract)
    if phase is Phase.STOPPED:
        return _parked(facts, why)
    if phase in _RUNS_ON:
        return _runs_on(facts)
    # On its way up it is by somebody else's order.
    if phase is Phase.LOADING or _late(facts):
        return _leave(facts)
    return look_again(facts, "the machine stops")


def at_price(usd_hour: Decimal | None) -> str:
    """`` at $0.0014/h``; empty where it is not told."""
    return "" if usd_hour is None else f" at ${usd_hour:.4f}/h"


def _late(facts: Facts) -> bool:
    passed = facts.operation.point_of_no_return_at or facts.now
    return facts.now - passed > facts.limits.park


def _runs_on(facts: Facts) -> Outcome:
    """As it has since the last look: told again to stop, ever later, and ended in the end."""
    memo = facts.operation.memo
    if not is_watched(facts):
        return _leave(facts)
    if _late(facts):
        return _end_it(facts, f"it did not stop within {in_words(facts.limits.park)}")
    memo = replace(memo, answered_at=facts.now.timestamp())
    if overdue(facts, facts.limits.redestroy_after * (1 + memo.attempt)):
        return Go("destroy", memo=replace(memo, attempt=min(memo.attempt + 1, 11)))
    return replace(look_again(facts, "the machine stops"), memo=memo)


def is_watched(facts: Facts) -> bool:
    """Whether a list has shown it running on, or the gate was passed, within the last minute."""
    passed = facts.operation.point_of_no_return_at or facts.now
    seen_at = max(passed.timestamp(), facts.operation.memo.answered_at)
    return facts.now.timestamp() - seen_at <= WATCHED.total_seconds()


def _leave(facts: Facts) -> Outcome:
    """Neither stopped nor ended by us any more: the reconciler takes it back should it run."""
    return _parked(
        facts, "it was told to stop and not watched all along, so it counts as awake should it run"
    )


def _end_it(facts: Facts, why: str) -> Outcome:
    """What does not stop bills, and its copy is proven. Where that was found damaged since, the disk stays."""
    if not machine_of(facts).is_saved:
        return _parked(facts, f"{why}, but its disk alone has the workspace right")
    ended = SetMachine(MachineState.DESTROYING, reason=f"hibernated; {why}")
    return Go("destroy", (ended,), replace(facts.operation.memo, redestroy=True))


def _parked(facts: Facts, why: str) -> Finish:
    machine = machine_of(facts)
    until = machine.parked_until or facts.now
    since = facts.operation.point_of_no_return_at or facts.now
    kept = f"kept warm for {in_words(until - since)}{at_price(machine.disk_price)}"
    data = {
        "contract_id": machine.contract_id,
        "kept_warm_until": until.isoformat(),
        "usd_per_hour": None if machine.disk_price is None else f"{machine.disk_price:f}",
    }
    emit = Emit(EventType.HIBERNATED, f"{why}; the copy is proven and the machine is stopped, {kept}", data)
    name = facts.snapshot.name if facts.snapshot else ""
    result = {"success": True, "snapshot_id": name, "instance_destroyed": False}
    return Finish(
        (SetStatus(InstanceStatus.HIBERNATED), emit), {**result, "kept_warm_until": until.isoformat()}
    )

"""Adopt: attach → reach → install → confirm → label. A machine that somebody else rented comes into our care.

Until the last step it is not ours: whatever fails, it is left alone with the label it had.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hibernation.domain.backoff import retry_seconds
from hibernation.domain.effects import AttachKey, InstallAgent, Reach, Reply, SetLabel
from hibernation.domain.errors import DumontError, HostKeyChanged, NotFound, NotSupported
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import Emit, Finish, Go, Outcome, Perform, Plan, SetMachine, SetStatus, Wait
from hibernation.domain.pacing import again, look_again, machine_of, overdue
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.domain.step import Step


def give_up(facts: Facts, code: str, reason: str, *, cancelled: bool = False) -> Finish:
    """End the adoption. The machine goes on as before, and nobody of us touches it any more."""
    event = EventType.OPERATION_CANCELLED if cancelled else EventType.FAILED
    told = f"not adopted: {reason}; the machine was left alone"
    changes = (
        SetMachine(MachineState.RELEASED, reason=reason),
        SetStatus(InstanceStatus.RELEASED),
        Emit(event, told, {"code": code, "contract_id": _contract(facts)}),
    )
    return Finish(changes, error_code=code, error=reason, cancelled=cancelled)


def _contract(facts: Facts) -> str:
    contract = machine_of(facts).contract_id
    if contract is None:
        raise AssertionError("an adoption without a contract")
    return contract


def _trouble(facts: Facts, error: DumontError, allowed: timedelta) -> Outcome:
    """The same again, until it is clear that it will not help or the time is up."""
    if isinstance(error, (NotFound, HostKeyChanged)) or overdue(facts, allowed):
        return give_up(facts, error.code, error.message)
    # A provider that wants fewer requests says for how long.
    wait, least = again(facts, error), getattr(error, "retry_after", 0.0)
    return replace(wait, seconds=max(wait.seconds, least))


def _plan_attach(facts: Facts) -> Plan:
    return Perform(AttachKey(_contract(facts)))


def _conclude_attach(facts: Facts, reply: Reply) -> Outcome:
    # Where a provider cannot let a key in, somebody may have put it on the machine.
    if isinstance(reply, DumontError) and not isinstance(reply, NotSupported):
        return _trouble(facts, reply, facts.limits.attach)
    return Go("reach")


def _plan_reach(facts: Facts) -> Plan:
    return Perform(Reach(_contract(facts)))


def _conclude_reach(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _trouble(facts, reply, facts.limits.reach)
    return Go("install", (Emit(EventType.MACHINE_REACHED, "the machine answers over SSH"),))


def _plan_install(facts: Facts) -> Plan:
    return Perform(InstallAgent())


def _conclude_install(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return _trouble(facts, reply, facts.limits.install)
    return Go("confirm")


def _plan_confirm(facts: Facts) -> Plan:
    """The first heartbeat with this machine's own token is the proof that it is watched."""
    if machine_of(facts).first_beat_at is not None:
        return Go("label")
    if not overdue(facts, facts.limits.first_beat):
        return look_again(facts, "waiting for the agent's first heartbeat")
    if not facts.operation.memo.reinstalled:
        return Go("install", memo=replace(facts.operation.memo, reinstalled=True))
    return give_up(facts, "agent_silent", "the agent never reported from this machine")


def _conclude_confirm(facts: Facts, reply: Reply) -> Outcome:
    raise AssertionError("confirm performs no effect")


def _plan_label(facts: Facts) -> Plan:
    return Perform(SetLabel(_contract(facts), machine_of(facts).label))


def _conclude_label(facts: Facts, reply: Reply) -> Outcome:
    """The label is for other installations and for people; our own record knows the machine by its contract."""
    if isinstance(reply, NotFound):
        return give_up(facts, reply.code, reply.message)
    if isinstance(reply, DumontError) and not isinstance(reply, NotSupported):
        if not overdue(facts, facts.limits.label):
            return Wait(retry_seconds(facts.operation.failures), reply.message, failed=True)
        return _adopted(facts, f"in our care; it could not be labelled: {reply.message}")
    return _adopted(facts, "in our care and watched")


def _adopted(facts: Facts, reason: str) -> Finish:
    changes = (
        SetMachine(MachineState.ACTIVE),
        SetStatus(InstanceStatus.RUNNING),
        Emit(EventType.ADOPTED, reason, {"contract_id": _contract(facts)}),
    )
    taken = (facts.now - facts.operation.started_at).total_seconds()
    return Finish(changes, {"success": True, "time_taken": round(taken, 1)})


def before(facts: Facts) -> Outcome | None:
    """Asked before every step's plan and conclusion: reasons that overrule it."""
    operation = facts.operation
    if operation.cancel_reason:
        return give_up(facts, operation.cancel_reason, operation.cancel_reason, cancelled=True)
    if facts.now > operation.deadline_at:
        return give_up(facts, "deadline", "it was not done before its deadline")
    return None


STEPS = (
    Step("attach", "provision", _plan_attach, _conclude_attach),
    Step("reach", "provision", _plan_reach, _conclude_reach),
    Step("install", "provision", _plan_install, _conclude_install),
    Step("confirm", "control", _plan_confirm, _conclude_confirm),
    Step("label", "provision", _plan_label, _conclude_label),
)
CHAIN = ("attach", "reach", "install", "confirm", "label")

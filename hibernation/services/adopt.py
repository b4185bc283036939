"""Taking machines into our care that somebody else rented, and the tokens with which a machine asks for it itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from hibernation.domain.errors import Conflict, InvalidRequest, NotFound
from hibernation.domain.regions import OTHER, check_wish
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    Phase,
)
from hibernation.models import Enrolment, Instance, Machine, Operation, Team
from hibernation.providers.base import RentedMachine
from hibernation.providers.registry import get_provider
from hibernation.services.access import Caller
from hibernation.services.clock import db_now
from hibernation.services.heartbeats import Forbidden
from hibernation.services.instances import check_provider, register_instance
from hibernation.services.orders import (
    ENVIRONMENT_FIELDS,
    LONGEST_ONSTART,
    MOST_PORTS,
    check_environment,
    set_environment,
)
from hibernation.services.own_tokens import must_still_count
from hibernation.services.requests import lock_instance, repeated_order
from hibernation.services.starting import new_operation, running_operation, start
from hibernation.services.tokens import create_enrolment, find_enrolment
from hibernation.services.transitions import emit, set_status

OUR_KIND = "dumont-"
"""How the labels of every installation begin."""


class UnderCare(Conflict):
    """This machine is looked after already."""

    code = "under_care"


class NotRunning(Conflict):
    """Only a machine that runs can be adopted."""

    code = "not_running"


class LabelTaken(Conflict):
    """The machine's label says that somebody else looks after it."""

    code = "label_taken"


def request_adoption(
    provider: str,
    contract_id: str,
    *,
    actor: str,
    team: Team,
    name: str = "",
    idempotency_key: str | None = None,
) -> Operation:
    """Take the rental ``contract_id`` under care. Nothing is changed at the provider before an operation row exists.

    ``NotFound`` if a complete list lacks it, or another team has or had it; ``UnderCare`` names the instance;
    ``NotRunning`` with its phase; ``LabelTaken``; ``ProviderError`` without a list. The same key answers the operation
    that it started.
    """
    earlier = _earlier(provider, contract_id, team, idempotency_key)
    if earlier is not None:
        return earlier
    rented = find_rented(provider, contract_id)
    return _take(rented, actor=actor, team=team, name=name, idempotency_key=idempotency_key)


def find_rented(provider: str, contract_id: str) -> RentedMachine:
    """The machine in the provider's present list, which is asked for now."""
    check_provider(provider)
    for machine in get_provider(provider).list_machines():
        if machine.contract_id == contract_id:
            return machine
    raise _unknown(provider, contract_id)


@transaction.atomic
def issue_enrolment(
    provider: str, *, actor: str, team: Team, caller: Caller | None = None
) -> tuple[str, Enrolment]:
    """A token, told once, with which one machine of this provider's account may have itself adopted.

    It dies with the token that ``caller`` asks with; ``NotAllowed`` where that was revoked just now.
    """
    check_provider(provider)
    if caller is not None:
        must_still_count(caller)
    return create_enrolment(provider, actor, team, caller.token if caller is not None else None)


def claim_enrolment(raw: str, contract_id: str) -> Operation:
    """Adopt the machine that shows the token. ``Forbidden`` for a token that is unknown, used up or too old.

    A token whose adoption cannot even begin is not used up.
    """
    enrolment = find_enrolment(raw)
    if enrolment is None:
        raise Forbidden("This token is unknown, was used, or is too old.")
    rented = find_rented(enrolment.provider, contract_id)
    with transaction.atomic():
        claimed = Enrolment.objects.filter(pk=enrolment.pk, claimed_at__isnull=True).update(
            claimed_at=db_now()
        )
        if not claimed:
            raise Forbidden("This token was used just now.")
        operation = _take(rented, actor=enrolment.actor, team=enrolment.team)
        Enrolment.objects.filter(pk=enrolment.pk).update(instance=operation.instance)
    return operation


def _unknown(provider: str, contract_id: str) -> NotFound:
    return NotFound(f"The account at {provider} has no machine {contract_id}.")


def _earlier(provider: str, contract_id: str, team: Team, key: str | None) -> Operation | None:
    machine = Machine.objects.filter(provider=provider, contract_id=contract_id).order_by("-id").first()
    if machine is None or machine.instance is None or machine.instance.team_id != team.pk:
        return None
    return repeated_order(machine.instance, OperationKind.ADOPT, key)


def _take(
    rented: RentedMachine, *, actor: str, team: Team, name: str = "", idempotency_key: str | None = None
) -> Operation:
    try:
        with transaction.atomic():
            return _adopt(rented, actor=actor, team=team, name=name, idempotency_key=idempotency_key)
    except IntegrityError:
        raise UnderCare(f"Machine {rented.contract_id} has just been taken under care.") from None


def _adopt(
    rented: RentedMachine, *, actor: str, team: Team, name: str, idempotency_key: str | None
) -> Operation:
    _refuse_of_others(rented, team)
    _refuse(rented)
    instance = _instance_for(rented, actor=actor, team=team, name=name)
    now = db_now()
    operation = new_operation(
        instance,
        OperationKind.ADOPT,
        now,
        state=OperationState.QUEUED,
        actor=actor,
        reason=f"{rented.provider} machine {rented.contract_id} is to be looked after",
        idempotency_key=idempotency_key,
    )
    operation.save()
    _machine_for(rented, operation, now)
    return start(instance, operation, now)


def _refuse_of_others(rented: RentedMachine, team: Team) -> None:
    """What another team has, or let go of with its work on it, is as if it were not there."""
    machines = Machine.objects.filter(provider=rented.provider, contract_id=rented.contract_id)
    others = machines.filter(instance__isnull=False).exclude(instance__team=team)
    named = Instance.objects.filter(pk=_id_of(rented)).exclude(team=team)
    if others.exists() or named.exists():
        raise _unknown(rented.provider, rented.contract_id)


def _id_of(rented: RentedMachine) -> str:
    return f"{rented.provider}_{rented.contract_id}"


def _refuse(rented: RentedMachine) -> None:
    """Of two who ask at once the database's constraints let one through."""
    known = Machine.objects.filter(provider=rented.provider, contract_id=rented.contract_id)
    ours = known.exclude(state=MachineState.RELEASED).first()
    if ours is not None:
        keeper = f"by {ours.instance_id}" if ours.instance_id else "as one that nobody explains"
        raise UnderCare(f"Machine {rented.contract_id} is looked after already, {keeper} ({ours.state}).")
    if rented.phase is not Phase.RUNNING:
        why = f": {rented.reason}" if rented.reason else ""
        raise NotRunning(f"Machine {rented.contract_id} is {rented.phase}{why}. Start it first.")
    if not rented.label.startswith(OUR_KIND):
        return
    if not rented.label.startswith(settings.DUMONT_LABEL_PREFIX):
        raise LabelTaken(f"{rented.label!r} is the label of another installation: release it there first.")
    if not known.filter(label=rented.label).exists():
        raise LabelTaken(f"{rented.label!r} is our label, but no record explains it: it is being ended.")


def _instance_for(rented: RentedMachine, *, actor: str, team: Team, name: str) -> Instance:
    """The one that was released with this very machine, else a new one with an id like ``vast_12345``."""
    last = (
        Machine.objects.filter(provider=rented.provider, contract_id=rented.contract_id)
        .order_by("-id")
        .first()
    )
    instance_id = last.instance_id if last is not None and last.instance_id else None
    instance_id = instance_id or _id_of(rented)
    if not Instance.objects.filter(pk=instance_id).exists():
        return _new_instance(rented, instance_id, actor=actor, team=team, name=name)
    instance, now = lock_instance(instance_id), db_now()
    if instance.status != InstanceStatus.RELEASED or running_operation(instance) is not None:
        raise UnderCare(f"There is an instance {instance_id} already; it is {instance.status}.")
    arrow = set_status(instance, InstanceStatus.PROVISIONING, now)
    emit(EventType.REGISTERED, "looked after again", instance=instance, now=now, actor=actor, status=arrow)
    return instance


def _new_instance(rented: RentedMachine, instance_id: str, *, actor: str, team: Team, name: str) -> Instance:
    """With what the rental was ordered with, for the machines after it. Values of variables are sealed, never told."""
    instance = register_instance(
        instance_id, provider=rented.provider, actor=actor, team=team, name=name, **_facts(rented)
    )
    env = {name: value for name, value in rented.env.items() if _fits(name, value)}
    left_out = sorted(rented.env.keys() - env.keys())
    instance.ports = list(rented.ports[:MOST_PORTS])
    if len(rented.onstart) <= LONGEST_ONSTART:
        instance.onstart = rented.onstart
    else:
        left_out.append("onstart")
    set_environment(instance, env)
    instance.save(update_fields=["ports", "onstart", *ENVIRONMENT_FIELDS])
    told = {"env": instance.env_names, "ports": instance.ports, "left_out": left_out}
    emit(EventType.CONFIG_CHANGED, "its machines will be ordered like this one",
         instance=instance, now=db_now(), actor=actor, data=told)  # fmt: skip
    return instance


def _fits(name: str, value: str) -> bool:
    try:
        check_environment({name: value})
    except InvalidRequest:
        return False
    return True


def _facts(rented: RentedMachine) -> dict[str, Any]:
    """What its next machines are to be like."""
    return {
        "gpu_type": rented.gpu_type,
        "gpu_count": max(1, rented.gpu_count),
        "region": _wish(rented),
        "image": rented.image,
        "disk_gb": max(1, rented.disk_gb),
    }


def _wish(rented: RentedMachine) -> str:
    """Where it is now, if that is a place one can wish for."""
    try:
        check_wish(rented.region)
    except InvalidRequest:
        return ""
    return "" if rented.region == OTHER else rented.region


def _machine_for(rented: RentedMachine, operation: Operation, now: datetime) -> Machine:
    """Its label is what the provider is to list it under once it is ours."""
    return Machine.objects.create(
        instance=operation.instance,
        provider=rented.provider,
        label=f"{settings.DUMONT_LABEL_PREFIX}{operation.instance_id}-{operation.pk}-0",
        contract_id=rented.contract_id,
        state=MachineState.ADOPTING,
        state_changed_at=now,
        host=rented.host,
        gpu_type=rented.gpu_type,
        gpu_count=max(1, rented.gpu_count),
        region=rented.region,
        price_per_hour=rented.price_per_hour,
        intended_at=now,
        workspace=rented.workspace,
    )

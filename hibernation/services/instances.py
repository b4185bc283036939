"""Instances: registering one, with or without its first machine, changing its rules, and letting go of it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q

from hibernation.domain.errors import Conflict, InvalidRequest
from hibernation.domain.regions import check_wish
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationState
from hibernation.models import Instance, Operation, Team
from hibernation.providers.registry import provider_names
from hibernation.services.clock import db_now
from hibernation.services.due import SCHEDULED, delete_due_at, schedule
from hibernation.services.orders import ENVIRONMENT_FIELDS, check_ports, set_environment
from hibernation.services.parking import MachineLive, check_warmth, let_go_of_parked, reschedule_parked
from hibernation.services.requests import lock_instance, request_wake
from hibernation.services.retention import delete_all
from hibernation.services.teams import default_team
from hibernation.services.transitions import emit, set_machine, set_status

POLICY_FIELDS = (
    "allow_equivalent_gpus",
    "min_cuda",
    "min_reliability",
    "min_download_mbps",
    "auto_hibernation_enabled",
    "gpu_usage_threshold",
    "pause_after",
    "delete_after",
    "precopy_enabled",
    "hibernate_busy_at_the_end",
    "warm_minutes",
    "snapshot_interval",
    "transfer_limit_mbit",
    "encryption_enabled",
    "default_ignore_rules",
    "ignore_rules",
    "leave_out_model_cache",
    "keep_last",
    "keep_daily",
)
ORDER_FIELDS = ("image", "disk_gb", "ports", "onstart", "post_wake_hook")
_CHANGEABLE = ("name", *ORDER_FIELDS, *POLICY_FIELDS)


_LETTERS = "abcdefghijkmnpqrstuvwxyz"
_NAME_LETTERS = 10


@transaction.atomic
def register_instance(
    instance_id: str,
    *,
    provider: str,
    actor: str,
    team: Team | None = None,
    name: str = "",
    gpu_type: str = "",
    gpu_count: int = 1,
    region: str = "",
    max_price: Decimal | None = None,
    image: str = "",
    disk_gb: int = 10,
    pause_after: timedelta = timedelta(minutes=3),
    delete_after: timedelta = timedelta(minutes=30),
) -> Instance:
    """A new instance in ``provisioning``; ``request_wake`` rents its first machine. ``Conflict`` if it exists.

    Without ``team`` it is the default one's.
    """
    if Instance.objects.filter(pk=instance_id).exists():
        raise Conflict(f"There is an instance {instance_id!r} already.")
    now = db_now()
    instance = Instance(
        id=instance_id,
        team=team or default_team(),
        provider=provider,
        status_changed_at=now,
        created_at=now,
        name=name,
        gpu_type=gpu_type,
        gpu_count=gpu_count,
        region=region,
        max_price=max_price,
        image=image,
        disk_gb=disk_gb,
        pause_after=pause_after,
        delete_after=delete_after,
        heartbeat_interval=settings.DUMONT_HEARTBEAT_INTERVAL,
    )
    _validate(instance)
    instance.save(force_insert=True)
    emit(EventType.REGISTERED, f"{instance_id} is now looked after", instance=instance, now=now, actor=actor,
         status=("", InstanceStatus.PROVISIONING))  # fmt: skip
    return instance


def create_instance(
    provider: str, *, actor: str, team: Team, idempotency_key: str | None = None, **wish: Any
) -> Operation:
    """A new instance and its first start on a machine of its own. ``wish`` as ``register_instance`` takes it.

    The same key of the same actor answers the start that it began: nothing is rented twice. ``Conflict`` where that
    was for another team.
    """
    check_provider(provider)
    instance_id = f"{provider}_{_fresh_name(actor, idempotency_key)}"
    with transaction.atomic():
        try:
            with transaction.atomic():
                register_instance(instance_id, provider=provider, actor=actor, team=team, **wish)
        except (Conflict, IntegrityError):
            if idempotency_key is None:
                raise
            if lock_instance(instance_id).team_id != team.pk:
                raise Conflict("This Idempotency-Key was used for another team.") from None
        return request_wake(instance_id, actor=actor, reason="first start", idempotency_key=idempotency_key)


def _fresh_name(actor: str, idempotency_key: str | None) -> str:
    """Ten letters: chance, or where there is a key what it always leads to. Never a number: those are contracts."""
    if idempotency_key is None:
        return "".join(secrets.choice(_LETTERS) for _ in range(_NAME_LETTERS))
    number = int.from_bytes(hashlib.sha256(f"{actor}\n{idempotency_key}".encode()).digest())
    return "".join(
        _LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(_NAME_LETTERS)
    )


@transaction.atomic
def release_instance(
    instance_id: str, *, actor: str, leave_machine: bool = False, delete_snapshots: bool = False
) -> Instance:
    """Look after it no more. Its rows and, unless ``delete_snapshots``, its copies stay. Repeatable.

    ``Conflict`` while an operation is in flight, and while it has a machine unless ``leave_machine``: that one goes on,
    billed, and is never touched again. ``SnapshotKept`` if one that is to be deleted is kept on request.
    """
    instance, now = lock_instance(instance_id), db_now()
    if instance.operations.filter(state__in=[OperationState.QUEUED, OperationState.RUNNING]).exists():
        raise Conflict(f"{instance_id} has an operation in flight; release it when that has ended.")
    left = _let_go_of_machines(instance, leave_machine, now)
    if instance.status != InstanceStatus.RELEASED:
        arrow = set_status(instance, InstanceStatus.RELEASED, now)
        told = f"released; {left} goes on without us" if left else "released"
        emit(EventType.RELEASED, told, instance=instance, now=now, actor=actor, status=arrow)
        instance.last_error = ""
        instance.save(update_fields=["last_error"])
    if delete_snapshots:
        delete_all(instance, now, actor=actor)
    return instance


def _let_go_of_machines(instance: Instance, leave_machine: bool, now: datetime) -> str:
    """The names of those that go on. One that was lost with the workspace may come back, and is nobody's then."""
    warm = let_go_of_parked(instance, leave_machine, now)
    held = instance.machines.filter(
        Q(state=MachineState.ACTIVE) | Q(state=MachineState.LOST, activated_at__isnull=False)
    )
    machines = list(held.order_by("pk"))
    active = next((machine for machine in machines if machine.state == MachineState.ACTIVE), None)
    if active is not None and not leave_machine:
        raise MachineLive(
            f"{instance.pk} runs on machine {active}. Hibernate it first, or add ?leave_machine=true: "
            "the machine then goes on, billed, and nobody looks after it."
        )
    for machine in machines:
        set_machine(machine, MachineState.RELEASED, now, reason="its instance was released")
    return ", ".join(f"machine {machine}" for machine in [*warm, *machines])


def check_provider(provider: str) -> None:
    """``InvalidRequest`` for one that this installation does not rent from."""
    if provider not in provider_names():
        known = ", ".join(provider_names())
        raise InvalidRequest("There is no such provider here.", {"provider": f"One of: {known}."})


def _validate(instance: Instance) -> None:
    check_wish(instance.region)
    try:
        instance.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise InvalidRequest("The instance cannot be registered.", fields) from None


@transaction.atomic
def configure(instance_id: str, changes: dict[str, Any], *, actor: str) -> Instance:
    """Change the fields given, rules, orders or the name, and no others. What falls due is computed anew at once.

    What machines are ordered with counts from the next one on. ``env`` replaces all variables; no value is told.
    """
    instance = lock_instance(instance_id)
    before = {name: getattr(instance, name) for name in _CHANGEABLE}
    for name in _CHANGEABLE:
        if name in changes:
            setattr(instance, name, changes[name])
    check_ports(instance.ports)
    check_warmth(instance)
    if "env" in changes:
        set_environment(instance, changes["env"])
    now = db_now()
    schedule(instance)
    instance.delete_due_at = delete_due_at(instance)
    if before["warm_minutes"] != instance.warm_minutes:
        reschedule_parked(instance, now)
    instance.save(update_fields=[*_CHANGEABLE, *ENVIRONMENT_FIELDS, *SCHEDULED, "delete_due_at"])
    told = {name: [str(before[name]), str(changes[name])] for name in _CHANGEABLE if name in changes}
    if "env" in changes:
        told["env"] = instance.env_names
    emit(EventType.CONFIG_CHANGED, f"changed: {', '.join(told)}" if told else "nothing changed",
         instance=instance, now=now, actor=actor, data=told)  # fmt: skip
    return instance

"""Registering an instance and changing its rules."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from hibernation.domain.errors import Conflict, InvalidRequest
from hibernation.domain.regions import check_wish
from hibernation.domain.states import EventType, InstanceStatus
from hibernation.models import Instance
from hibernation.services.clock import db_now
from hibernation.services.due import SCHEDULED, delete_due_at, schedule
from hibernation.services.requests import lock_instance
from hibernation.services.transitions import emit

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
    "snapshot_interval",
    "transfer_limit_mbit",
    "encryption_enabled",
    "default_ignore_rules",
    "ignore_rules",
    "leave_out_model_cache",
    "keep_last",
    "keep_daily",
)


@transaction.atomic
def register_instance(
    instance_id: str,
    *,
    provider: str,
    actor: str,
    gpu_type: str = "",
    region: str = "",
    max_price: Decimal | None = None,
    image: str = "",
    disk_gb: int = 10,
    pause_after: timedelta = timedelta(minutes=3),
    delete_after: timedelta = timedelta(minutes=30),
) -> Instance:
    """A new instance in ``provisioning``; ``request_wake`` rents its first machine. ``Conflict`` if it exists."""
    if Instance.objects.filter(pk=instance_id).exists():
        raise Conflict(f"There is an instance {instance_id!r} already.")
    now = db_now()
    instance = Instance(
        id=instance_id,
        provider=provider,
        status_changed_at=now,
        created_at=now,
        gpu_type=gpu_type,
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


def _validate(instance: Instance) -> None:
    check_wish(instance.region)
    try:
        instance.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise InvalidRequest("The instance cannot be registered.", fields) from None


@transaction.atomic
def configure(instance_id: str, changes: dict[str, Any], *, actor: str) -> Instance:
    """Change the fields given and no others. What falls due is computed anew at once."""
    instance = lock_instance(instance_id)
    before = {name: getattr(instance, name) for name in POLICY_FIELDS}
    for name in POLICY_FIELDS:
        if name in changes:
            setattr(instance, name, changes[name])
    now = db_now()
    schedule(instance)
    instance.delete_due_at = delete_due_at(instance)
    instance.save(update_fields=[*POLICY_FIELDS, *SCHEDULED, "delete_due_at"])
    told = {name: [str(before[name]), str(changes[name])] for name in POLICY_FIELDS if name in changes}
    emit(EventType.CONFIG_CHANGED, f"changed: {', '.join(told)}" if told else "nothing changed",
         instance=instance, now=now, actor=actor, data=told)  # fmt: skip
    return instance

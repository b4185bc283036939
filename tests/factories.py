"""Rows for tests. Every default is a valid, quiet object: a running instance on its machine, with nothing going on."""

from __future__ import annotations

import itertools
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User

from hibernation.domain.access import Role
from hibernation.domain.offers import Offer
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    SnapshotState,
)
from hibernation.models import (
    Instance,
    Machine,
    Membership,
    Operation,
    Pack,
    Schedule,
    ScheduleRun,
    Snapshot,
    Team,
)
from hibernation.services.clock import db_now
from hibernation.services.keys import current_key
from hibernation.services.teams import default_team

PROVIDER = "fake"
_numbers = itertools.count(1)


def make_offer(number: int = 1, **more: Any) -> Offer:
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "offer_id": f"offer-{number}",
        "host": f"host-{number}",
        "gpu_type": "RTX 4090",
        "gpu_count": 1,
        "region": "PT",
        "price_per_hour": Decimal(number) / 10,
        "disk_gb": 100,
    }
    return Offer(**facts | more)


def make_instance(**more: Any) -> Instance:
    now = db_now()
    facts: dict[str, Any] = {
        "id": f"vast_{next(_numbers)}",
        "status": InstanceStatus.RUNNING,
        "status_changed_at": now,
        "created_at": now,
        "provider": PROVIDER,
    }
    if "team" not in more:
        facts["team"] = default_team()
    return Instance.objects.create(**facts | more)


def make_user(name: str = "ana", role: Role | None = Role.OWNER, team: Team | None = None) -> User:
    """Somebody in one team, the default one if none is given; without a role, in none."""
    user = User.objects.create_user(name)
    if role is not None:
        Membership.objects.create(team=team or default_team(), user=user, role=role)
    return user


def idle_for(minutes: float, now: datetime | None = None, **more: Any) -> dict[str, Any]:
    """Fields of an instance that was seen idle without a break for so long, and is due after three minutes."""
    now = now or db_now()
    since = now - timedelta(minutes=minutes)
    return {
        "status": InstanceStatus.IDLE,
        "idle_since": since,
        "last_heartbeat_at": now,
        "gpu_utilization": 0.0,
        "hibernate_due_at": since + timedelta(minutes=3),
    } | more


def make_machine(instance: Instance | None, **more: Any) -> Machine:
    now, number = db_now(), next(_numbers)
    facts: dict[str, Any] = {
        "instance": instance,
        "provider": PROVIDER,
        "label": f"label-{number}",
        "contract_id": f"{1000 + number}",
        "state": MachineState.ACTIVE,
        "state_changed_at": now,
        "intended_at": now,
        "launched_at": now,
        "activated_at": now,
        "host": "host-0",
        "gpu_type": "RTX 4090",
        "region": "PT",
        "price_per_hour": Decimal("0.3"),
    }
    return Machine.objects.create(**facts | more)


def make_snapshot(instance: Instance, **more: Any) -> Snapshot:
    now, number = db_now(), next(_numbers)
    facts: dict[str, Any] = {
        "name": f"{instance.pk}_hibernate_{number}",
        "instance": instance,
        "state": SnapshotState.VERIFIED,
        "created_at": now,
        "frozen_at": now,
        "verified_at": now,
        "manifest_key": f"{instance.pk}/manifests/{number}",
        "manifest_size": 1,
        "manifest_sha256": "0" * 64,
        "manifest_id": "0" * 64,
    }
    if "key" not in more:
        facts["key"] = current_key(instance)
    return Snapshot.objects.create(**facts | more)


def make_pack(instance: Instance, **more: Any) -> Pack:
    facts: dict[str, Any] = {
        "key": f"{instance.pk}/packs/{next(_numbers)}",
        "instance": instance,
        "kind": "pack",
        "size": 3,
        "crc32": "0" * 8,
        "created_at": db_now(),
    }
    return Pack.objects.create(**facts | more)


def make_operation(instance: Instance, **more: Any) -> Operation:
    now = db_now()
    facts: dict[str, Any] = {
        "instance": instance,
        "kind": OperationKind.HIBERNATE,
        "state": OperationState.RUNNING,
        "step": "quiesce",
        "status_before": instance.status,
        "created_at": now,
        "started_at": now,
        "entered_at": now,
        "next_attempt_at": now,
        "deadline_at": now + timedelta(hours=1),
    }
    return Operation.objects.create(**facts | more)


def make_hibernated(**more: Any) -> Instance:
    """A workspace at rest: a verified snapshot and no machine."""
    instance = make_instance()
    snapshot = make_snapshot(instance)
    facts = {
        "status": InstanceStatus.HIBERNATED,
        "snapshot": snapshot,
        "delete_due_at": db_now() + timedelta(minutes=30),
    } | more
    for name, value in facts.items():
        setattr(instance, name, value)
    instance.save()
    return instance


def make_schedule(instance: Instance, **more: Any) -> Schedule:
    """Wakes at 09:00 and sleeps at 18:00 UTC; the next occurrence is a wake in an hour, whatever the time is."""
    now = db_now()
    facts: dict[str, Any] = {
        "instance": instance,
        "wake_time": time(9),
        "sleep_time": time(18),
        "timezone": "UTC",
        "settled_at": now,
        "next_run_at": now + timedelta(hours=1),
        "next_leg": "wake",
        "next_due_at": now + timedelta(hours=1),
        "changed_at": now,
    }
    return Schedule.objects.create(**facts | more)


def make_run(instance: Instance, **more: Any) -> ScheduleRun:
    now = db_now()
    facts: dict[str, Any] = {
        "instance": instance,
        "leg": "wake",
        "nominal": "2026-03-02T09:00",
        "timezone": "UTC",
        "due_at": now,
        "state": "waiting",
        "ask_at": now,
        "created_at": now,
    }
    return ScheduleRun.objects.create(**facts | more)

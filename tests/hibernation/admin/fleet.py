"""A large fleet in a few statements: every list of the console gets at least so many rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import time, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model, OuterRef, Subquery

from hibernation.models import (
    ApiToken,
    Event,
    Host,
    Instance,
    Machine,
    Operation,
    Pack,
    Schedule,
    ScheduleRun,
    Snapshot,
    UsageInterval,
    WorkspaceKey,
)
from hibernation.services.clock import db_now
from hibernation.services.keys import seal
from hibernation.services.teams import default_team

EVENTS_EACH, PACKS_EACH = 10, 5


def make_fleet(numbers: range, owner: User) -> None:
    """An instance for each number, idle on its machine, with a saved copy, a schedule and an operation that runs."""
    now = db_now()
    soon, team = now + timedelta(hours=1), default_team()
    sealed, by = seal(bytes(32), b"fleet")
    instances = _made(
        Instance(id=f"fleet_{n:05}", team=team, name=f"work {n}", status="idle", status_changed_at=now, created_at=now,
                 provider="vast", gpu_utilization=0.0, last_heartbeat_at=now, idle_since=now,
                 hibernate_due_at=now + timedelta(minutes=3))
        for n in numbers
    )  # fmt: skip
    machines = _made(
        Machine(instance=one, provider="vast", label=f"fleet-{n}", contract_id=str(n), state="active", phase="running",
                state_changed_at=now, intended_at=now, launched_at=now, activated_at=now, host=f"h{n}",
                gpu_type="RTX 4090", region="PT", price_per_hour=Decimal("0.3"), price_now=Decimal("0.3"))
        for n, one in zip(numbers, instances, strict=True)
    )  # fmt: skip
    keys = _made(
        WorkspaceKey(instance=one, encrypts=True, wrapped=sealed, wrapped_by=by, created_at=now) for one in instances
    )  # fmt: skip
    _made(
        Snapshot(name=f"{one.pk}_snapshot", instance=one, key=key, state="verified", created_at=now, frozen_at=now,
                 verified_at=now, manifest_key=f"{one.pk}/m", manifest_size=1, manifest_sha256="0" * 64, files=1000,
                 bytes_logical=1 << 34)
        for one, key in zip(instances, keys, strict=True)
    )  # fmt: skip
    Instance.objects.update(snapshot=_snapshot_of_each())
    _made(
        Pack(key=f"{one.pk}/p{n}", instance=one, kind="pack", size=1 << 25, crc32="0" * 8, created_at=now)
        for one in instances for n in range(PACKS_EACH)
    )  # fmt: skip
    operations = _made(
        Operation(instance=one, kind="hibernate", state="running", step="freeze", machine=machine, created_at=now,
                  started_at=now, entered_at=now, next_attempt_at=now, deadline_at=now + timedelta(hours=1),
                  progress={"bytes_done": 1, "bytes_total": 2})
        for one, machine in zip(instances, machines, strict=True)
    )  # fmt: skip
    _made(
        Event(instance=one, operation=operation, event_type="woke", timestamp=now, reason=f"event {n}")
        for one, operation in zip(instances, operations, strict=True) for n in range(EVENTS_EACH)
    )  # fmt: skip
    _made(
        UsageInterval(instance=one, machine=machine, price_per_hour=Decimal("0.3"), started_at=now)
        for one, machine in zip(instances, machines, strict=True)
    )  # fmt: skip
    _made(
        Schedule(instance=one, wake_time=time(9), sleep_time=time(18), timezone="Europe/Lisbon", settled_at=now,
                 next_run_at=soon, next_leg="wake", next_due_at=soon, changed_at=now)
        for one in instances
    )  # fmt: skip
    _made(
        ScheduleRun(instance=one, leg="wake", nominal="2026-03-02T09:00", timezone="UTC", due_at=now, state="waiting",
                    ask_at=now, created_at=now)
        for one in instances
    )  # fmt: skip
    _made(
        ApiToken(user=owner, name=f"t{n}", digest=f"{n:064}", prefix="dmt_abcd", created_at=now)
        for n in numbers
    )
    _made(Host(provider="vast", host=f"h{n}") for n in numbers)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _made(rows: Iterable[Any]) -> list[Any]:
    every = list(rows)
    model: type[Model] = type(every[0])
    return model._default_manager.bulk_create(every, batch_size=2000)


def _snapshot_of_each() -> Any:
    return Subquery(Snapshot.objects.filter(instance=OuterRef("pk")).values("pk")[:1])

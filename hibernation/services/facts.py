"""Rows → the frozen facts that the pure core decides on, and its memo ↔ JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Now

from hibernation.domain.facts import (
    Arrival,
    Equipment,
    Facts,
    Limits,
    MachineFacts,
    Memo,
    OperationFacts,
    SnapshotFacts,
)
from hibernation.domain.offers import Offer, OfferFilter
from hibernation.domain.standing import LISTS_BELIEVED
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    Phase,
    SnapshotPurpose,
    SnapshotState,
)
from hibernation.models import Instance, Machine, Operation, Snapshot
from hibernation.services.copies import is_proven
from hibernation.services.parking import is_saved, warmth


def limits() -> Limits:
    return Limits(
        lease=settings.DUMONT_LEASE,
        created=settings.DUMONT_CREATED_DEADLINE,
        loading=settings.DUMONT_LOADING_DEADLINE,
        loading_most=settings.DUMONT_LOADING_MOST,
        running=settings.DUMONT_RUNNING_DEADLINE,
        silence=settings.DUMONT_SILENCE_DEADLINE,
        reach=settings.DUMONT_REACH_DEADLINE,
        install=settings.DUMONT_INSTALL_DEADLINE,
        test=settings.DUMONT_TEST_DEADLINE,
        thaw_unreachable=settings.DUMONT_THAW_DEADLINE,
        label_settle=settings.DUMONT_LABEL_SETTLE,
        hedge_after=settings.DUMONT_HEDGE_AFTER,
        hedge_most_usd=settings.DUMONT_HEDGE_MOST_USD,
        park=settings.DUMONT_PARK_DEADLINE,
        resume=settings.DUMONT_RESUME_DEADLINE,
    )


def load_facts(instance: Instance, operation: Operation, now: datetime) -> Facts:
    """Everything one decision may use. The caller holds the instance's lock, so that none of it moves."""
    return Facts(
        now=now,
        operation=operation_facts(operation),
        status=InstanceStatus(instance.status),
        policy=instance.policy,
        idle=instance.idle_state,
        machine=_machine_facts(operation.machine),
        snapshot=_snapshot_facts(operation.snapshot),
        kept=_kept(instance),
        offer_held=operation.step == "launch" and _is_held(instance, operation),
        before=_equipment_before(instance, operation) if operation.step == "test" else None,
        has_hook=bool(instance.post_wake_hook),
        spare=_machine_facts(operation.spare),
        warm=warmth(instance, operation.machine, now) if operation.step == "destroy" else timedelta(0),
        limits=limits(),
    )


def operation_facts(operation: Operation) -> OperationFacts:
    return OperationFacts(
        id=operation.pk,
        kind=OperationKind(operation.kind),
        step=operation.step,
        started_at=operation.started_at or operation.created_at,
        entered_at=operation.entered_at,
        deadline_at=operation.deadline_at,
        waits=operation.waits,
        failures=operation.failures,
        forced=operation.forced,
        scheduled=operation.actor == SCHEDULE,
        cancel_reason=operation.cancel_reason,
        point_of_no_return_at=operation.point_of_no_return_at,
        want=wanted(operation.instance, operation.params, operation.snapshot),
        status_before=InstanceStatus(operation.status_before),
        memo=load_memo(operation.memo),
        purpose=purpose_of(operation),
    )


SCHEDULE = "schedule"
"""The actor of what a schedule ordered."""
STILL_OFFERED = timedelta(seconds=90)
"""Searches are shared, older ones where none is allowed: so long an offer may be listed after it was rented."""


def held_by_others(provider: str, instance_id: str) -> frozenset[str]:
    """Offers and hosts that other wakes intend to rent and have no answer for yet, or have just rented.

    Not what is sold by type instead of by host: renting one of it leaves others.
    """
    pending = Q(state=MachineState.INTENDED) | Q(launched_at__gt=Now() - STILL_OFFERED)
    others = Machine.objects.filter(pending, provider=provider).exclude(instance=instance_id)
    rows = others.exclude(host=F("offer_id")).values_list("offer_id", "host")
    return frozenset(name for row in rows for name in row if name)


def chosen_by_others(provider: str, instance_id: str) -> frozenset[str]:
    """Offers and hosts that other wakes have chosen and are about to intend: two hundred wakes at once would all choose
    the best one, and all but one choose again.
    """
    choices = Operation.objects.filter(
        state=OperationState.RUNNING, kind=OperationKind.WAKE, step="launch", machine__isnull=True
    ).exclude(instance=instance_id)
    offers = choices.filter(memo__offer__provider=provider).values_list("memo__offer", flat=True)
    by_host = (offer for offer in offers if offer["host"] != offer["offer_id"])
    return frozenset(name for offer in by_host for name in (offer["offer_id"], offer["host"]) if name)


def _is_held(instance: Instance, operation: Operation) -> bool:
    offer = load_memo(operation.memo).offer
    if offer is None or operation.machine is not None:
        return False
    return not {offer.offer_id, offer.host}.isdisjoint(held_by_others(offer.provider, instance.pk))


def _equipment_before(instance: Instance, operation: Operation) -> Equipment | None:
    """What the machine was that held the workspace last and told of itself."""
    told = instance.machines.exclude(pk=operation.machine_id or 0).filter(activated_at__isnull=False)
    last = told.exclude(gpus=[], driver="").order_by("-id").first()
    return None if last is None else Equipment(tuple(last.gpus), last.driver, last.cuda)


LASTS_HOURS = 28.0
"""A rental ends with its offer whatever we want: it must last a session, and a day to hibernate and wake elsewhere."""

_PRICES = tuple(field.name for field in dataclasses.fields(Offer) if field.type == "Decimal")


def purpose_of(operation: Operation) -> SnapshotPurpose:
    """What a snapshot is made for; every other operation is somebody's order."""
    return SnapshotPurpose(operation.params.get("purpose", SnapshotPurpose.ORDERED))


def wanted(instance: Instance, params: Mapping[str, Any], snapshot: Snapshot | None) -> OfferFilter:
    """What to rent: the wish of this wake, else what the instance is set to; with room for what is restored."""
    price = params.get("max_price")
    return OfferFilter(
        gpu_type=params.get("gpu_type") or instance.gpu_type or None,
        gpu_count=instance.gpu_count,
        allow_equivalents=instance.allow_equivalent_gpus,
        region=params.get("region") or instance.region or None,
        max_price=Decimal(str(price)) if price is not None else instance.max_price,
        min_disk_gb=max(int(params.get("disk_gb") or instance.disk_gb), _room_for(snapshot)),
        min_cuda=instance.min_cuda,
        min_reliability=instance.min_reliability,
        min_download_mbps=float(instance.min_download_mbps),
        min_hours_left=LASTS_HOURS,
    )


def _room_for(snapshot: Snapshot | None) -> int:
    """GB for the workspace and a tenth more: file systems need some, and so does whoever goes on working."""
    return 0 if snapshot is None else math.ceil(snapshot.bytes_logical * 11 / 10**10)


def _machine_facts(machine: Machine | None) -> MachineFacts | None:
    if machine is None:
        return None
    return MachineFacts(
        id=machine.pk,
        label=machine.label,
        state=MachineState(machine.state),
        intended_at=machine.intended_at,
        contract_id=machine.contract_id,
        host=machine.host,
        first_beat_at=machine.first_heartbeat_at,
        stopped_since=machine.phase_since if _stands_still(machine) else None,
        gpu_type=machine.gpu_type,
        gpu_count=machine.gpu_count,
        region=machine.region,
        country=machine.country,
        price=machine.price_now or machine.price_per_hour,
        disk_price=machine.stopped_usd_hour,
        parked_until=machine.parked_until,
        is_saved=is_saved(machine),
    )


def _stands_still(machine: Machine) -> bool:
    return machine.phase == Phase.STOPPED and machine.phase_lists >= LISTS_BELIEVED


def _snapshot_facts(snapshot: Snapshot | None) -> SnapshotFacts | None:
    if snapshot is None:
        return None
    return SnapshotFacts(
        snapshot.name,
        SnapshotState(snapshot.state),
        snapshot.round,
        snapshot.frozen_at,
        snapshot.report.get("unreadable_total", 0),
        snapshot.damaged_at is not None,
    )


def _kept(instance: Instance) -> SnapshotFacts | None:
    """What a wake would restore now, if that can be relied upon."""
    return _snapshot_facts(instance.snapshot) if is_proven(instance.snapshot) else None


def load_memo(raw: dict[str, Any]) -> Memo:
    values = _with_offer(raw, _load_offer)
    if "avoid_hosts" in values:
        values["avoid_hosts"] = tuple(values["avoid_hosts"])
    if values.get("spare") is not None:
        values["spare"] = Arrival(**_with_offer(values["spare"], _load_offer))
    return Memo(**values)


def dump_memo(memo: Memo) -> dict[str, Any]:
    values = _with_offer(_fields_of(memo), _dump_offer)
    values["avoid_hosts"] = list(memo.avoid_hosts)
    if memo.spare is not None:
        values["spare"] = _with_offer(_fields_of(memo.spare), _dump_offer)
    return values


def _fields_of(known: Memo | Arrival) -> dict[str, Any]:
    return {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}


def _with_offer(values: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    offer = values.get("offer")
    return dict(values) if offer is None else {**values, "offer": change(offer)}


def _load_offer(offer: dict[str, Any]) -> Offer:
    return Offer(**{**offer, **{name: Decimal(offer[name]) for name in _PRICES if name in offer}})


def _dump_offer(offer: Offer) -> dict[str, Any]:
    values = dataclasses.asdict(offer)
    return {**values, **{name: str(values[name]) for name in _PRICES}, "raw": {}}

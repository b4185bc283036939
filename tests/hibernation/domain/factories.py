"""Facts whose default is a valid quiet object: an idle instance, nothing in doubt, at noon."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hibernation.domain.facts import Facts, MachineFacts, Memo, OperationFacts, SnapshotFacts
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.offers import Offer
from hibernation.domain.outcomes import Changes, Emit
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    SnapshotPurpose,
    SnapshotState,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(**duration: float) -> datetime:
    return NOON - timedelta(**duration)


def an_offer(**changes: Any) -> Offer:
    plain = Offer("sim", "offer-1", "host-1", "RTX_4090", 1, "EU", Decimal("0.40"), 100)
    return replace(plain, **changes)


def a_machine(**changes: Any) -> MachineFacts:
    plain = MachineFacts(
        1, "dumont-1-1-1", MachineState.ACTIVE, ago(hours=1), "c1", "host-1", ago(minutes=59)
    )
    return replace(plain, **changes)


def hibernating(step: str, **changes: Any) -> Facts:
    """An unforced hibernation in ``step``, idle all along. ``memo`` and fields of the operation may be given."""
    operation = OperationFacts(
        id=1,
        kind=OperationKind.HIBERNATE,
        step=step,
        started_at=ago(seconds=20),
        entered_at=ago(seconds=5),
        deadline_at=NOON + timedelta(hours=1),
    )
    facts = Facts(
        now=NOON,
        operation=operation,
        status=InstanceStatus.HIBERNATING,
        policy=Policy(),
        idle=IdleState(idle_since=ago(minutes=5), last_beat_at=ago(seconds=10)),
        machine=a_machine(),
    )
    return adapt(facts, **changes)


def saving(step: str, **changes: Any) -> Facts:
    """A snapshot in ``step`` of an instance that goes on; ordered by a person unless ``purpose`` says otherwise."""
    operation = OperationFacts(
        id=3,
        kind=OperationKind.SNAPSHOT,
        step=step,
        started_at=ago(seconds=20),
        entered_at=ago(seconds=5),
        deadline_at=NOON + timedelta(hours=1),
        forced=changes.get("purpose", SnapshotPurpose.ORDERED) is not SnapshotPurpose.PRE_COPY,
    )
    facts = Facts(
        now=NOON,
        operation=operation,
        status=InstanceStatus.IDLE,
        policy=Policy(),
        idle=IdleState(idle_since=ago(seconds=25), last_beat_at=ago(seconds=10)),
        machine=a_machine(),
        snapshot=SnapshotFacts("s1", SnapshotState.WRITING),
    )
    return adapt(facts, **changes)


def waking(step: str, **changes: Any) -> Facts:
    """A wake from hibernation in ``step``, its offer chosen and its snapshot verified, its machine not yet rented."""
    operation = OperationFacts(
        id=2,
        kind=OperationKind.WAKE,
        step=step,
        started_at=ago(seconds=20),
        entered_at=ago(seconds=5),
        deadline_at=NOON + timedelta(hours=1),
        status_before=InstanceStatus.HIBERNATED,
        memo=Memo(offer=an_offer(), attempt=1),
    )
    facts = Facts(
        now=NOON,
        operation=operation,
        status=InstanceStatus.WAKING,
        policy=Policy(),
        idle=IdleState(),
        snapshot=SnapshotFacts("s1", SnapshotState.VERIFIED),
    )
    return adapt(facts, **changes)


def adapt(facts: Facts, **changes: Any) -> Facts:
    """``facts`` with fields changed wherever they live: in the facts, in the operation or in its memo."""
    memo = facts.operation.memo
    for name in [name for name in changes if name in Memo.__slots__]:
        memo = replace(memo, **{name: changes.pop(name)})
    operation = replace(facts.operation, memo=memo)
    for name in [name for name in changes if name in OperationFacts.__slots__]:
        operation = replace(operation, **{name: changes.pop(name)})
    return replace(facts, operation=operation, **changes)


def proven(step: str, **changes: Any) -> Facts:
    """A hibernation whose copy is verified and fenced."""
    return hibernating(
        step, **{"snapshot": SnapshotFacts("s1", SnapshotState.VERIFIED), "fenced_round": 0, **changes}
    )


def events(changes: Changes) -> list[EventType]:
    return [change.event for change in changes if isinstance(change, Emit)]

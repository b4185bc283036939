"""What an open run asks for now: its rows as facts, and the domain's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Subquery

from hibernation.domain import idle
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationState,
    SnapshotState,
)
from hibernation.domain.timetable import (
    Answer,
    Leg,
    Row,
    Situation,
    Terms,
    WhenBusy,
    decide_sleep,
    decide_wake,
)
from hibernation.models import Instance, Machine, Operation, ScheduleRun
from hibernation.services.schedules.since import overruled_of, unwished_of
from hibernation.services.starting import AWAKE

_SINCE_DELETED = Row(lambda situation: True, Answer.SKIP, "its schedule was deleted or switched off")
_SINCE_CHANGED = Row(lambda situation: True, Answer.SKIP, "its schedule was changed since")
_TOO_LONG = Row(lambda situation: True, Answer.SKIP, "what was in flight took too long")


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance as it is now. The caller holds its lock. ``terms`` of each leg: none without a schedule."""

    status: InstanceStatus
    provider: str
    snapshot_id: int | None
    snapshot_state: str
    damaged: bool
    machine_id: int | None
    machine_down: bool
    idle: bool
    in_flight: bool
    terms: Terms | None


@dataclass(frozen=True, slots=True)
class Question:
    """One occurrence that came due, and all that the answer rests on. ``run_id``: 0 where it has no row yet."""

    run_id: int
    instance_id: str
    leg: Leg
    nominal: str
    timezone: str
    due_at: datetime
    standing: Standing
    attempts: int = 0
    reason: str = ""
    overruled: bool = False
    wished: bool = True

    @property
    def fresh(self) -> bool:
        """Never asked before."""
        return not self.reason and not self.attempts

    @property
    def forced(self) -> bool:
        terms = self.standing.terms
        return self.leg is Leg.SLEEP and terms is not None and terms.force

    def is_over(self, now: datetime) -> bool:
        """Whether it was tried for as long as its schedule wants."""
        terms = self.standing.terms
        if terms is None:
            return True
        return now - self.due_at >= (terms.give_up_after if self.leg is Leg.WAKE else terms.wait_at_most)

    @property
    def starts_plainly(self) -> bool:
        """Whether starting it is nothing but new rows: nothing runs, and nothing about it is in doubt."""
        now = self.standing
        if now.in_flight:
            return False
        if self.leg is Leg.WAKE:
            asleep = now.status in (InstanceStatus.HIBERNATED, InstanceStatus.DELETED)
            # One that is kept warm is resumed, which begins otherwise.
            at_rest = asleep and now.machine_id is None
            return at_rest and now.snapshot_state == SnapshotState.VERIFIED and not now.damaged
        return now.status in AWAKE and now.machine_id is not None and not now.machine_down


def answer(question: Question, now: datetime) -> Row:
    """By the tables of ``hibernation.domain.timetable.precedence``."""
    standing = question.standing
    if standing.terms is None:
        return _SINCE_DELETED
    if not question.wished:
        return _SINCE_CHANGED
    situation = Situation(
        now=now,
        due_at=question.due_at,
        terms=standing.terms,
        status=_status(standing),
        idle=standing.idle,
        overruled=question.overruled,
        wakeable=_wakeable(standing),
        tried=question.attempts > 0,
    )
    row = decide_wake(situation) if question.leg is Leg.WAKE else decide_sleep(situation)
    # Of a wake that somebody else began the table knows no end.
    in_time = question.leg is Leg.SLEEP or situation.late < standing.terms.give_up_after
    return row if row.answer is not Answer.WAIT or in_time else _TOO_LONG


def _status(standing: Standing) -> InstanceStatus:
    """One that was only registered, or whose first start failed, is not starting: nothing brings it up."""
    if standing.status is InstanceStatus.PROVISIONING and not standing.in_flight:
        return InstanceStatus.FAILED
    return standing.status


def _wakeable(standing: Standing) -> bool:
    if standing.snapshot_id is not None:
        return standing.snapshot_state != SnapshotState.DELETED
    return standing.status in (InstanceStatus.PROVISIONING, InstanceStatus.FAILED)


_FIELDS = (
    "pk",
    "status",
    "provider",
    "snapshot_id",
    "snapshot__state",
    "snapshot__damaged_at",
    "machine",
    "machine_down",
    "in_flight",
    "idle_since",
    "last_heartbeat_at",
    "heartbeat_interval",
    "pause_after",
    "schedule__enabled",
    "schedule__force",
    "schedule__when_busy",
    "schedule__wait_at_most",
    "schedule__give_up_after",
)


def standings(instance_ids: Sequence[str], real_now: datetime) -> dict[str, Standing]:
    """Of the instances, in one query for all."""
    machines = Machine.objects.filter(
        instance=OuterRef("pk"), state__in=[MachineState.LAUNCHED, MachineState.ACTIVE, MachineState.PARKED]
    ).order_by("pk")
    in_flight = Operation.objects.filter(
        instance=OuterRef("pk"), state__in=[OperationState.QUEUED, OperationState.RUNNING]
    )
    rows = Instance.objects.filter(pk__in=instance_ids).annotate(
        machine=Subquery(machines.values("pk")[:1]),
        machine_down=Subquery(machines.values("down_since")[:1]),
        in_flight=Exists(in_flight),
    )
    return {row.pk: _standing(row, real_now) for row in rows.values_list(*_FIELDS, named=True)}


def _standing(row: Any, real_now: datetime) -> Standing:
    """``row``: the fields above by their names."""
    seen = IdleState(row.idle_since, row.last_heartbeat_at, row.heartbeat_interval)
    policy = Policy(enabled=True, pause_after=row.pause_after)
    return Standing(
        status=InstanceStatus(row.status),
        provider=row.provider,
        snapshot_id=row.snapshot_id,
        snapshot_state=row.snapshot__state or "",
        damaged=row.snapshot__damaged_at is not None,
        machine_id=row.machine,
        machine_down=row.machine_down is not None,
        idle=row.status == InstanceStatus.IDLE and idle.is_due(seen, policy, real_now),
        in_flight=row.in_flight,
        terms=_terms(row) if row.schedule__enabled else None,
    )


def _terms(row: Any) -> Terms:
    return Terms(
        force=row.schedule__force,
        when_busy=WhenBusy(row.schedule__when_busy),
        wait_at_most=row.schedule__wait_at_most,
        give_up_after=row.schedule__give_up_after,
    )


_RUN = ("pk", "instance_id", "leg", "nominal", "timezone", "due_at", "attempts", "reason")


def questions(run_ids: Sequence[int], real_now: datetime) -> list[Question]:
    """Of open runs, in the order of their ids, in four queries for all."""
    rows = list(ScheduleRun.objects.filter(pk__in=run_ids).order_by("pk").values_list(*_RUN, named=True))
    now = standings([row.instance_id for row in rows], real_now)
    overruled = overruled_of([row.pk for row in rows])
    unwished = unwished_of([row.pk for row in rows if row.attempts])
    return [
        Question(
            run_id=row.pk,
            instance_id=row.instance_id,
            leg=Leg(row.leg),
            nominal=row.nominal,
            timezone=row.timezone,
            due_at=row.due_at,
            standing=now[row.instance_id],
            attempts=row.attempts,
            reason=row.reason,
            overruled=row.pk in overruled,
            wished=row.pk not in unwished,
        )
        for row in rows
    ]

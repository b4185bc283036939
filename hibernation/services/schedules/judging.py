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
    OperationKind,
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
from hibernation.models import Machine, Operation, ScheduleRun
from hibernation.services.facts import SCHEDULE
from hibernation.services.schedules.rows import grace_of
from hibernation.services.starting import AWAKE

_OURS = ("system", SCHEDULE)
_ORDERS = (OperationKind.HIBERNATE, OperationKind.WAKE, OperationKind.ADOPT)
_SINCE_DELETED = Row(lambda situation: True, Answer.SKIP, "its schedule was deleted or switched off")
_TOO_LONG = Row(lambda situation: True, Answer.SKIP, "what was in flight took too long")


@dataclass(frozen=True, slots=True)
class Question:
    """One run, and all that the answer rests on. The caller holds the locks of run and instance."""

    run_id: int
    instance_id: str
    leg: Leg
    nominal: str
    timezone: str
    due_at: datetime
    attempts: int
    reason: str
    status: InstanceStatus
    provider: str
    snapshot_id: int | None
    snapshot_state: str
    damaged: bool
    machine_id: int | None
    machine_down: bool
    idle: bool
    in_flight: bool
    overruled: bool
    terms: Terms | None

    @property
    def fresh(self) -> bool:
        """Never asked before."""
        return not self.reason and not self.attempts

    @property
    def starts_plainly(self) -> bool:
        """Whether starting it is nothing but new rows: nothing runs, and nothing about it is in doubt."""
        if self.in_flight:
            return False
        if self.leg is Leg.WAKE:
            at_rest = self.status in (InstanceStatus.HIBERNATED, InstanceStatus.DELETED)
            return at_rest and self.snapshot_state == SnapshotState.VERIFIED and not self.damaged
        return self.status in AWAKE and self.machine_id is not None and not self.machine_down


def answer(question: Question, now: datetime) -> Row:
    """By the tables of ``hibernation.domain.timetable.precedence``."""
    if question.terms is None:
        return _SINCE_DELETED
    situation = Situation(
        now=now,
        due_at=question.due_at,
        terms=question.terms,
        status=_status(question),
        idle=question.idle,
        overruled=question.overruled,
        wakeable=_wakeable(question),
        tried=question.attempts > 0,
    )
    row = decide_wake(situation) if question.leg is Leg.WAKE else decide_sleep(situation)
    # Of a wake that somebody else began the table knows no end.
    in_time = question.leg is Leg.SLEEP or situation.late < question.terms.give_up_after
    return row if row.answer is not Answer.WAIT or in_time else _TOO_LONG


def _status(question: Question) -> InstanceStatus:
    """One that was only registered, or whose first start failed, is not starting: nothing brings it up."""
    if question.status is InstanceStatus.PROVISIONING and not question.in_flight:
        return InstanceStatus.FAILED
    return question.status


def _wakeable(question: Question) -> bool:
    if question.snapshot_id is not None:
        return question.snapshot_state != SnapshotState.DELETED
    return question.status in (InstanceStatus.PROVISIONING, InstanceStatus.FAILED)


_FIELDS = (
    "pk",
    "instance_id",
    "leg",
    "nominal",
    "timezone",
    "due_at",
    "attempts",
    "reason",
    "created_at",
    "instance__status",
    "instance__provider",
    "instance__snapshot_id",
    "instance__snapshot__state",
    "instance__snapshot__damaged_at",
    "machine",
    "machine_down",
    "in_flight",
    "instance__idle_since",
    "instance__last_heartbeat_at",
    "instance__heartbeat_interval",
    "instance__pause_after",
    "instance__schedule__enabled",
    "instance__schedule__force",
    "instance__schedule__when_busy",
    "instance__schedule__wait_at_most",
    "instance__schedule__give_up_after",
)


def questions(run_ids: Sequence[int], real_now: datetime) -> list[Question]:
    """Of the runs, in the order of their ids, in three queries for all."""
    machines = Machine.objects.filter(
        instance=OuterRef("instance"), state__in=[MachineState.LAUNCHED, MachineState.ACTIVE]
    ).order_by("pk")
    in_flight = Operation.objects.filter(
        instance=OuterRef("instance"), state__in=[OperationState.QUEUED, OperationState.RUNNING]
    )
    rows = list(
        ScheduleRun.objects.filter(pk__in=run_ids)
        .annotate(
            machine=Subquery(machines.values("pk")[:1]),
            machine_down=Subquery(machines.values("down_since")[:1]),
            in_flight=Exists(in_flight),
        )
        .order_by("pk")
        .values_list(*_FIELDS, named=True)
    )
    overruled = _overruled([row.pk for row in rows if row.attempts or row.reason])
    return [_question(row, row.pk in overruled, real_now) for row in rows]


def _overruled(run_ids: Sequence[int]) -> set[int]:
    """Those since which a person gave an order, or a later occurrence came due. A run just made has none."""
    if not run_ids:
        return set()
    by_people = Operation.objects.filter(
        instance=OuterRef("instance"), created_at__gte=OuterRef("created_at"), kind__in=_ORDERS
    ).exclude(actor__in=_OURS)
    later = ScheduleRun.objects.filter(instance=OuterRef("instance"), pk__gt=OuterRef("pk"))
    found = ScheduleRun.objects.filter(Exists(by_people) | Exists(later), pk__in=run_ids)
    return set(found.values_list("pk", flat=True))


def _question(row: Any, overruled: bool, real_now: datetime) -> Question:
    """``row``: the fields above by their names."""
    leg, seen = (
        Leg(row.leg),
        IdleState(
            row.instance__idle_since, row.instance__last_heartbeat_at, row.instance__heartbeat_interval
        ),
    )
    policy = Policy(enabled=True, pause_after=row.instance__pause_after)
    return Question(
        run_id=row.pk,
        instance_id=row.instance_id,
        leg=leg,
        nominal=row.nominal,
        timezone=row.timezone,
        due_at=row.due_at,
        attempts=row.attempts,
        reason=row.reason,
        status=InstanceStatus(row.instance__status),
        provider=row.instance__provider,
        snapshot_id=row.instance__snapshot_id,
        snapshot_state=row.instance__snapshot__state or "",
        damaged=row.instance__snapshot__damaged_at is not None,
        machine_id=row.machine,
        machine_down=row.machine_down is not None,
        idle=row.instance__status == InstanceStatus.IDLE and idle.is_due(seen, policy, real_now),
        in_flight=row.in_flight,
        overruled=overruled,
        terms=_terms(row, leg) if row.instance__schedule__enabled else None,
    )


def _terms(row: Any, leg: Leg) -> Terms:
    return Terms(
        force=row.instance__schedule__force,
        when_busy=WhenBusy(row.instance__schedule__when_busy),
        wait_at_most=row.instance__schedule__wait_at_most,
        give_up_after=row.instance__schedule__give_up_after,
        grace=grace_of(leg),
    )

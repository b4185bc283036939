"""What an open run asks for now: its rows as facts, and the domain's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce, Now

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

HELD = (MachineState.LAUNCHED, MachineState.ACTIVE)
"""The machine that a sleep ends is in one of these."""
_SINCE_DELETED = Row(lambda situation: True, Answer.SKIP, "its schedule was deleted or switched off")
_SINCE_CHANGED = Row(lambda situation: True, Answer.SKIP, "its schedule was changed since")
_TOO_LONG = Row(lambda situation: True, Answer.SKIP, "what was in flight took too long")


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance as it is now. The caller holds its lock. ``terms`` of each leg: none without a schedule.

    ``snapshot_state`` and ``machine_state`` are empty where there is none.
    """

    status: InstanceStatus
    provider: str
    snapshot_state: str
    damaged: bool
    machine_state: str
    machine_down: bool
    idle: bool
    kept_alive: bool
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
            at_rest = asleep and not now.machine_state
            return at_rest and now.snapshot_state == SnapshotState.VERIFIED and not now.damaged
        return now.status in AWAKE and now.machine_state in HELD and not now.machine_down


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
        kept_alive=standing.kept_alive,
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
    if standing.snapshot_state:
        return standing.snapshot_state != SnapshotState.DELETED
    return standing.status in (InstanceStatus.PROVISIONING, InstanceStatus.FAILED)


STANDING = (
    "status",
    "provider",
    "snapshot__state",
    "snapshot_damaged",
    "machine_state",
    "machine_down",
    "kept_alive",
    "in_flight",
    "idle_while",
    "beat_while",
    "heartbeat_interval",
    "pause_after",
    "schedule__enabled",
    "schedule__force",
    "schedule__when_busy",
    "schedule__wait_at_most",
    "schedule__give_up_after",
)
"""All that a standing is made of. The times of an idleness are told of those alone that are idle: others stand alike
whenever they were heard of last."""


def with_standing(instance_ids: Sequence[str]) -> QuerySet[Instance]:
    """The instances, with ``STANDING``."""
    machines = Machine.objects.filter(instance=OuterRef("pk"), state__in=[*HELD, MachineState.PARKED])
    first = machines.order_by("pk")
    in_flight = Operation.objects.filter(
        instance=OuterRef("pk"), state__in=[OperationState.QUEUED, OperationState.RUNNING]
    )
    idle = Q(status=InstanceStatus.IDLE)
    return Instance.objects.filter(pk__in=instance_ids).annotate(
        machine_state=Subquery(first.values("state")[:1]),
        machine_down=Subquery(first.values(down=Q(down_since__isnull=False))[:1]),
        snapshot_damaged=Q(snapshot__damaged_at__isnull=False),
        kept_alive=Coalesce(Q(kept_alive_until__gt=Now()), False),
        in_flight=Exists(in_flight),
        idle_while=Case(When(idle, then=F("idle_since"))),
        beat_while=Case(When(idle, then=F("last_heartbeat_at"))),
    )


def _standings(instance_ids: Sequence[str], real_now: datetime) -> dict[str, Standing]:
    rows = with_standing(instance_ids).values_list("pk", *STANDING, named=True)
    return {row.pk: standing(row, real_now) for row in rows}


def standing(row: Any, real_now: datetime) -> Standing:
    """Of a row of ``STANDING``."""
    seen = IdleState(row.idle_while, row.beat_while, row.heartbeat_interval)
    policy = Policy(enabled=True, pause_after=row.pause_after)
    return Standing(
        status=InstanceStatus(row.status),
        provider=row.provider,
        snapshot_state=row.snapshot__state or "",
        damaged=row.snapshot_damaged,
        machine_state=row.machine_state or "",
        machine_down=bool(row.machine_down),
        idle=row.status == InstanceStatus.IDLE and idle.is_due(seen, policy, real_now),
        kept_alive=row.kept_alive,
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
    now = _standings([row.instance_id for row in rows], real_now)
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

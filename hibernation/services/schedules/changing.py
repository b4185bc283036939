"""Keeping a person's wish: a schedule is put, changed or taken away, with its entries of beat and its event."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from hibernation.domain.errors import InvalidRequest
from hibernation.domain.states import EventType, RunState
from hibernation.domain.timetable import NO_LEAD, Leg, Terms, due, problems
from hibernation.models import Event, Instance, Schedule, ScheduleRun
from hibernation.services.clock import db_now
from hibernation.services.due import hibernate_due_at
from hibernation.services.requests import lock_instance
from hibernation.services.schedules.clock import schedule_now
from hibernation.services.schedules.firing import fire
from hibernation.services.schedules.leads import leads_of
from hibernation.services.schedules.mirroring import mirror
from hibernation.services.schedules.plainly import send_first_steps
from hibernation.services.schedules.rows import awake_until, is_wished, nominal_text, settle, timetable_of
from hibernation.services.schedules.telling import told
from hibernation.services.transitions import emit

_DEFAULT = Terms()
_CHANGED = "its schedule wants it at another time now"
_FIELD_OF = {
    "zone": "timezone",
    "wake": "wake_time",
    "sleep": "sleep_time",
    "days": "days",
    "country": "exceptions",
    "subdivision": "exceptions",
    "ranges": "exceptions",
}


@dataclass(frozen=True, slots=True)
class ScheduleWish:
    """The whole of a schedule; what is not said is as here. ``days``: 0 is Monday. ``timezone`` empty: ours."""

    wake_time: time | None = None
    sleep_time: time | None = None
    timezone: str = ""
    days: tuple[int, ...] = tuple(range(7))
    holiday_country: str = ""
    holiday_subdivision: str = ""
    off_dates: tuple[date, ...] = ()
    off_ranges: tuple[tuple[date, date], ...] = ()
    ready_by: bool = False
    force: bool = False
    when_busy: str = _DEFAULT.when_busy
    wait_at_most: timedelta = field(default=_DEFAULT.wait_at_most)
    give_up_after: timedelta = field(default=_DEFAULT.give_up_after)
    stay_awake: bool = False
    enabled: bool = True


@transaction.atomic
def put_schedule(instance_id: str, wish: ScheduleWish, *, actor: str) -> Schedule:
    """Make ``wish`` the instance's schedule, whatever it was before. ``InvalidRequest`` names the wrong fields.

    Times that are past today are not caught up. What was due already and is wished as before is dealt with first; what
    still waits and is wished no more is dropped.
    """
    instance, now = lock_instance(instance_id), schedule_now()
    old = Schedule.objects.select_for_update(no_key=True, of=("self",)).filter(pk=instance_id).first()
    row = Schedule(instance=instance, **_columns(wish), settled_at=now, changed_at=db_now())
    _check(row)
    begun = fire([instance_id], now) if old is not None and _still_due(old, row, now) else []
    settle(row, now, leads_of([instance_id])[instance_id] if row.ready_by else NO_LEAD)
    row.save(force_insert=old is None, force_update=old is not None)
    _end_waiting(_not_wished(row), _CHANGED if row.enabled else "its schedule was switched off")
    _keep_awake(instance, row, now)
    mirror(row)
    emit(EventType.SCHEDULE_CHANGED, in_words(row), instance=instance, now=db_now(), actor=actor,
         data=_told(wish))  # fmt: skip
    transaction.on_commit(partial(send_first_steps, begun))
    return row


@transaction.atomic
def delete_schedule(instance_id: str, *, actor: str) -> bool:
    """Whether there was one. What it began goes on; what was still waiting of it is dropped. Repeatable."""
    instance = lock_instance(instance_id)
    row = Schedule.objects.select_for_update(no_key=True, of=("self",)).filter(pk=instance_id).first()
    if row is None:
        return False
    row.enabled = False
    Schedule.objects.filter(pk=instance_id).delete()
    mirror(row)
    _end_waiting(ScheduleRun.objects.filter(instance=instance), "its schedule was deleted")
    _keep_awake(instance, row, schedule_now())
    emit(EventType.SCHEDULE_CHANGED, "the schedule was deleted", instance=instance, now=db_now(), actor=actor)
    return True


def _columns(wish: ScheduleWish) -> dict[str, Any]:
    columns = asdict(wish)
    columns["timezone"] = wish.timezone or settings.TIME_ZONE
    columns["days"] = sorted(set(wish.days))
    columns["off_dates"] = sorted(set(wish.off_dates))
    columns["off_ranges"] = [list(span) for span in wish.off_ranges]
    return columns


def _check(row: Schedule) -> None:
    """Everything the database and the timetable would refuse, in the words of the API."""
    found = {_FIELD_OF[name]: reason for name, reason in problems(timetable_of(row)).items()}
    if row.stay_awake and (row.wake_time is None or row.sleep_time is None):
        found["stay_awake"] = "It needs both a wake_time and a sleep_time."
    if found:
        raise InvalidRequest("The schedule cannot be kept.", found)


def _still_due(old: Schedule, new: Schedule, now: datetime) -> bool:
    """Whether something is due that the new times want just as well."""
    if old.next_run_at is None or old.next_run_at > now:
        return False
    try:
        last = due(timetable_of(old), old.settled_at, now, old.lead)[-1:]
    except ValueError:
        # Its zone is no more, and this edit may be what puts that right.
        return False
    wanted = due(timetable_of(new), old.settled_at, now, old.lead)
    return {(one.leg, nominal_text(one)) for one in last} <= {(one.leg, nominal_text(one)) for one in wanted}


def _not_wished(row: Schedule) -> QuerySet[ScheduleRun]:
    waiting = ScheduleRun.objects.filter(instance=row.pk, state=RunState.WAITING)
    return waiting.filter(pk__in=[run.pk for run in waiting if not is_wished(row, run)])


def _end_waiting(runs: QuerySet[ScheduleRun], reason: str) -> None:
    now, waiting = db_now(), list(runs.filter(state=RunState.WAITING).order_by("pk"))
    runs.filter(pk__in=[run.pk for run in waiting]).update(
        state=RunState.SKIPPED, reason=reason, ask_at=None, finished_at=now
    )
    Event.objects.bulk_create(
        told(
            EventType.SCHEDULE_SKIPPED, run.instance_id, Leg(run.leg), run.nominal, run.timezone, reason, now
        )
        for run in waiting
    )


def _keep_awake(instance: Instance, row: Schedule, now: datetime) -> None:
    instance.awake_until = awake_until(row, now)
    instance.hibernate_due_at = hibernate_due_at(instance)
    instance.save(update_fields=["awake_until", "hibernate_due_at"])


def in_words(row: Schedule) -> str:
    """``wakes at 09:00, sleeps at 18:00 America/Sao_Paulo``."""
    if not row.enabled:
        return "the schedule is switched off"
    legs = (("wakes", row.wake_time), ("sleeps", row.sleep_time))
    return ", ".join(f"{verb} at {at:%H:%M}" for verb, at in legs if at is not None) + f" {row.timezone}"


def _told(wish: ScheduleWish) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(wish).items() if value != getattr(_PLAIN, name)}


_PLAIN = ScheduleWish()

"""Schedules: when an instance wakes and sleeps on its user's clock, and what became of each occurrence."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from hibernation.domain.states import OPEN_RUN_STATES, RunState
from hibernation.domain.timetable import Leg, Terms, WhenBusy
from hibernation.models.choices import choices, values

_DEFAULT = Terms()
_OPEN = [state.value for state in RunState if state in OPEN_RUN_STATES]
_ENDED = [state.value for state in RunState if state not in OPEN_RUN_STATES]


def every_day() -> list[int]:
    return list(range(7))


class Schedule(models.Model):
    """One instance's. The row is the truth; entries of beat are made from it and only poke.

    ``settled_at``: when the last occurrence was due that was dealt with, or when the times were last changed; nothing
    up to then is ever acted on. ``next_*``: the first one after that; ``next_run_at``, when it starts, is earlier than
    ``next_due_at`` by ``lead``. All of it is recomputed in the transaction that deals with an occurrence.
    """

    instance = models.OneToOneField(
        "hibernation.Instance", primary_key=True, on_delete=models.PROTECT, related_name="schedule"
    )
    enabled = models.BooleanField(default=True)
    wake_time = models.TimeField(null=True, blank=True, help_text="local; empty: it does not wake by itself")
    sleep_time = models.TimeField(null=True, blank=True, help_text="local; empty: only idleness ends it")
    timezone = models.CharField(max_length=64, help_text="IANA, as America/Sao_Paulo")
    days = ArrayField(
        models.PositiveSmallIntegerField(),
        default=every_day,
        help_text="0 is Monday; of the wake, where it wakes",
    )
    holiday_country = models.CharField(max_length=2, blank=True, help_text="no wake on its public holidays")
    holiday_subdivision = models.CharField(max_length=64, blank=True)
    off_dates = ArrayField(models.DateField(), default=list, blank=True, help_text="no wake on these days")
    off_ranges = ArrayField(
        ArrayField(models.DateField(), size=2),
        default=list,
        blank=True,
        help_text="nor from the first to the last of each",
    )

    ready_by = models.BooleanField(
        default=False, help_text="wake early, by the usual time of a wake, to be ready at the wake's time"
    )
    force = models.BooleanField(default=False, help_text="sleep also while it works")
    when_busy = models.CharField(max_length=8, choices=choices(WhenBusy), default=_DEFAULT.when_busy)
    wait_at_most = models.DurationField(
        default=_DEFAULT.wait_at_most, help_text="how long a sleep waits for work to end"
    )
    give_up_after = models.DurationField(
        default=_DEFAULT.give_up_after, help_text="how long a wake is tried again for want of a machine"
    )
    stay_awake = models.BooleanField(default=False, help_text="idleness ends nothing between wake and sleep")

    lead = models.DurationField(default=timedelta(0), help_text="how much earlier a wake starts")
    settled_at = models.DateTimeField()
    next_run_at = models.DateTimeField(null=True, blank=True)
    next_leg = models.CharField(max_length=8, choices=choices(Leg), blank=True)
    next_due_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["next_run_at"], name="schedule_due", condition=Q(next_run_at__isnull=False))
        ]
        constraints = [
            models.CheckConstraint(
                name="schedule_has_a_leg",
                condition=Q(wake_time__isnull=False) | Q(sleep_time__isnull=False),
            ),
            models.CheckConstraint(
                name="schedule_days_are_of_the_week",
                condition=Q(days__contained_by=list(range(7)), days__len__gte=1),
            ),
            models.CheckConstraint(
                name="schedule_subdivision_has_a_country",
                condition=Q(holiday_subdivision="") | ~Q(holiday_country=""),
            ),
            models.CheckConstraint(
                name="schedule_when_busy_known", condition=Q(when_busy__in=values(WhenBusy))
            ),
            models.CheckConstraint(
                name="schedule_waits_forward",
                condition=Q(
                    wait_at_most__gte=timedelta(0), give_up_after__gte=timedelta(0), lead__gte=timedelta(0)
                ),
            ),
            models.CheckConstraint(
                name="schedule_stays_awake_between_two_times",
                condition=Q(stay_awake=False) | Q(wake_time__isnull=False, sleep_time__isnull=False),
            ),
            models.CheckConstraint(
                name="schedule_next_is_whole",
                condition=Q(next_run_at__isnull=True, next_leg="", next_due_at__isnull=True)
                | Q(
                    next_run_at__isnull=False,
                    next_due_at__isnull=False,
                    next_run_at__lte=F("next_due_at"),
                    next_due_at__gt=F("settled_at"),
                    next_leg__in=values(Leg),
                    enabled=True,
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"schedule of {self.instance_id}"


class ScheduleRun(models.Model):
    """One occurrence that came due. The arrows of ``state`` stand in ``hibernation.domain.states.RunState``.

    ``nominal``, the local time as the schedule says it, names it together with instance and leg; so it acts once,
    whoever pokes how often, and also when the schedule was deleted and made anew meanwhile. ``ask_at``: when an open
    one is looked at again; one whose operation runs is looked at when that ends.
    """

    # Without indexes of their own: those below serve, and thousands of rows are written at a time.
    instance = models.ForeignKey(
        "hibernation.Instance", on_delete=models.PROTECT, related_name="schedule_runs", db_index=False
    )
    leg = models.CharField(max_length=8, choices=choices(Leg))
    nominal = models.CharField(max_length=16, help_text="local, as 2026-01-31T09:00")
    timezone = models.CharField(max_length=64)
    due_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=choices(RunState))
    reason = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    ask_at = models.DateTimeField(null=True, blank=True)
    operation = models.ForeignKey(
        "hibernation.Operation",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["ask_at"], name="schedule_run_due", condition=Q(ask_at__isnull=False)),
            models.Index(
                fields=["operation"], name="schedule_run_started", condition=Q(state=RunState.STARTED)
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="one_run_per_occurrence", fields=["instance", "leg", "nominal"]),
            models.CheckConstraint(name="run_leg_known", condition=Q(leg__in=values(Leg))),
            models.CheckConstraint(
                name="run_ends_once",
                condition=Q(state__in=_OPEN, finished_at__isnull=True)
                | Q(state__in=_ENDED, finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="run_waits_until_asked",
                condition=Q(state=RunState.WAITING, ask_at__isnull=False)
                | Q(~Q(state=RunState.WAITING), ask_at__isnull=True),
            ),
            models.CheckConstraint(
                name="run_started_has_an_operation",
                condition=~Q(state=RunState.STARTED) | Q(operation__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.leg} of {self.instance_id} at {self.nominal}"

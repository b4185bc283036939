"""What is due becomes one run and one operation, whatever pokes, however often, and however late."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from hibernation.domain.states import InstanceStatus, OperationState
from hibernation.models import Instance, Operation, Schedule, ScheduleRun
from hibernation.services.clock import db_now
from hibernation.services.schedules import (
    ending,
    firing,
    rows,
    run_due_schedules,
    run_schedule,
    sync_schedules,
)
from tests.factories import idle_for, make_hibernated, make_operation
from tests.hibernation.services.schedules.day import MONDAY, Day, at, keep, runs
from tests.hibernation.services.test_operations import together
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def test_a_wake_that_is_due_starts_an_operation(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9, 0, 3))
    instance.refresh_from_db()
    operation = instance.operations.get()
    assert (operation.kind, operation.state, operation.actor) == ("wake", "running", "schedule")
    assert operation.reason == "scheduled: wake of 2026-03-02 09:00 America/Sao_Paulo"
    assert instance.status == InstanceStatus.WAKING
    assert runs(instance) == [("wake", "09:00", "started")]
    assert events(instance) == ["schedule_changed", "wake_started", "schedule_fired"]
    assert_consistent(instance)


@pytest.mark.django_db(transaction=True)
def test_the_first_steps_are_sent_once_all_rows_are_written(world: World, day: Day) -> None:
    instances = [make_hibernated() for _ in range(2)]
    for instance in instances:
        keep(instance)
    day.go(at(9))
    begun = Operation.objects.order_by("pk").values_list("pk", flat=True)
    assert world.sent == [(pk, "choose", 0) for pk in begun]


def test_a_sleep_that_is_due_hibernates_what_is_idle(world: World, day: Day) -> None:
    instance = world.awake(**idle_for(4))
    day.now = at(17)
    keep(instance)
    day.go(at(18))
    operation = instance.operations.get()
    assert (operation.kind, operation.forced, operation.machine_id) == (
        "hibernate",
        False,
        instance.machines.get().pk,
    )
    assert runs(instance) == [("sleep", "18:00", "started")]
    assert events(instance)[-2:] == ["hibernate_started", "schedule_fired"]
    assert_consistent(instance)


def test_nothing_is_done_before_its_time(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    assert day.go(at(8, 59, 59)) == 0
    assert runs(instance) == []


def test_ticks_and_pokes_collapse_to_one_act(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    run_schedule(instance.pk)
    day.go(at(9))
    for _ in range(3):
        run_schedule(instance.pk)
        run_due_schedules()
    assert instance.operations.count() == 1
    assert len(runs(instance)) == 1


def test_a_poke_is_of_one_instance(world: World, day: Day) -> None:
    one, other = make_hibernated(), make_hibernated()
    keep(one)
    keep(other)
    day.now = at(9)
    run_schedule(one.pk)
    assert (runs(one), runs(other)) == ([("wake", "09:00", "started")], [])


@pytest.mark.django_db(transaction=True)
def test_many_ticks_at_once_act_once(world: World, day: Day) -> None:
    instances = [make_hibernated() for _ in range(6)]
    for instance in instances:
        keep(instance)
    day.now = at(9)
    together(run_due_schedules, 4)
    run_due_schedules()
    assert ScheduleRun.objects.count() == len(instances)
    assert Operation.objects.filter(state=OperationState.RUNNING).count() == len(instances)


@pytest.mark.django_db(transaction=True)
def test_more_than_a_batch_is_done_side_by_side_and_once(
    world: World, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "BATCH", 2)
    for _ in range(9):
        keep(make_hibernated())
    assert day.go(at(9)) == 9
    assert Operation.objects.filter(state=OperationState.RUNNING).count() == 9
    assert len(world.sent) == 9


def test_the_next_occurrence_is_set_with_the_run(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    row = Schedule.objects.get()
    assert (row.settled_at, row.next_leg, row.next_run_at) == (at(9), "sleep", at(18))


def test_a_wake_within_its_grace_is_caught_up(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9, 29))
    assert runs(instance) == [("wake", "09:00", "started")]


def test_a_wake_beyond_its_grace_is_missed_and_told(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9, 31))
    event = instance.events.get(event_type="schedule_missed")
    assert runs(instance) == [("wake", "09:00", "missed")]
    assert event.reason == (
        "wake of 2026-03-02 09:00 America/Sao_Paulo: due 31 min ago, and the grace is 30 min"
    )
    assert (event.actor, event.data["nominal"]) == ("schedule", "2026-03-02T09:00")
    assert not instance.operations.exists()


def test_the_grace_of_each_leg_is_a_setting(world: World, day: Day, settings: Settings) -> None:
    settings.DUMONT_WAKE_GRACE, settings.DUMONT_SLEEP_GRACE = timedelta(minutes=1), timedelta(hours=5)
    instance = make_hibernated()
    keep(instance)
    day.go(at(9, 2))
    day.go(at(22, 59))
    assert runs(instance) == [("wake", "09:00", "missed"), ("sleep", "18:00", "done")]


def test_after_days_without_a_server_only_the_last_occurrence_counts(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9, 10, day=2))
    assert [state for _, _, state in runs(instance)] == ["missed"] * 4 + ["started"]
    assert events(instance).count("schedule_missed") == 4
    assert instance.operations.get().reason == "scheduled: wake of 2026-03-04 09:00 America/Sao_Paulo"


def test_a_clock_that_jumps_back_repeats_nothing(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    day.go(at(8, 30))
    day.go(at(9, 0, 1))
    assert len(runs(instance)) == 1
    assert instance.operations.count() == 1


def test_a_clock_that_jumps_ahead_and_back_acts_at_no_wrong_hour(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(3, day=1))
    assert [state for _, _, state in runs(instance)] == ["missed", "missed"]
    day.go(at(9))
    day.go(at(18))
    assert not instance.operations.exists()
    day.go(at(9, day=1))
    assert instance.operations.count() == 1


@pytest.mark.parametrize("ahead", [timedelta(hours=18), timedelta(days=365)], ids=str)
def test_what_a_clock_that_was_ahead_called_missed_is_still_acted_on(
    world: World, day: Day, ahead: timedelta
) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(8) + ahead)
    day.now = at(8, 1)
    sync_schedules()
    day.go(at(8, 2))
    assert not instance.operations.exists()
    day.go(at(9))
    assert instance.operations.count() == 1
    sync_schedules()
    day.go(at(9, 1))
    assert instance.operations.count() == 1


def test_what_was_acted_on_is_not_acted_on_again_when_the_clock_is_put_back(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    day.now = at(8, 30)
    sync_schedules()
    day.go(at(9))
    assert instance.operations.count() == 1
    assert Schedule.objects.get().next_run_at == at(18)


def test_an_instance_with_something_in_flight_goes_through_the_door(world: World, day: Day) -> None:
    instance = world.awake()
    keep(instance)
    running = make_operation(instance, kind="hibernate", step="freeze")
    Instance.objects.filter(pk=instance.pk).update(status=InstanceStatus.HIBERNATING)
    day.go(at(9))
    running.refresh_from_db()
    queued = instance.operations.get(state="queued")
    assert (running.cancel_reason, queued.kind, queued.actor) == ("superseded", "wake", "schedule")
    assert runs(instance) == [("wake", "09:00", "started")]


def test_a_schedule_that_is_switched_off_is_never_due(world: World, day: Day) -> None:
    keep(make_hibernated(), enabled=False)
    assert Schedule.objects.get().next_run_at is None
    assert day.go(at(9)) == 0


def test_a_ready_by_wake_starts_early_by_the_median_of_its_wakes(world: World, day: Day) -> None:
    instance = make_hibernated()
    for minutes in (5, 9, 60):
        made = db_now() - timedelta(hours=2)
        make_operation(
            instance,
            kind="wake",
            step="hook",
            state="succeeded",
            snapshot=instance.snapshot,
            created_at=made,
            finished_at=made + timedelta(minutes=minutes),
        )
    row = keep(instance, ready_by=True)
    assert (row.lead, row.next_run_at, row.next_due_at) == (timedelta(minutes=9), at(8, 51), at(9))
    day.go(at(8, 51))
    assert runs(instance) == [("wake", "09:00", "started")]


def test_without_wakes_of_its_own_the_installations_median_counts(world: World, day: Day) -> None:
    other = make_hibernated()
    made = db_now() - timedelta(hours=1)
    make_operation(
        other,
        kind="wake",
        step="hook",
        state="succeeded",
        snapshot=other.snapshot,
        created_at=made,
        finished_at=made + timedelta(seconds=121),
    )
    assert keep(make_hibernated(), ready_by=True).lead == timedelta(minutes=3)


def test_without_any_wake_a_usual_one_is_assumed(world: World, day: Day) -> None:
    assert keep(make_hibernated(), ready_by=True).lead == timedelta(minutes=7)


def test_a_holiday_has_no_wake(world: World, day: Day) -> None:
    instance = make_hibernated()
    row = keep(instance, off_dates=(at(9).date(),), sleep_time=None)
    assert row.next_run_at == at(9, day=1)


def test_a_night_shift_sleeps_on_the_day_after(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance, wake_time=time(22), sleep_time=time(6), days=(0,))
    day.go(at(22))
    assert Schedule.objects.get().next_run_at == at(6, day=1)


def lose_its_zone(instance: Instance) -> None:
    Schedule.objects.filter(pk=instance.pk).update(timezone="Mars/Olympus")


def test_a_schedule_whose_zone_is_no_more_stops_no_other(world: World, day: Day) -> None:
    bad, good = make_hibernated(), make_hibernated()
    keep(bad)
    keep(good)
    lose_its_zone(bad)
    day.go(at(9))
    assert runs(good) == [("wake", "09:00", "started")]
    assert runs(bad) == []
    row = Schedule.objects.get(pk=bad.pk)
    assert (row.next_run_at, row.settled_at) == (at(9, 5), at(8))
    assert bad.events.get(event_type="schedule_waited").reason == (
        "its times cannot be told: there is no time zone 'Mars/Olympus'"
    )


def test_a_zone_that_is_no_more_is_told_once(world: World, day: Day) -> None:
    bad = make_hibernated()
    keep(bad)
    lose_its_zone(bad)
    day.go(at(9))
    day.go(at(9, 5))
    assert events(bad).count("schedule_waited") == 1


def test_what_came_due_without_a_zone_is_caught_up_with_one(world: World, day: Day) -> None:
    instance = make_hibernated()
    row = keep(instance)
    lose_its_zone(instance)
    day.go(at(9))
    Schedule.objects.filter(pk=instance.pk).update(timezone=row.timezone)
    day.go(at(9, 5))
    assert runs(instance) == [("wake", "09:00", "started")]


def test_an_edit_puts_a_schedule_right_whose_zone_is_no_more(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    lose_its_zone(instance)
    day.now = at(9)
    assert keep(instance).next_run_at == at(18)


def test_a_phase_that_fails_keeps_no_other_from_its_work(
    world: World, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: datetime) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ending, "end_batch", broken)
    instance = make_hibernated()
    keep(instance)
    with pytest.raises(RuntimeError, match="a bug"):
        day.go(at(9))
    assert runs(instance) == [("wake", "09:00", "started")]


@pytest.mark.parametrize("days", [{"off_dates": (MONDAY,)}, {"off_ranges": ((MONDAY, MONDAY),)}])
def test_a_timetable_with_days_of_its_own_is_not_remembered(
    world: World, day: Day, days: dict[str, Any]
) -> None:
    rows.next_after.cache_clear()
    firing._upcoming.cache_clear()
    keep(make_hibernated(), **days)
    day.go(at(18))
    assert ScheduleRun.objects.count() == 1
    assert (rows.next_after.cache_info().currsize, firing._upcoming.cache_info().currsize) == (0, 0)

"""Putting, changing and taking away a schedule: what is kept, told and refused."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from hibernation.domain.errors import InvalidRequest, NotFound
from hibernation.models import Instance, Schedule, ScheduleRun
from hibernation.services.clock import db_now
from hibernation.services.schedules import delete_schedule, put_schedule
from hibernation.services.schedules.changing import ScheduleWish
from hibernation.services.sweep import sweep
from tests.factories import idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.schedules.day import MONDAY, ZONE, Day, ask_now, at, keep, runs
from tests.hibernation.services.world import World, events

pytestmark = pytest.mark.django_db


def test_the_guides_schedule_is_kept_and_told(day: Day) -> None:
    instance = make_instance()
    row = keep(instance)
    assert (row.wake_time, row.sleep_time, row.timezone, row.enabled) == (time(9), time(18), ZONE, True)
    assert (row.next_leg, row.next_run_at) == ("wake", at(9))
    event = instance.events.get()
    assert (event.event_type, event.actor) == ("schedule_changed", "user:ana")
    assert event.reason == "wakes at 09:00, sleeps at 18:00 America/Sao_Paulo"
    assert event.data["timezone"] == ZONE


def test_without_a_zone_the_installations_counts(day: Day, settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Lisbon"
    assert keep(make_instance(), timezone="").timezone == "Europe/Lisbon"


def test_a_second_one_replaces_the_first(day: Day) -> None:
    instance = make_instance()
    keep(instance, force=True, stay_awake=True)
    row = keep(instance, sleep_time=None)
    row.refresh_from_db()
    assert (row.force, row.stay_awake, row.sleep_time) == (False, False, None)
    assert Schedule.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("timezone", {"timezone": "Mars/Olympus"}),
        ("wake_time", {"wake_time": None, "sleep_time": None}),
        ("wake_time", {"wake_time": time(9, 0, 30)}),
        ("sleep_time", {"sleep_time": time(9, 0, 30)}),
        ("days", {"days": ()}),
        ("stay_awake", {"stay_awake": True, "sleep_time": None}),
        ("exceptions", {"holiday_country": "XX"}),
        ("exceptions", {"holiday_country": "BR", "holiday_subdivision": "ZZ"}),
        ("exceptions", {"off_ranges": ((MONDAY, MONDAY - timedelta(days=1)),)}),
    ],
)
def test_what_cannot_be_kept_is_refused_by_the_name_of_the_field(
    day: Day, field: str, wish: dict[str, Any]
) -> None:
    instance = make_instance()
    with pytest.raises(InvalidRequest) as refused:
        keep(instance, **wish)
    assert set(refused.value.fields) == {field}
    assert not Schedule.objects.exists()


def test_an_instance_that_does_not_exist_has_no_schedule(day: Day) -> None:
    with pytest.raises(NotFound):
        put_schedule("nobody", ScheduleWish(wake_time=time(9)), actor="user:ana")
    with pytest.raises(NotFound):
        delete_schedule("nobody", actor="user:ana")


def test_exceptions_are_kept_and_read_back(day: Day) -> None:
    instance = make_instance()
    keep(
        instance,
        sleep_time=None,
        off_dates=(MONDAY,),
        off_ranges=((date(2026, 3, 3), date(2026, 3, 5)), (date(2026, 3, 7), date(2026, 3, 7))),
    )
    row = Schedule.objects.get()
    assert row.next_run_at == at(9, day=4)
    assert row.off_ranges[1] == [date(2026, 3, 7), date(2026, 3, 7)]


def test_a_holiday_of_the_country_is_no_wake(day: Day) -> None:
    day.now = at(20, day=49)
    assert MONDAY + timedelta(days=50) == date(2026, 4, 21)
    row = keep(make_instance(), sleep_time=None, holiday_country="BR")
    assert row.next_run_at == at(9, day=51)


def test_a_time_that_is_past_today_is_not_caught_up(world: World, day: Day) -> None:
    instance = make_hibernated()
    day.now = at(9, 1)
    row = keep(instance)
    assert row.next_leg == "sleep"
    day.go(at(9, 2))
    assert runs(instance) == []


def test_what_is_due_and_wished_as_before_is_dealt_with_first(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.now = at(9, 0, 2)
    keep(instance, sleep_time=time(19))
    day.go(at(9, 0, 4))
    assert runs(instance) == [("wake", "09:00", "started")]


@pytest.mark.parametrize("change", [{"wake_time": time(10)}, {"enabled": False}, {"days": (1,)}])
def test_what_is_due_and_not_wished_any_more_is_dropped(
    world: World, day: Day, change: dict[str, Any]
) -> None:
    instance = make_hibernated()
    keep(instance)
    day.now = at(9, 0, 2)
    keep(instance, **change)
    day.go(at(9, 0, 4))
    assert runs(instance) == []


@pytest.mark.parametrize(
    "change",
    [
        {"sleep_time": time(20), "force": True},
        {"sleep_time": None, "force": True},
        {"wake_time": time(8), "sleep_time": time(22), "stay_awake": True},
        {"timezone": "America/Buenos_Aires"},
    ],
)
def test_a_sleep_that_waits_is_dropped_by_an_edit_that_moves_it(
    world: World, day: Day, change: dict[str, Any]
) -> None:
    instance = world.awake(gpu_utilization=90.0)
    day.now = at(17)
    keep(instance)
    day.go(at(18))
    day.now = at(18, 5)
    keep(instance, **change)
    ask_now(instance)
    day.go(at(18, 5))
    assert runs(instance) == [("sleep", "18:00", "skipped")]
    assert not instance.operations.exists()


def test_a_sleep_that_waits_goes_by_new_terms_where_its_time_is_as_before(world: World, day: Day) -> None:
    instance = world.awake(gpu_utilization=90.0)
    day.now = at(17)
    keep(instance)
    day.go(at(18))
    keep(instance, force=True)
    ask_now(instance)
    day.go(at(18, 5))
    assert runs(instance) == [("sleep", "18:00", "started")]


@pytest.mark.parametrize("edited", ["while it waits", "while its operation runs"])
def test_a_wake_that_was_moved_is_not_tried_again(world: World, day: Day, edited: str) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    if edited == "while its operation runs":
        keep(instance, wake_time=time(14))
    instance.operations.update(state="failed", error_code="no_offer", error="none", finished_at=db_now())
    Instance.objects.update(status="failed")
    day.go(at(9, 1))
    if edited == "while it waits":
        keep(instance, wake_time=time(14))
    ask_now(instance)
    day.go(at(9, 30))
    assert runs(instance)[0][2] in ("skipped", "gave_up")
    assert instance.operations.count() == 1


def test_deleting_drops_what_waits_and_leaves_what_runs(world: World, day: Day) -> None:
    waiting, waking = world.awake(), make_hibernated()
    keep(waiting, wake_time=None, sleep_time=time(9))
    keep(waking)
    day.go(at(9))
    for instance in (waiting, waking):
        assert delete_schedule(instance.pk, actor="user:ana") is True
    assert runs(waiting) == [("sleep", "09:00", "skipped")]
    assert runs(waking) == [("wake", "09:00", "started")]
    assert waking.operations.get().state == "running"
    assert events(waking)[-1] == "schedule_changed"


def test_deleting_nothing_changes_nothing() -> None:
    instance = make_instance()
    assert delete_schedule(instance.pk, actor="user:ana") is False
    assert events(instance) == []


def test_what_a_deleted_schedule_began_is_not_tried_again(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    delete_schedule(instance.pk, actor="user:ana")
    instance.operations.update(state="failed", error_code="no_offer", error="none", finished_at=db_now())
    Instance.objects.update(status="failed")
    day.go(at(9, 1))
    ask_now(instance)
    day.go(at(9, 2))
    assert runs(instance) == [("wake", "09:00", "gave_up")]
    assert instance.operations.count() == 1


def idle_machine(**more: Any) -> Instance:
    instance = make_instance(**idle_for(4, precopy_enabled=False), **more)
    make_machine(instance)
    return instance


def test_staying_awake_holds_back_the_sweep_inside_the_window(world: World, day: Day) -> None:
    instance = idle_machine()
    day.now = db_now()
    window = {"wake_time": time(0), "sleep_time": time(0), "timezone": "UTC"}
    keep(instance, stay_awake=True, **window)
    assert sweep() == 0
    instance.refresh_from_db()
    assert instance.awake_until is not None
    assert instance.hibernate_due_at == instance.awake_until
    keep(instance, **window)
    assert sweep() == 1


def test_a_heartbeat_inside_the_window_does_not_bring_the_deadline_back(world: World, day: Day) -> None:
    instance = world.awake(precopy_enabled=False)
    day.now = db_now()
    keep(instance, stay_awake=True, wake_time=time(0), sleep_time=time(0), timezone="UTC")
    for _ in range(2):
        world.beat(instance, 0.0)
    instance.refresh_from_db()
    assert instance.hibernate_due_at == instance.awake_until


def test_the_window_opens_with_the_wake_and_closes_with_the_sleep(world: World, day: Day) -> None:
    instance = idle_machine()
    keep(instance, stay_awake=True)
    instance.refresh_from_db()
    assert instance.awake_until is None
    day.go(at(9))
    instance.refresh_from_db()
    assert instance.awake_until == at(18)
    day.go(at(18))
    instance.refresh_from_db()
    assert instance.awake_until is None


@pytest.mark.parametrize("end", ["deleted", "switched off"])
def test_without_the_schedule_idleness_counts_again(world: World, day: Day, end: str) -> None:
    instance = idle_machine()
    day.now = db_now()
    window = {"wake_time": time(0), "sleep_time": time(0), "timezone": "UTC", "stay_awake": True}
    keep(instance, **window)
    if end == "deleted":
        delete_schedule(instance.pk, actor="user:ana")
    else:
        keep(instance, **window, enabled=False)
    assert sweep() == 1


def test_a_run_outlives_its_schedule(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    delete_schedule(instance.pk, actor="user:ana")
    assert ScheduleRun.objects.filter(instance=instance).count() == 1

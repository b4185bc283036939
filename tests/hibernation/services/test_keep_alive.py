"""Somebody says that an instance is in use: neither idleness nor its schedule ends it, a person's order does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.errors import Conflict
from hibernation.domain.states import InstanceStatus
from hibernation.models import Instance
from hibernation.services.clock import db_now
from hibernation.services.keep_alive import LONGEST, end_keep_alive, keep_alive
from hibernation.services.schedules import run_due_schedules
from hibernation.services.sweep import sweep
from tests.factories import idle_for, make_hibernated, make_operation
from tests.hibernation.services.schedules.day import Day, ask_now, at, keep, runs
from tests.hibernation.services.world import World, events

pytestmark = pytest.mark.django_db
ANA = "user:ana"
HOUR = timedelta(hours=1)


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Day:
    return Day(monkeypatch)


def over(instance: Instance) -> None:
    """As if the time that it was kept for had passed."""
    instance.refresh_from_db()
    past = db_now() - timedelta(seconds=1)
    Instance.objects.filter(pk=instance.pk).update(kept_alive_until=past, hibernate_due_at=past)


def test_what_is_idle_is_not_hibernated_while_it_is_kept_alive(world: World) -> None:
    instance = world.awake(**idle_for(4))
    keep_alive(instance.pk, HOUR, actor=ANA)
    assert sweep() == 0
    instance.refresh_from_db()
    assert instance.hibernate_due_at == instance.kept_alive_until
    assert (instance.events.get().event_type, instance.events.get().actor) == ("keep_alive", ANA)
    over(instance)
    sweep()
    assert instance.operations.get().kind == "hibernate"


def test_what_falls_idle_later_is_kept_as_well(world: World) -> None:
    instance = world.awake(gpu_utilization=90.0)
    keep_alive(instance.pk, HOUR, actor=ANA)
    instance.refresh_from_db()
    assert instance.hibernate_due_at is None
    world.beat(instance, 0.0)
    instance.refresh_from_db()
    assert (instance.status, instance.hibernate_due_at) == ("idle", instance.kept_alive_until)


def test_it_is_taken_back_and_that_is_repeatable(world: World) -> None:
    instance = world.awake(**idle_for(4))
    keep_alive(instance.pk, HOUR, actor=ANA)
    for _ in range(2):
        end_keep_alive(instance.pk, actor=ANA)
    assert [event.reason for event in instance.events.order_by("pk")][1:] == ["kept alive no longer"]
    sweep()
    assert instance.operations.get().kind == "hibernate"


def test_it_is_said_anew_and_for_a_day_at_most(world: World) -> None:
    instance = world.awake()
    keep_alive(instance.pk, HOUR, actor=ANA)
    keep_alive(instance.pk, 90 * LONGEST, actor=ANA)
    instance.refresh_from_db()
    assert instance.kept_alive_until is not None
    assert instance.kept_alive_until <= db_now() + LONGEST


@pytest.mark.parametrize("status", ["hibernating", "hibernated", "deleted", "failed", "released"])
def test_where_nothing_is_up_there_is_nothing_to_keep(status: str) -> None:
    instance = make_hibernated()
    Instance.objects.filter(pk=instance.pk).update(status=status)
    with pytest.raises(Conflict):
        keep_alive(instance.pk, HOUR, actor=ANA)
    assert not instance.events.exists()


def test_one_that_is_waking_is_kept_when_it_is_up() -> None:
    instance = make_hibernated()
    make_operation(instance, kind="wake", step="loading")
    Instance.objects.filter(pk=instance.pk).update(status=InstanceStatus.WAKING)
    keep_alive(instance.pk, HOUR, actor=ANA)
    instance.refresh_from_db()
    assert instance.kept_alive_until is not None


def test_a_persons_order_goes_before_it_and_ends_it(world: World) -> None:
    instance = world.awake(**idle_for(4))
    keep_alive(instance.pk, HOUR, actor=ANA)
    world.run(world.hibernate(instance))
    instance.refresh_from_db()
    assert (instance.status, instance.kept_alive_until) == ("hibernated", None)


@pytest.mark.parametrize("wish", [{}, {"force": True}])
def test_a_scheduled_sleep_waits_for_it_even_by_force(world: World, day: Day, wish: dict[str, bool]) -> None:
    instance = world.awake(**idle_for(4))
    day.now = at(17)
    keep(instance, **wish)
    keep_alive(instance.pk, HOUR, actor=ANA)
    day.go(at(18))
    assert runs(instance) == [("sleep", "18:00", "waiting")]
    assert events(instance)[-1] == "schedule_waited"
    end_keep_alive(instance.pk, actor=ANA)
    day.now = at(18, 20)
    ask_now(instance)
    run_due_schedules()
    assert instance.operations.get().actor == "schedule"

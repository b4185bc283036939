"""What becomes of an occurrence: work and people come first, a machine may be long in coming, and all of it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from hibernation.domain.states import CreditLevel, InstanceStatus, RunState
from hibernation.domain.timetable import WhenBusy
from hibernation.models import Instance, Operation, ProviderAccount, ScheduleRun
from hibernation.services.cancelling import request_cancel
from hibernation.services.clock import db_now
from hibernation.services.instances import configure
from hibernation.services.schedules import asking, firing, run_due_schedules
from tests.factories import PROVIDER, idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.schedules.day import Day, ask_now, at, keep, runs
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def end(operation: Operation, state: str, code: str, error: str, status: InstanceStatus) -> None:
    """What the operation comes to, told short."""
    Operation.objects.filter(pk=operation.pk).update(
        state=state, error_code=code, error=error, finished_at=db_now()
    )
    Instance.objects.filter(pk=operation.instance_id).update(status=status)


def again(instance: Instance) -> None:
    ask_now(instance)
    run_due_schedules()


def reason_of_last(instance: Instance) -> str:
    return instance.events.order_by("-id").values_list("reason", flat=True)[0]


def busy(world: World, day: Day, **more: Any) -> Instance:
    instance = world.awake(**{"gpu_utilization": 90.0} | more)
    day.now = at(17)
    return instance


def fall_idle(instance: Instance) -> None:
    Instance.objects.filter(pk=instance.pk).update(**idle_for(4) | {"hibernate_due_at": None})


def test_a_sleep_waits_for_work_to_end(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance)
    day.go(at(18))
    assert runs(instance) == [("sleep", "18:00", "waiting")]
    assert events(instance)[-1] == "schedule_waited"
    fall_idle(instance)
    day.now = at(18, 20)
    again(instance)
    assert instance.operations.get().forced is False
    assert runs(instance) == [("sleep", "18:00", "started")]


def test_waiting_is_told_once(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance)
    day.go(at(18))
    again(instance)
    again(instance)
    assert events(instance).count("schedule_waited") == 1


def test_a_sleep_that_waited_long_enough_is_skipped(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance, wait_at_most=timedelta(hours=1))
    day.go(at(18))
    day.now = at(19)
    again(instance)
    assert runs(instance) == [("sleep", "18:00", "skipped")]
    assert reason_of_last(instance).endswith("it was busy for as long as its schedule waits")
    assert not instance.operations.exists()


def test_a_sleep_may_rather_skip_than_wait(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance, when_busy=WhenBusy.SKIP)
    day.go(at(18))
    assert runs(instance) == [("sleep", "18:00", "skipped")]
    assert events(instance)[-1] == "schedule_skipped"


def test_a_forced_sleep_asks_for_no_idleness(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance, force=True)
    day.go(at(18))
    assert instance.operations.get().forced is True
    assert_consistent(instance)


def test_a_silent_machine_counts_as_busy(world: World, day: Day) -> None:
    instance = busy(world, day, **idle_for(4, last_heartbeat_at=db_now() - timedelta(minutes=2)))
    keep(instance)
    day.go(at(18))
    assert runs(instance) == [("sleep", "18:00", "waiting")]


def test_a_sleep_does_not_need_automatic_hibernation(world: World, day: Day) -> None:
    instance = busy(world, day, **idle_for(4), precopy_enabled=False)
    configure(instance.pk, {"auto_hibernation_enabled": False}, actor="user:ana")
    keep(instance)
    day.go(at(18))
    operation = world.run(instance.operations.get())
    assert (operation.state, operation.forced) == ("succeeded", False)
    assert reason_of_last(instance).startswith("as scheduled")
    day.go(at(18, 5))
    assert runs(instance) == [("sleep", "18:00", "done")]


def test_work_that_resumes_stops_a_scheduled_sleep_which_then_waits(world: World, day: Day) -> None:
    instance = busy(world, day, **idle_for(4), precopy_enabled=False)
    keep(instance)
    day.go(at(18))
    world.beat(instance, 95.0)
    operation = world.run(instance.operations.get())
    assert operation.error_code == "activity_resumed"
    day.go(at(18, 1))
    assert runs(instance) == [("sleep", "18:00", "waiting")]
    again(instance)
    assert runs(instance) == [("sleep", "18:00", "waiting")]
    assert instance.operations.count() == 1


def test_a_hibernation_that_failed_is_tried_again_later(world: World, day: Day) -> None:
    instance = busy(world, day, **idle_for(4))
    keep(instance)
    day.go(at(18))
    end(instance.operations.get(), "failed", "store_error", "the store is full", InstanceStatus.RUNNING)
    day.go(at(18, 1))
    run = ScheduleRun.objects.get()
    assert (run.state, run.reason) == (RunState.WAITING, "the store is full")
    assert run.ask_at is not None
    assert timedelta(minutes=9) < run.ask_at - db_now() < timedelta(minutes=11)


@pytest.mark.parametrize("force", [False, True])
def test_a_scheduled_sleep_that_was_called_off_is_not_tried_again(
    world: World, day: Day, force: bool
) -> None:
    instance = busy(world, day, **idle_for(4), precopy_enabled=False)
    keep(instance, force=force)
    day.go(at(18))
    request_cancel(instance.operations.get().pk, actor="user:ana")
    assert world.run(instance.operations.get()).error_code == "cancelled"
    day.go(at(18, 1))
    assert runs(instance) == [("sleep", "18:00", "skipped")]
    assert events(instance)[-1] == "schedule_skipped"
    assert reason_of_last(instance).endswith(": called off")


def test_a_scheduled_wake_that_was_called_off_before_it_began_is_skipped(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    instance.operations.update(state="queued", started_at=None, step="")
    request_cancel(instance.operations.get().pk, actor="user:ana")
    day.go(at(9, 1))
    assert runs(instance) == [("wake", "09:00", "skipped")]


def test_a_sleep_that_fails_for_as_long_as_its_schedule_waits_is_given_up(world: World, day: Day) -> None:
    instance = busy(world, day, **idle_for(4))
    keep(instance, wait_at_most=timedelta(hours=1))
    day.go(at(18))
    end(instance.operations.get(), "failed", "store_error", "the store is full", InstanceStatus.RUNNING)
    day.go(at(19))
    assert runs(instance) == [("sleep", "18:00", "gave_up")]
    assert events(instance)[-1] == "schedule_gave_up"
    assert reason_of_last(instance).endswith("as its schedule waits; at last: the store is full")


def test_a_wake_of_what_is_awake_is_done(world: World, day: Day) -> None:
    instance = make_instance()
    make_machine(instance)
    keep(instance)
    day.go(at(9))
    assert runs(instance) == [("wake", "09:00", "done")]
    assert reason_of_last(instance) == "wake of 2026-03-02 09:00 America/Sao_Paulo: it is awake already"


def test_a_wake_that_succeeds_is_done(world: World, day: Day) -> None:
    instance = world.asleep()
    keep(instance)
    day.go(at(9))
    world.run(instance.operations.latest("pk"))
    day.go(at(9, 10))
    assert runs(instance) == [("wake", "09:00", "done")]


def test_a_wake_without_a_machine_is_tried_again(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    end(instance.operations.get(), "failed", "no_offer", "no offer fits", InstanceStatus.FAILED)
    day.go(at(9, 5))
    assert runs(instance) == [("wake", "09:00", "waiting")]
    assert reason_of_last(instance).endswith("no offer fits")
    again(instance)
    assert [o.state for o in instance.operations.order_by("pk")] == ["failed", "running"]
    assert runs(instance) == [("wake", "09:00", "started")]
    assert events(instance).count("schedule_fired") == 2


def test_a_wake_is_given_up_after_its_time(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance, give_up_after=timedelta(minutes=30))
    day.go(at(9))
    end(instance.operations.get(), "failed", "no_offer", "no offer fits", InstanceStatus.FAILED)
    day.go(at(9, 31))
    again(instance)
    assert runs(instance) == [("wake", "09:00", "gave_up")]
    assert events(instance)[-1] == "schedule_gave_up"
    assert reason_of_last(instance).endswith("no machine was to be had in time; at last: no offer fits")


def test_a_wake_that_needs_a_person_is_given_up_at_once(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    end(instance.operations.get(), "failed", "image_failed", "no such image", InstanceStatus.FAILED)
    day.go(at(9, 5))
    assert runs(instance) == [("wake", "09:00", "gave_up")]


def test_an_empty_account_is_asked_again(world: World, day: Day) -> None:
    account = ProviderAccount.objects.create(provider=PROVIDER, level=CreditLevel.FLOOR)
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    assert runs(instance) == [("wake", "09:00", "waiting")]
    ProviderAccount.objects.filter(pk=account.pk).update(level=CreditLevel.FINE)
    day.now = at(9, 2)
    again(instance)
    assert runs(instance) == [("wake", "09:00", "started")]


def test_an_account_that_stays_empty_ends_it(world: World, day: Day) -> None:
    ProviderAccount.objects.create(provider=PROVIDER, level=CreditLevel.FLOOR)
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    day.now = at(10)
    again(instance)
    assert runs(instance) == [("wake", "09:00", "gave_up")]


def test_what_a_person_does_meanwhile_wins(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    day.go(at(9))
    end(instance.operations.get(), "failed", "no_offer", "no offer fits", InstanceStatus.FAILED)
    day.go(at(9, 1))
    theirs = world.wake(instance)
    again(instance)
    assert runs(instance) == [("wake", "09:00", "skipped")]
    assert reason_of_last(instance).endswith("overruled by what was done since")
    theirs.refresh_from_db()
    assert theirs.state == "running"


def test_what_a_person_orders_before_the_first_look_wins(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance)
    firing.fire_batch(at(18))
    world.run(world.hibernate(instance))
    world.run(world.wake(instance))
    day.go(at(18, 1))
    assert runs(instance) == [("sleep", "18:00", "skipped")]
    assert reason_of_last(instance).endswith("overruled by what was done since")


def test_a_snapshot_that_a_person_orders_overrules_nothing(world: World, day: Day) -> None:
    from hibernation.services.requests import request_snapshot

    instance = busy(world, day)
    keep(instance)
    day.go(at(18))
    request_snapshot(instance.pk, actor="user:ana", reason="now")
    again(instance)
    assert runs(instance) == [("sleep", "18:00", "waiting")]


def test_a_later_occurrence_ends_an_earlier_wait(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance, wait_at_most=timedelta(hours=20))
    day.go(at(18))
    day.go(at(9, day=1))
    again(instance)
    assert runs(instance) == [("sleep", "18:00", "skipped"), ("wake", "09:00", "done")]


def test_what_a_person_did_before_holds_until_the_next_occurrence(world: World, day: Day) -> None:
    instance = busy(world, day)
    keep(instance)
    world.run(world.hibernate(instance))
    day.go(at(18))
    assert runs(instance) == [("sleep", "18:00", "done")]
    day.go(at(9, day=1))
    assert runs(instance)[-1] == ("wake", "09:00", "started")


def test_a_wake_in_flight_is_waited_for(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    theirs = world.wake(instance)
    day.go(at(9))
    assert runs(instance) == [("wake", "09:00", "waiting")]
    end(theirs, "succeeded", "", "", InstanceStatus.RUNNING)
    again(instance)
    assert runs(instance) == [("wake", "09:00", "done")]


def test_a_wake_in_flight_is_not_waited_for_for_ever(world: World, day: Day) -> None:
    instance = make_hibernated()
    keep(instance)
    world.wake(instance)
    day.go(at(9))
    day.now = at(10)
    again(instance)
    assert runs(instance) == [("wake", "09:00", "skipped")]


def test_a_released_instance_is_left_alone(world: World, day: Day) -> None:
    instance = make_hibernated(status=InstanceStatus.RELEASED)
    keep(instance)
    day.go(at(9))
    assert runs(instance) == [("wake", "09:00", "skipped")]


def test_one_that_was_only_registered_is_started(world: World, day: Day) -> None:
    instance = make_instance(status=InstanceStatus.PROVISIONING)
    keep(instance)
    day.go(at(9))
    assert instance.operations.get().kind == "wake"


def test_a_machine_that_stands_still_is_not_put_to_sleep(world: World, day: Day) -> None:
    instance = busy(world, day, **idle_for(4))
    instance.machines.update(down_since=db_now(), phase="stopped")
    keep(instance)
    day.go(at(18))
    assert runs(instance) == [("sleep", "18:00", "waiting")]
    assert "cannot be saved now" in reason_of_last(instance)


def test_one_bad_row_stops_no_other_and_does_not_come_back_at_once(
    world: World, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = make_hibernated(status=InstanceStatus.FAILED), make_hibernated()
    keep(bad)
    keep(good)

    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(asking, "request_wake", broken)
    day.go(at(9))
    assert runs(bad) == [("wake", "09:00", "waiting")]
    assert runs(good) == [("wake", "09:00", "started")]
    assert ScheduleRun.objects.get(instance=bad).ask_at > db_now() + timedelta(minutes=4)


def test_what_cannot_be_started_for_a_bug_is_given_up_in_the_end_and_told_once(
    world: World, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = make_hibernated(status=InstanceStatus.FAILED)
    keep(instance)

    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(asking, "request_wake", broken)
    for minute in (0, 5, 10):
        day.now = at(9, minute)
        again(instance)
    assert ScheduleRun.objects.get().attempts == 3
    assert events(instance).count("schedule_waited") == 1
    day.now = at(10)
    again(instance)
    assert runs(instance) == [("wake", "09:00", "gave_up")]


def test_a_tick_that_is_told_to_end_ends(world: World, day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = make_hibernated(status=InstanceStatus.FAILED)
    keep(instance)

    def too_long(*args: Any, **more: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(asking, "request_wake", too_long)
    with pytest.raises(SoftTimeLimitExceeded):
        day.go(at(9))

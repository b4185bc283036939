"""Entries of beat are made from the schedules, and made again whatever happens to them."""

from __future__ import annotations

from datetime import time, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks
from pytest_django import Settings

from celery_app import app
from dumont.beat import Scheduler
from hibernation.models import Schedule
from hibernation.services.schedules import delete_schedule, sync_schedules
from hibernation.services.schedules.mirroring import TASK
from tests.factories import make_hibernated, make_instance, make_operation
from tests.hibernation.services.schedules.day import Day, at, keep

pytestmark = pytest.mark.django_db


def crons() -> dict[str, str]:
    """By leg: minute, hour, days of the week and zone."""
    return {
        task.name.rpartition(" ")[2]: " ".join(
            str(part) for part in (task.crontab.minute, task.crontab.hour, task.crontab.day_of_week)
        )
        + f" {task.crontab.timezone}"
        for task in PeriodicTask.objects.filter(task=TASK)
        if task.crontab is not None
    }


def run_command() -> str:
    out = StringIO()
    call_command("sync_schedules", stdout=out)
    return out.getvalue()


def test_each_leg_is_an_entry_in_its_zone(day: Day) -> None:
    instance = make_instance()
    keep(instance)
    assert crons() == {"wake": "0 9 * America/Sao_Paulo", "sleep": "0 18 * America/Sao_Paulo"}
    task = PeriodicTask.objects.get(name=f"schedule of {instance.pk}: wake")
    assert (task.args, task.queue, task.enabled) == (f'["{instance.pk}"]', "control", True)
    assert task.last_run_at is not None


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"days": (0, 4)}, {"wake": "0 9 1,5", "sleep": "0 18 1,5"}),
        ({"days": (6,)}, {"wake": "0 9 0", "sleep": "0 18 0"}),
        (
            {"days": (4, 5), "wake_time": time(22), "sleep_time": time(6)},
            {"wake": "0 22 5,6", "sleep": "0 6 0,6"},
        ),
        ({"wake_time": None}, {"sleep": "0 18 *"}),
        ({"enabled": False}, {}),
    ],
)
def test_days_are_those_of_beat(day: Day, wish: dict[str, Any], expected: dict[str, str]) -> None:
    keep(make_instance(), **wish)
    assert crons() == {leg: f"{text} America/Sao_Paulo" for leg, text in expected.items()}


def test_an_early_wake_is_poked_early_also_on_the_day_before(day: Day) -> None:
    instance = make_hibernated()
    now = at(8)
    make_operation(
        instance,
        kind="wake",
        step="hook",
        state="succeeded",
        snapshot=instance.snapshot,
        created_at=now,
        finished_at=now + timedelta(minutes=20),
    )
    keep(instance, wake_time=time(0, 10), days=(0,), sleep_time=None, ready_by=True)
    assert crons() == {"wake": "50 23 0 America/Sao_Paulo"}


def test_a_change_edits_the_entries_and_a_deletion_takes_them_away(day: Day) -> None:
    instance = make_instance()
    keep(instance)
    before = set(PeriodicTask.objects.values_list("pk", flat=True))
    keep(instance, wake_time=time(10))
    assert crons()["wake"] == "0 10 * America/Sao_Paulo"
    assert set(PeriodicTask.objects.values_list("pk", flat=True)) == before
    delete_schedule(instance.pk, actor="user:ana")
    assert crons() == {}


def test_beat_is_told_to_read_again(day: Day) -> None:
    keep(make_instance())
    first = PeriodicTasks.last_change()
    keep(make_instance())
    assert first is not None
    assert PeriodicTasks.last_change() > first


def test_schedules_of_the_same_times_share_a_crontab(day: Day) -> None:
    for _ in range(3):
        keep(make_instance())
    assert CrontabSchedule.objects.count() == 2


def test_nothing_to_repair_is_said_and_wakes_no_beat(day: Day) -> None:
    keep(make_instance())
    before = PeriodicTasks.last_change()
    assert "as they should be" in run_command()
    assert PeriodicTasks.last_change() == before


def test_missing_stray_and_edited_entries_are_repaired_and_named(day: Day) -> None:
    kept, gone = make_instance(), make_instance()
    for instance in (kept, gone):
        keep(instance)
    expected = crons()
    PeriodicTask.objects.filter(name=f"schedule of {kept.pk}: sleep").delete()
    PeriodicTask.objects.filter(name=f"schedule of {kept.pk}: wake").update(
        args='["somebody"]', enabled=False
    )
    Schedule.objects.filter(pk=gone.pk).delete()
    told = run_command()
    assert f"schedule of {kept.pk}: sleep: missing, made" in told
    assert f"schedule of {kept.pk}: wake: args put right" in told
    assert "1 entries enabled" in told
    assert f"schedule of {gone.pk}: wake: stray, deleted" in told
    assert crons() == expected
    assert sync_schedules() == []


def test_an_entry_that_was_pointed_at_another_task_is_put_right(day: Day) -> None:
    keep(make_instance())
    PeriodicTask.objects.filter(name__endswith="wake").update(task="hibernation.sweep")
    assert len(sync_schedules()) == 1
    assert PeriodicTask.objects.filter(task=TASK).count() == 2


def test_entries_of_others_are_let_be(day: Day) -> None:
    keep(make_instance())
    crontab = CrontabSchedule.objects.first()
    PeriodicTask.objects.create(name="report", task="mine.report", crontab=crontab)
    assert sync_schedules() == []
    assert PeriodicTask.objects.filter(name="report").exists()


def test_too_many_are_disabled_all_at_once_and_enabled_again_when_fewer(day: Day, settings: Settings) -> None:
    settings.DUMONT_BEAT_ENTRIES_MOST = 4
    instances = [make_instance() for _ in range(3)]
    for instance in instances[:2]:
        keep(instance)
    assert PeriodicTask.objects.filter(enabled=True).count() == 4
    keep(instances[2])
    assert PeriodicTask.objects.filter(enabled=False, last_run_at=None).count() == 6
    delete_schedule(instances[0].pk, actor="user:ana")
    assert PeriodicTask.objects.filter(enabled=True, last_run_at__isnull=False).count() == 4


def test_times_that_a_new_zone_file_moved_are_put_right(day: Day) -> None:
    instance = make_instance()
    keep(instance)
    Schedule.objects.update(next_run_at=at(9, 30), next_due_at=at(9, 30))
    assert len(sync_schedules()) == 1
    assert Schedule.objects.get().next_run_at == at(9)


def test_what_is_due_is_left_to_the_tick(day: Day) -> None:
    keep(make_instance())
    day.now = at(9, 1)
    assert sync_schedules() == []
    assert Schedule.objects.get().next_run_at == at(9)


def test_a_repair_asks_as_much_of_many_as_of_few(day: Day) -> None:
    keep(make_instance())
    with CaptureQueriesContext(connection) as few:
        sync_schedules()
    for _ in range(5):
        keep(make_instance())
    with CaptureQueriesContext(connection) as many:
        sync_schedules()
    assert len(many) == len(few)


def test_beat_asks_for_each_zone_once(day: Day) -> None:
    """Upstream asks for as many as there are crontabs, and builds a condition of each."""
    for hour in range(4):
        keep(make_instance(), wake_time=time(hour))
    assert list(Scheduler(app=app, lazy=True)._get_unique_timezone_names()) == [ZoneInfo("America/Sao_Paulo")]


def test_a_zone_that_is_no_more_does_not_stop_the_repair_of_others(day: Day) -> None:
    bad, good = make_instance(), make_instance()
    keep(bad)
    keep(good)
    Schedule.objects.filter(pk=bad.pk).update(timezone="Mars/Olympus")
    PeriodicTask.objects.filter(name=f"schedule of {good.pk}: wake").delete()
    assert f"schedule of {good.pk}: wake: missing, made" in sync_schedules()

"""The faster clock for trying out: what it shows, and when that comes by the real one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import Settings

from hibernation.models import Schedule
from hibernation.services.clock import db_now
from hibernation.services.schedules import run_due_schedules
from hibernation.services.schedules.clock import real_time, scaled, schedule_now
from tests.factories import make_hibernated
from tests.hibernation.services.schedules.day import at, keep, runs
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def test_without_it_the_databases_counts() -> None:
    now = schedule_now()
    assert abs(now - db_now()) < timedelta(seconds=5)
    assert real_time(now) == now
    assert scaled(timedelta(minutes=1)) == timedelta(minutes=1)


def test_it_runs_faster_and_back(settings: Settings) -> None:
    real = db_now() - timedelta(seconds=10)
    settings.DUMONT_SCHEDULE_CLOCK = (real, at(9), 1440.0)
    shown = schedule_now() - at(9)
    assert timedelta(hours=4) <= shown < timedelta(hours=8)
    assert real_time(at(9) + timedelta(days=1)) == real + timedelta(minutes=1)
    assert scaled(timedelta(seconds=1)) == timedelta(minutes=24)


def test_schedules_live_by_it_and_events_do_not(world: World, settings: Settings) -> None:
    settings.DUMONT_SCHEDULE_CLOCK = (db_now(), at(8, 59), 1.0)
    instance = make_hibernated()
    keep(instance)
    settings.DUMONT_SCHEDULE_CLOCK = (db_now(), at(9), 1.0)
    run_due_schedules()
    assert runs(instance) == [("wake", "09:00", "started")]
    assert Schedule.objects.get().settled_at == at(9)
    assert abs(instance.events.latest("id").timestamp - db_now()) < timedelta(minutes=1)

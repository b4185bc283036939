"""Lines of a worker say which task, operation and instance they are about, in the lease's own thread too."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from pytest_django import Settings

from hibernation import tasks
from hibernation.logs.context import known
from hibernation.services import leases
from hibernation.services.steps import boxes
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def noted() -> list[dict[str, Any]]:
    """What was known where a line would be written."""
    return []


def test_a_tick_says_which_task_it_is_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, noted: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(tasks.sweep, "sweep", lambda: noted.append(dict(known())))
    done = tasks.sweep_tick.apply()
    assert noted == [{"task_id": done.id}]
    assert known() == {}


def test_a_task_that_fails_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(tasks.sweep, "sweep", fail)
    assert tasks.sweep_tick.apply().state == "FAILURE"
    assert known() == {}


def test_a_step_says_whose_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, noted: list[dict[str, Any]]
) -> None:
    instance = world.awake()
    operation = world.hibernate(instance)
    real = boxes.quiesce
    monkeypatch.setattr(boxes, "quiesce", lambda context: noted.append(dict(known())) or real(context))
    done = tasks.step.apply(args=[operation.pk, "quiesce"])
    assert noted == [{"task_id": done.id, "operation_id": operation.pk, "instance_id": instance.pk}]
    assert known() == {}


@pytest.mark.django_db(transaction=True)
def test_so_does_the_thread_that_renews_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch, noted: list[dict[str, Any]], settings: Settings
) -> None:
    operation = world.hibernate(world.awake())
    warned, real_renew, real_quiesce = threading.Event(), leases._renew_once, boxes.quiesce
    calls = iter([True])

    def renew(*args: Any) -> bool:
        """The claim's own renewal is real, and every later one fails."""
        if next(calls, False):
            return real_renew(*args)
        raise DatabaseError("away")

    def warn(*_: Any) -> None:
        noted.append(dict(known()))
        warned.set()

    def quiesce(context: Any) -> Any:
        assert warned.wait(10)
        return real_quiesce(context)

    settings.DUMONT_LEASE = timedelta(seconds=0.1)
    monkeypatch.setattr(leases, "_renew_once", renew)
    monkeypatch.setattr(leases.log, "warning", warn)
    monkeypatch.setattr(boxes, "quiesce", quiesce)
    tasks.step.apply(args=[operation.pk, "quiesce"])
    assert noted[0]["operation_id"] == operation.pk

"""Operations: listed, followed and called off."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from hibernation.domain.errors import OutOfCredit
from hibernation.services.clock import db_now
from tests.dumont.cli.conftest import Terminal
from tests.factories import make_instance, make_operation
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def test_operations_are_listed_with_how_they_stand(terminal: Terminal, world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(OutOfCredit("the account is empty"), False)]
    failed = world.run(world.wake(instance))
    runs = make_operation(make_instance(), waiting_for="the machine to answer")
    lines = terminal.run("operations").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [str(runs.pk), str(failed.pk)]
    assert "quiesce: the machine to answer" in lines[1]
    assert "the account is empty" in lines[2]


def test_operations_are_filtered(terminal: Terminal) -> None:
    later = db_now() + timedelta(seconds=1)
    one = make_operation(make_instance())
    make_operation(make_instance(), state="failed", finished_at=later)
    found = terminal.json("operations", one.instance_id, "--state", "running", "--kind", "hibernate")
    assert [row["id"] for row in found["operations"]] == [one.pk]
    assert terminal.run("operations", "--state", "queued").stdout == "There are no operations.\n"
    terminal.run("operations", "--kind", "dance", code=2)
    terminal.run("operations", "vast_x", code=3)


def test_one_can_be_followed_by_its_number(terminal: Terminal, world: World) -> None:
    operation = world.hibernate(world.awake())
    assert "has succeeded" in terminal.run("operations", "--follow", str(operation.pk)).stdout
    assert terminal.json("operations", "--follow", str(operation.pk))["state"] == "succeeded"


def test_following_is_patient_with_a_server_that_hears_too_many(terminal: Terminal, world: World) -> None:
    operation = world.hibernate(world.awake())
    told = {"error": {"code": "throttled", "message": "Request was throttled."}}
    first = terminal.wire.app.handle_request

    def busy_once(request: httpx.Request) -> httpx.Response:
        if len(terminal.wire.requests) == 2:
            return httpx.Response(429, json=told)
        return first(request)

    terminal.wire.app.handle_request = busy_once  # type: ignore[method-assign]
    assert "has succeeded" in terminal.run("operations", "--follow", str(operation.pk)).stdout
    assert len(terminal.wire.requests) > 2


def test_one_that_waits_is_followed_too(terminal: Terminal) -> None:
    operation = make_operation(make_instance(), state="queued", started_at=None)
    result = terminal.run("operations", "--follow", str(operation.pk), "--wait-at-most", "0", code=7)
    assert "queued: waits for the operation in flight" in result.stdout


def test_one_that_runs_is_called_off(terminal: Terminal) -> None:
    operation = make_operation(make_instance())
    assert "turns back" in terminal.run("operations", "--cancel", str(operation.pk)).stdout
    operation.refresh_from_db()
    assert operation.cancel_reason == "cancelled"
    assert terminal.json("operations", "--cancel", str(operation.pk))["id"] == operation.pk


def test_one_that_waits_is_called_off_at_once_and_an_ended_one_conflicts(terminal: Terminal) -> None:
    operation = make_operation(make_instance(), state="queued", started_at=None)
    assert "had not begun" in terminal.run("operations", "--cancel", str(operation.pk)).stdout
    assert "has ended" in terminal.run("operations", "--cancel", str(operation.pk), code=5).stderr


def test_one_that_does_not_exist_is_not_found(terminal: Terminal) -> None:
    terminal.run("operations", "--cancel", "999999999", code=3)
    terminal.run("operations", "--follow", "999999999", code=3)


def test_following_and_calling_off_exclude_each_other(terminal: Terminal) -> None:
    terminal.run("operations", "--cancel", "1", "--follow", "1", code=2)

"""Hibernating and waking: waited for or not, and what each end means to a script."""

from __future__ import annotations

import httpx
import pytest

from dumont.cli import waiting
from hibernation.domain.errors import OutOfCredit
from hibernation.models import Operation
from tests.dumont.cli.conftest import Terminal
from tests.factories import make_hibernated, make_instance
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def test_an_order_that_is_not_waited_for_says_how_to_follow_it(terminal: Terminal, world: World) -> None:
    instance = world.awake()
    shown = terminal.run("hibernate", instance.pk).stdout
    operation = instance.operations.get()
    assert f"hibernate {operation.pk} of {instance.pk} is running" in shown
    assert f"dumont operations --follow {operation.pk}" in shown
    assert (operation.actor, operation.forced) == ("user:ana", True)


def test_a_hibernation_is_waited_for_in_plain_lines(terminal: Terminal, world: World) -> None:
    instance = world.awake()
    lines = terminal.run("hibernate", instance.pk, "--wait").stdout.splitlines()
    steps = [line.split()[0] for line in lines if line.endswith(" s")]
    assert steps == ["quiesce", "freeze", "verify", "fence", "destroy", "confirm"]
    instance.refresh_from_db()
    assert instance.snapshot is not None
    assert lines[-1] == f"{instance.pk} is hibernated; saved as {instance.snapshot.name}"


def test_a_wake_is_waited_for_with_its_wishes(terminal: Terminal, world: World) -> None:
    instance = world.asleep()
    wishes = ("--gpu", "RTX 4090", "--region", "PT", "--max-price", "0.9")
    shown = terminal.run("wake", instance.pk, *wishes, "--wait").stdout
    assert f"{instance.pk} is awake after" in shown
    assert "127.0.0.1 port 22" in shown
    wake = instance.operations.get(kind="wake")
    assert wake.params == {"gpu_type": "RTX 4090", "region": "PT", "max_price": "0.9000"}


def test_as_json_only_the_operation_is_printed(terminal: Terminal, world: World) -> None:
    instance = world.awake()
    assert terminal.json("hibernate", instance.pk)["state"] == "running"
    assert terminal.json("wake", instance.pk, "--wait")["state"] == "succeeded"


def test_an_operation_that_fails_ends_with_one_and_its_reason(terminal: Terminal, world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(OutOfCredit("the account is empty"), False)]
    result = terminal.run("wake", instance.pk, "--wait", "--json", code=1)
    assert '"state": "failed"' in result.stdout
    assert f"The wake of {instance.pk} failed: the account is empty" in result.stderr


def test_an_operation_that_is_called_off_ends_with_one(
    terminal: Terminal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.awake()

    def cancel(seconds: float) -> None:
        operation = instance.operations.get()
        if not operation.cancel_reason:
            terminal.run("operations", "--cancel", str(operation.pk))
        world.step(operation)

    monkeypatch.setattr(waiting, "pause", cancel)
    assert "was cancelled" in terminal.run("hibernate", instance.pk, "--wait", code=1).stderr


def test_what_cannot_be_ordered_now_conflicts(terminal: Terminal, world: World) -> None:
    assert "nothing to hibernate" in terminal.run("hibernate", make_hibernated().pk, code=5).stderr
    assert "awake already" in terminal.run("wake", make_instance().pk, code=5).stderr


def test_a_wish_that_makes_no_sense_is_a_usage_error_that_names_it(terminal: Terminal, world: World) -> None:
    result = terminal.run("wake", make_hibernated().pk, "--max-price", "cheap", code=2)
    assert "max_price: A valid number is required." in result.stderr


def test_waiting_long_enough_leaves_it_going_on(terminal: Terminal, world: World) -> None:
    instance = world.awake()
    result = terminal.run("hibernate", instance.pk, "--wait-at-most", "0", code=7)
    operation = instance.operations.get()
    assert operation.state == "running"
    assert f"goes on; follow it with: dumont operations --follow {operation.pk}" in result.stderr


def test_ctrl_c_ends_the_waiting_and_not_the_operation(
    terminal: Terminal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.awake()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "pause", interrupt)
    result = terminal.run("hibernate", instance.pk, "--wait", code=130)
    operation = instance.operations.get()
    assert (operation.state, operation.cancel_reason) == ("running", "")
    assert f"goes on; follow it with: dumont operations --follow {operation.pk}" in result.stderr


def test_a_lost_answer_makes_one_order_and_not_two(terminal: Terminal, world: World) -> None:
    instance, terminal.wire.lost = world.awake(), 2
    terminal.run("hibernate", instance.pk)
    assert Operation.objects.count() == 1
    keys = {request.headers["Idempotency-Key"] for request in terminal.wire.requests}
    assert (len(keys), len(terminal.wire.requests)) == (1, 3)


def test_an_order_that_had_succeeded_when_it_was_repeated_is_found(terminal: Terminal, world: World) -> None:
    instance = world.asleep()
    guide = {"success": True, "instance_id": instance.pk}
    terminal.wire.replies = [httpx.Response(200, json=guide)]
    assert terminal.json("hibernate", instance.pk)["state"] == "succeeded"


def test_a_server_that_stays_away_is_unreachable(terminal: Terminal, world: World) -> None:
    instance, terminal.wire.lost = world.awake(), 99
    assert "does not answer" in terminal.run("hibernate", instance.pk, code=6).stderr


def test_a_server_that_goes_away_while_one_waits_is_given_time_and_then_left(
    terminal: Terminal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    instance = world.awake()

    def lose(seconds: float) -> None:
        terminal.wire.lost = 1

    monkeypatch.setattr(waiting, "pause", lose)
    result = terminal.run("hibernate", instance.pk, "--wait", code=6)
    assert "does not answer" in result.stderr
    assert "goes on; follow it with" in result.stderr


def test_a_server_that_fails_is_unreachable(terminal: Terminal) -> None:
    terminal.wire.replies = [httpx.Response(503, json={"error": {"code": "busy", "message": "Too many."}})]
    assert terminal.run("ls", code=6).stderr == "Too many.\n"


def test_a_fault_of_the_server_comes_with_the_id_that_its_log_has_it_under(terminal: Terminal) -> None:
    wrong = {"error": {"code": "internal", "message": "Something failed here."}}
    terminal.wire.replies = [httpx.Response(500, json=wrong, headers={"X-Request-Id": "0af7651916cd43dd"})]
    assert terminal.run("ls", code=6).stderr == "Something failed here. (request 0af7651916cd43dd)\n"


def test_a_refusal_needs_no_look_into_the_log(terminal: Terminal) -> None:
    assert "request" not in terminal.run("status", "vast_1", code=3).stderr


def test_a_server_that_answers_something_else_is_said_to_be_another(terminal: Terminal) -> None:
    terminal.wire.replies = [httpx.Response(200, json={"boxes": []})]
    assert "lacks 'instances'" in terminal.run("ls", code=6).stderr


def test_one_who_may_not_is_not_allowed(terminal: Terminal) -> None:
    refusal = {"error": {"code": "permission_denied", "message": "Not yours."}}
    terminal.wire.replies = [httpx.Response(403, json=refusal)]
    assert terminal.run("ls", code=4).stderr == "Not yours.\n"


def test_a_command_that_makes_no_sense_is_a_usage_error(terminal: Terminal) -> None:
    terminal.run("wake", code=2)
    terminal.run("dance", code=2)
    assert terminal.wire.requests == []

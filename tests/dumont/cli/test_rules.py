"""Rules and schedules: typed as the API says, refused in its words, and changed only where named."""

from __future__ import annotations

import json
from datetime import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from dumont.cli.exits import Failure
from dumont.cli.rules import typed, week
from dumont.client.http import Client
from hibernation.models import Instance, Schedule
from tests.dumont.cli.conftest import URL, Terminal
from tests.factories import make_instance

pytestmark = pytest.mark.django_db


def test_rules_are_shown_as_they_can_be_given(terminal: Terminal) -> None:
    lines = terminal.run("config", make_instance().pk).stdout.splitlines()
    shown = {line.split()[0]: line.split()[-1] for line in lines}
    assert shown["pause_after_minutes"] == "3"
    assert shown["auto_hibernation_enabled"] == "true"
    assert shown["snapshot_interval_minutes"] == "null"


def test_rules_are_changed_where_named(terminal: Terminal, tmp_path: Path) -> None:
    instance = make_instance(transfer_limit_mbit=5)
    (tmp_path / "rules").write_text("*.tmp\n/cache/\n")
    (tmp_path / "env").write_text('{"HF_TOKEN": "s3cret"}')
    changes = (
        "pause_after_minutes=7.5",
        "auto_hibernation_enabled=off",
        "keep_last=4",
        "transfer_limit_mbit=null",
        "ports=8080,9000",
        "ignore_rules=@rules",
        "env=@env",
        "image=ubuntu:24.04",
    )
    found = terminal.json("config", instance.pk, *changes)
    wanted = {
        "pause_after_minutes": 7.5,
        "auto_hibernation_enabled": False,
        "keep_last": 4,
        "transfer_limit_mbit": None,
        "ports": [8080, 9000],
        "ignore_rules": ["*.tmp", "/cache/"],
        "env_names": ["HF_TOKEN"],
        "image": "ubuntu:24.04",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["delete_after_minutes"] == 30


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("pause_after_minutes", "is not KEY=VALUE"),
        ("pause=3", "There is no setting 'pause'. There are: allow_equivalent_gpus,"),
        ("env_names=[]", "There is no setting 'env_names'"),
        ("pause_after_minutes=long", "takes a number"),
        ("keep_last=2.5", "takes a whole number"),
        ("precopy_enabled=maybe", "takes true or false"),
        ("ports=80,x", "takes a list"),
        ('ports={"a": 1}', "takes a list"),
        ("env=[1]", "takes a JSON object"),
        ("env=@nowhere", "No such file"),
        ("keep_last=null", "takes a whole number"),
        ("keep_last=0", "keep_last: Ensure this value is greater than or equal to 1."),
    ],
)
def test_a_rule_that_makes_no_sense_changes_nothing(terminal: Terminal, change: str, said: str) -> None:
    instance = make_instance()
    assert said in terminal.run("config", instance.pk, "keep_daily=1", change, code=2).stderr
    assert Instance.objects.get().keep_daily == 7


def test_lists_may_be_json_and_texts_are_taken_as_they_are() -> None:
    lines = {"type": "array", "items": {"type": "string"}}
    assert typed("onstart", '["a, b", "c"]', lines) == ["a, b", "c"]
    assert typed("image", "null", {"type": "string"}) == "null"
    with pytest.raises(Failure, match="takes a list"):
        typed("onstart", "[1", lines)


def test_an_api_that_does_not_tell_its_settings_is_said_to_be_so(terminal: Terminal) -> None:
    terminal.wire.replies = [httpx.Response(200, json={"components": {}})]
    assert "does not say" in terminal.run("config", "vast_1", "keep_last=1", code=6).stderr


def schedule(terminal: Terminal, reply: httpx.Response, *arguments: str, code: int = 0) -> tuple[Any, str]:
    terminal.wire.replies = [reply]
    shown = terminal.run("schedule", make_instance().pk, *arguments, code=code)
    request = terminal.wire.requests[0]
    return (request.method, json.loads(request.content or b"{}")), shown.stdout + shown.stderr


def test_a_schedule_is_set_in_the_guides_words(terminal: Terminal) -> None:
    instance = make_instance()
    wishes = ("--wake", "09:00", "--sleep", "18:00", "--timezone", "America/Sao_Paulo", "--days", "mon-fri")
    assert "wake_time" in terminal.run("schedule", instance.pk, *wishes).stdout
    row = Schedule.objects.get(pk=instance.pk)
    assert (row.wake_time, row.sleep_time, row.timezone) == (time(9), time(18), "America/Sao_Paulo")
    assert row.days == [0, 1, 2, 3, 4]
    assert row.enabled


# All that a schedule can hold, none of it as by default.
FULL: dict[str, Any] = {
    "enabled": True,
    "wake_time": "09:00",
    "sleep_time": "18:00",
    "timezone": "America/Sao_Paulo",
    "days": ["mon", "wed"],
    "exceptions": {
        "country": "BR",
        "subdivision": "SP",
        "dates": ["2027-01-04"],
        "ranges": [{"first": "2027-02-01", "last": "2027-02-05"}],
    },
    "ready_by": True,
    "force": True,
    "when_busy": "skip",
    "wait_at_most_minutes": 7.5,
    "give_up_after_minutes": 90,
    "stay_awake": True,
}


@pytest.mark.parametrize(
    ("wishes", "changed"),
    [
        (("--wake", "08:00"), {"wake_time": "08:00"}),
        (("--sleep", "19:30"), {"sleep_time": "19:30"}),
        (("--timezone", "UTC"), {"timezone": "UTC"}),
        (("--days", "sat-sun"), {"days": ["sat", "sun"]}),
    ],
)
def test_a_schedule_is_changed_where_named(
    terminal: Terminal, wishes: tuple[str, ...], changed: dict[str, Any]
) -> None:
    instance = make_instance()
    put_full(terminal, instance)
    terminal.run("schedule", instance.pk, *wishes)
    assert the_wish(terminal, instance) == FULL | changed


def test_a_schedule_that_is_switched_off_stays_so(terminal: Terminal) -> None:
    instance = make_instance()
    put_full(terminal, instance, enabled=False)
    terminal.run("schedule", instance.pk, "--wake", "08:00")
    assert the_wish(terminal, instance) == FULL | {"enabled": False, "wake_time": "08:00"}


def put_full(terminal: Terminal, instance: Instance, **more: Any) -> None:
    client = Client(URL, terminal.token, transport=terminal.wire)
    client.put(f"/api/instances/{instance.pk}/schedule", FULL | more)


def the_wish(terminal: Terminal, instance: Instance) -> dict[str, Any]:
    """The schedule as it stands, without what the API only tells."""
    found = terminal.json("schedule", instance.pk)
    return {name: value for name, value in found.items() if name not in ("instance_id", "next")}


def test_a_schedule_is_shown_and_cleared(terminal: Terminal) -> None:
    assert schedule(terminal, httpx.Response(200, json={"enabled": False}))[0][0] == "GET"
    terminal.wire.requests.clear()
    sent, shown = schedule(terminal, httpx.Response(204), "--clear")
    assert sent[0] == "DELETE"
    assert "has no schedule" in shown


@pytest.mark.parametrize("path", ["/api/nothing", "/api/enrol.sh"])
def test_a_server_without_schedules_is_told_apart_from_a_missing_instance(
    terminal: Terminal, path: str
) -> None:
    status = 404 if path == "/api/nothing" else 405
    refusal = httpx.Response(status, json={"error": {"code": "not_found", "message": "No such address."}})
    assert "has no schedules" in schedule(terminal, refusal, code=3)[1]


def test_a_schedule_of_a_missing_instance_is_not_found(terminal: Terminal) -> None:
    assert "There is no instance" in terminal.run("schedule", "vast_x", code=3).stderr


def test_a_schedule_that_the_api_refuses_is_refused_in_its_words(terminal: Terminal) -> None:
    gone = httpx.Response(404, json={"error": {"code": "not_found", "message": "It has no schedule."}})
    assert schedule(terminal, gone, "--clear", code=3)[1] == "It has no schedule.\n"


def test_a_value_that_the_api_refuses_changes_nothing(terminal: Terminal) -> None:
    instance = make_instance()
    put_full(terminal, instance)
    assert "timezone: " in terminal.run("schedule", instance.pk, "--timezone", "Mars", code=2).stderr
    assert the_wish(terminal, instance) == FULL


@pytest.mark.parametrize(
    "wishes", [("--wake", "9"), ("--sleep", "25:00"), ("--days", "someday"), ("--clear", "--wake", "09:00")]
)
def test_hours_that_make_no_sense_are_not_sent(terminal: Terminal, wishes: tuple[str, ...]) -> None:
    terminal.run("schedule", make_instance().pk, *wishes, code=2)
    assert terminal.wire.requests == []


@pytest.mark.parametrize(
    ("text", "days"), [("mon", "mon"), ("Mon-Fri,sun", "mon tue wed thu fri sun"), ("sat-mon", "mon sat sun")]
)
def test_days_may_be_spans_also_over_sunday(text: str, days: str) -> None:
    assert week(text) == days.split()

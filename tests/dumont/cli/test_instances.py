"""What the instances do and what happened: tables for people, the API's JSON for scripts."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from dumont.cli import waiting
from hibernation.domain.states import EventType
from hibernation.models import Event, Instance
from hibernation.services.clock import db_now
from tests.dumont.cli.conftest import Terminal
from tests.factories import idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def told(instance: Instance, *reasons: str) -> None:
    now = db_now()
    for reason in reasons:
        Event.objects.create(
            instance=instance, event_type=EventType.IDLE_DETECTED, timestamp=now, reason=reason
        )


def test_the_list_shows_what_each_does_and_costs(terminal: Terminal) -> None:
    idle = make_instance(**idle_for(1), name="mine")
    make_machine(idle, gpu_count=8, price_now=Decimal("1.25"))
    asleep = make_hibernated()
    lines = {line.split()[0]: line for line in terminal.run("ls").stdout.splitlines()}
    row = lines[idle.pk]
    for part in ("idle", "fresh", "8x RTX 4090", "0 %", "1.250", "mine"):
        assert part in row
    assert "1:5" in row or "2:00" in row
    assert lines[asleep.pk].split() == [asleep.pk, "hibernated"]


def test_the_list_says_what_goes_on_and_where_sleep_is_off(terminal: Terminal, world: World) -> None:
    busy = world.awake()
    world.run(world.hibernate(busy), until="verify")
    make_instance(**idle_for(1, auto_hibernation_enabled=False, hibernate_due_at=None))
    shown = terminal.run("ls").stdout
    assert "hibernate: verify: ..." in shown
    assert " off" in shown


def test_the_list_is_whole_however_many_pages_it_takes(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hibernation.api.paging.NewestFirst.page_size", 2)
    names = sorted(make_instance().pk for _ in range(5))
    assert sorted(row["instance_id"] for row in terminal.json("ls")["instances"]) == names


def test_the_list_is_filtered_and_may_be_empty(terminal: Terminal) -> None:
    make_instance()
    assert terminal.run("ls", "--status", "idle", "--search", "vast").stdout == "There are no instances.\n"
    assert (
        "status: There is no «odd». Known: deleted, " in terminal.run("ls", "--status", "odd", code=2).stderr
    )


def test_the_status_explains_itself(terminal: Terminal, world: World) -> None:
    instance = world.awake(name="mine", gpu_utilization=7.0)
    shown = terminal.run("status", instance.pk).stdout
    for part in (f"{instance.pk}  mine", "GPU use 7.0 %", "127.0.0.1 port 22", "after 3 min below 5 %"):
        assert part in shown


def test_the_status_of_one_that_never_sleeps_by_itself_and_of_one_that_does_something(
    terminal: Terminal, world: World
) -> None:
    instance = world.asleep(auto_hibernation_enabled=False)
    operation = world.run(world.wake(instance), until="reach")
    shown = terminal.run("status", instance.pk).stdout
    assert f"wake {operation.pk}, reach: ..." in shown
    assert "only by order" in shown
    assert "1 snapshots" in shown


def test_the_status_as_json_is_the_apis(terminal: Terminal) -> None:
    instance = make_instance()
    assert terminal.json("status", instance.pk)["instance_id"] == instance.pk


@pytest.mark.parametrize("command", ["status", "events", "hibernate", "wake", "config", "ssh", "snapshots"])
def test_an_unknown_instance_is_not_found(terminal: Terminal, command: str) -> None:
    assert "There is no instance 'vast_x'." in terminal.run(command, "vast_x", code=3).stderr


def test_an_id_is_one_part_of_an_address(terminal: Terminal) -> None:
    terminal.run("status", "../hibernation/stats?", code=3)
    assert terminal.wire.requests[-1].url.raw_path == b"/api/instances/..%2Fhibernation%2Fstats%3F/status"


def test_events_are_told_newest_last(terminal: Terminal) -> None:
    instance = make_instance()
    told(instance, "one", "two", "three")
    lines = terminal.run("events", instance.pk, "--limit", "2").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["two", "three"]
    assert [row["reason"] for row in terminal.json("events", instance.pk)["events"]] == [
        "three",
        "two",
        "one",
    ]


def test_nothing_has_happened(terminal: Terminal) -> None:
    assert terminal.run("events", make_instance().pk).stdout == "Nothing has happened yet.\n"


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What happens between the looks, and then Ctrl-C."""
    happenings: list[Any] = []

    def pause(seconds: float) -> None:
        if not happenings:
            raise KeyboardInterrupt
        happenings.pop(0)()

    monkeypatch.setattr(waiting, "pause", pause)
    return happenings


def test_following_tells_each_event_once_and_asks_with_the_tag(terminal: Terminal, followed: Any) -> None:
    instance = make_instance()
    told(instance, "old")
    followed += [lambda: told(instance, "a", "b"), lambda: None, lambda: told(instance, "c")]
    result = terminal.run("events", instance.pk, "-f", "--limit", "1", code=130)
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["old", "a", "b", "c"]
    tags = [request.headers.get("If-None-Match") for request in terminal.wire.requests[1:]]
    assert tags[0] is None
    assert tags[1] == tags[2] is not None


def test_following_reads_as_many_pages_as_it_takes(
    terminal: Terminal, followed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dumont.cli.instances._PAGE", 2)
    instance = make_instance()
    told(instance, "0")
    followed.append(lambda: told(instance, *"12345"))
    result = terminal.run("events", instance.pk, "-f", "--json", code=130)
    assert [json.loads(line)["reason"] for line in result.stdout.splitlines()] == list("012345")


def test_following_outlasts_a_server_that_is_away(terminal: Terminal, followed: Any) -> None:
    instance = make_instance()
    followed += [lambda: setattr(terminal.wire, "lost", 1), lambda: told(instance, "back")]
    assert "back" in terminal.run("events", instance.pk, "-f", code=130).stdout


def test_times_that_lie_behind_count_as_now(terminal: Terminal) -> None:
    past = db_now() - timedelta(minutes=1)
    instance = make_instance(**idle_for(5, hibernate_due_at=past))
    make_machine(instance)
    assert terminal.run("ls").stdout.endswith(" 0s\n")

"""``ssh``: the machine that has the workspace now, its known key, and nothing a server says becomes an option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dumont.cli import remote
from hibernation.models import Machine
from tests.dumont.cli.conftest import Terminal
from tests.factories import make_hibernated, make_instance
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
KEY = "ssh-ed25519 " + "A" * 68


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []
    monkeypatch.setattr(remote, "run", commands.append)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return commands


def test_it_becomes_ssh_to_the_machine_and_takes_no_key_but_the_known_one(
    terminal: Terminal, world: World, ran: Any, tmp_path: Path
) -> None:
    instance = world.awake()
    Machine.objects.update(host_key=KEY, ssh_user="dev", ssh_port=2222)
    terminal.run("ssh", instance.pk, "--", "ls", "-la", "--json")
    known = tmp_path / "cache" / "dumont" / "known_hosts" / instance.pk
    assert known.read_text() == f"dumont-{instance.pk} {KEY}\n"
    (argv,) = ran
    assert argv[:5] == ["ssh", "-p", "2222", "-l", "dev"]
    assert argv[-5:] == ["--", "127.0.0.1", "ls", "-la", "--json"]
    options = argv[6:-5:2]
    assert f'UserKnownHostsFile="{known}"' in options
    assert "StrictHostKeyChecking=yes" in options


@pytest.mark.parametrize("key", ["", "ssh-ed25519 AAAA\n* ssh-rsa BBBB", "@cert-authority * ssh-rsa AAAA"])
def test_without_a_known_key_ssh_asks_as_usual(terminal: Terminal, world: World, ran: Any, key: str) -> None:
    instance = world.awake()
    Machine.objects.update(host_key=key)
    terminal.run("ssh", instance.pk)
    assert ran == [["ssh", "-p", "22", "-l", "root", "--", "127.0.0.1"]]


@pytest.mark.parametrize(
    "change",
    [
        {"ssh_host": "-oProxyCommand=reboot"},
        {"ssh_host": "a b"},
        {"ssh_host": ""},
        {"ssh_user": "-F/tmp/x"},
        {"ssh_port": 0},
        {"ssh_port": 70000},
    ],
    ids=str,
)
def test_an_address_that_could_be_something_else_is_not_used(
    terminal: Terminal, world: World, ran: Any, change: dict[str, Any]
) -> None:
    instance = world.awake()
    Machine.objects.update(**change)
    assert "no machine with an address" in terminal.run("ssh", instance.pk, code=5).stderr
    assert ran == []


def test_one_that_sleeps_is_only_woken_by_order(terminal: Terminal, world: World, ran: Any) -> None:
    asleep = world.asleep()
    assert f"dumont ssh {asleep.pk} --wake" in terminal.run("ssh", asleep.pk, code=5).stderr
    terminal.run("ssh", asleep.pk, "--wake")
    machine = asleep.machines.get(state="active")
    assert ran == [["ssh", "-p", "22", "-l", "root", "--", machine.ssh_host]]


def test_one_that_is_being_woken_is_waited_for(terminal: Terminal, world: World, ran: Any) -> None:
    instance = world.asleep()
    world.run(world.wake(instance), until="thaw")
    assert "is being woken" in terminal.run("ssh", instance.pk).stderr
    assert len(ran) == 1


def test_waiting_for_it_has_an_end(terminal: Terminal, world: World, ran: Any) -> None:
    instance = world.asleep()
    terminal.run("ssh", instance.pk, "--wake", "--wait-at-most", "0", code=7)
    assert ran == []


def test_as_json_the_address_is_told_and_nothing_run(terminal: Terminal, world: World, ran: Any) -> None:
    told = terminal.json("ssh", world.awake().pk)
    assert told == {"ssh_host": "127.0.0.1", "ssh_port": 22, "ssh_user": "root", "host_key": ""}
    assert ran == []


def test_where_there_is_no_ssh_it_says_so(
    terminal: Terminal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "no ssh on this machine" in terminal.run("ssh", world.awake().pk, code=2).stderr


def test_one_that_has_no_machine_cannot_be_entered(terminal: Terminal, ran: Any) -> None:
    terminal.run("ssh", make_instance().pk, code=5)
    terminal.run("ssh", make_hibernated().pk, code=5)
    assert ran == []

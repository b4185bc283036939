"""The user's guide, all eight sections, typed into a real shell against a real Dumont with real machines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dumont.demo.host import Host, reserved
from dumont.demo.markets import market_named
from dumont.embedded.environment import PROJECT
from hibernation.box.ssh import Box
from tests.guide.terminal import Section, Terminal, differences, sections

pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]
INSTANCE = "vast_12345"
PATH = f"/api/instances/{INSTANCE}"
GUIDE = sections()
SNAPSHOT = re.compile(rf"{INSTANCE}_hibernate_\d{{10}}")
# Busier than the guide's, so that it does not fall idle while somebody looks; and nobody waits half a minute to see it.
BUSY, IDLE = 91, 2
Found = TypeVar("Found")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """With the guide's instance awake, on a machine that works."""
    with reserved(tmp_path), Host(tmp_path, market_named("local", tmp_path), 3600) as host:
        yield host


@pytest.fixture
def terminal(host: Host, tmp_path: Path) -> Terminal:
    session = host.start()
    register = (
        "manage.py",
        "register_instance",
        INSTANCE,
        "--gpu-type",
        "RTX 3090",
        "--region",
        "EU",
        "--start",
    )
    environment = {**os.environ, **host.stack.env}
    subprocess.run(
        [sys.executable, *register], cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    host.use_gpu(eventually(lambda: contract_of(host, session.client.get(f"{PATH}/status"))), BUSY)
    return Terminal(tmp_path, host.stack.base_url, session.token)


def contract_of(host: Host, status: dict[str, Any]) -> str | None:
    awake = status["status"] in ("running", "idle") and status["machine"]
    return str(status["machine"]["contract_id"]) if awake else None


def eventually(look: Callable[[], Found | None], seconds: float = 120) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)
    return found


def test_every_section_is_there() -> None:
    assert list(GUIDE) == ["agent", "status", "config", "hibernate", "wake", "schedule", "events", "stats"]


def test_the_guide_works_as_it_is_written(host: Host, terminal: Terminal) -> None:
    agent(GUIDE["agent"], host, terminal)
    status(GUIDE["status"], terminal)
    config(GUIDE["config"], terminal)
    fall_idle(host, terminal)
    hibernate(GUIDE["hibernate"], terminal)
    wake(GUIDE["wake"], terminal)
    schedule(GUIDE["schedule"], terminal)
    events(GUIDE["events"], terminal)
    stats(GUIDE["stats"], terminal)


def agent(section: Section, host: Host, terminal: Terminal) -> None:
    """On the machine itself. The guide copies one file there; it is a folder by now, and needs nothing installed."""
    machine = terminal.run(GUIDE["status"].lines[0]).body["machine"]
    key = Path(host.stack.env["DUMONT_SSH_KEY_FILE"])
    box = Box(machine["ssh_host"], machine["ssh_port"], machine["ssh_user"], machine["host_key"], key)
    once, always = (terminal.retargeted(line).replace("/root/", "$HOME/") for line in section.lines)
    with box.connected() as shell:
        shell.run(f"cp {PROJECT}/agents/*.py $HOME/", timeout=10)
        printed = shell.run(once, timeout=60)
        assert f'"gpu_utilization": {BUSY}' in printed
        # One monitor runs already; only one may.
        shell.run('kill "$(head -1 ~/.dumont/agent.lock)"', timeout=10)
        shell.run(f"{always.strip()} sleep 3; kill -0 $!", timeout=30)
        assert "Traceback" not in shell.run("cat /tmp/gpu_monitor.log", timeout=10)


def status(section: Section, terminal: Terminal) -> None:
    answer = terminal.run(section.lines[0])
    assert answer.status == 200
    assert differences(section.reply, answer.body) == []
    for name in ("instance_id", "status", "auto_hibernation"):
        assert answer.body[name] == section.reply[name]
    assert answer.body["vast_info"]["gpu_type"] == "RTX 3090"
    assert answer.body["vast_info"]["region"] == "EU"
    assert answer.body["freshness"] == "fresh"


def config(section: Section, terminal: Terminal) -> None:
    off, patient = (terminal.run(line) for line in section.lines)
    assert (off.status, patient.status) == (200, 200)
    assert off.body["auto_hibernation_enabled"] is False
    assert (patient.body["gpu_usage_threshold"], patient.body["pause_after_minutes"]) == (10.0, 5)
    # What was not sent has stayed.
    assert patient.body["auto_hibernation_enabled"] is False
    assert patient.body["delete_after_minutes"] == 30


def fall_idle(host: Host, terminal: Terminal) -> None:
    line = GUIDE["status"].lines[0]
    host.use_gpu(str(terminal.run(line).body["machine"]["contract_id"]), IDLE)
    eventually(lambda: terminal.run(line).body["status"] == "idle")


def hibernate(section: Section, terminal: Terminal) -> None:
    answer = ordered_and_awaited(section, terminal)
    assert (answer["success"], answer["instance_destroyed"]) == (True, True)
    assert SNAPSHOT.fullmatch(answer["snapshot_id"])


def wake(section: Section, terminal: Terminal) -> None:
    answer = ordered_and_awaited(section, terminal)
    assert (answer["success"], answer["instance_id"]) == (True, INSTANCE)
    assert answer["snapshot_restored"] is True
    assert 0 < answer["time_taken"] < 120


def ordered_and_awaited(section: Section, terminal: Terminal) -> dict[str, Any]:
    """The line as it stands is answered at once; sent again by somebody who waits, it is the same order and is told."""
    order = terminal.run(section.lines[0])
    assert order.status == 202
    assert order.headers["location"] == f"/api/operations/{order.body['id']}"
    assert int(order.headers["retry-after"]) > 0
    answer = terminal.run(section.lines[0], Prefer="wait=150")
    assert answer.status == 200, answer.body
    assert differences(section.reply, answer.body) == []
    looked = terminal.run(f"curl {terminal.url}{order.headers['location']}").body
    assert (looked["state"], looked["result"]["success"]) == ("succeeded", True)
    return dict(answer.body)


def schedule(section: Section, terminal: Terminal) -> None:
    put, deleted = (terminal.run(line) for line in section.lines)
    assert (put.status, deleted.status) == (200, 200)
    assert put.body["enabled"] is True
    for name, value in {"wake_time": "09:00", "sleep_time": "18:00", "timezone": "America/Sao_Paulo"}.items():
        assert put.body[name] == value
    assert deleted.body == {"enabled": False}


def events(section: Section, terminal: Terminal) -> None:
    answer = terminal.run(section.lines[0])
    assert (answer.status, len(answer.body["events"])) == (200, 10)
    told = list(all_events(answer.body, terminal))
    for wanted in section.reply["events"]:
        alike = [event for event in told if event["event_type"] == wanted["event_type"]]
        assert [differences(wanted, event) for event in alike] == [[]] * len(alike)
        assert IDLE in [event["gpu_utilization"] for event in alike]
    (hibernated,) = (event for event in told if event["event_type"] == "hibernated")
    assert SNAPSHOT.fullmatch(hibernated["snapshot_id"])


def all_events(body: dict[str, Any], terminal: Terminal) -> Iterator[dict[str, Any]]:
    while True:
        yield from body["events"]
        if body["next"] is None:
            return
        body = terminal.run(f"curl '{body['next']}'").body


def stats(section: Section, terminal: Terminal) -> None:
    answer = terminal.run(section.lines[0])
    assert answer.status == 200
    assert differences(section.reply, answer.body) == []
    # The guide's instance and the demo's own, which was never woken.
    assert answer.body["total_instances"] == 2
    assert answer.body["running"] + answer.body["idle"] == 1

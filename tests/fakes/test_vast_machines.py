"""Contracts of the fake vast.ai that are real machines: SSH on both ways, files that survive a stop, bad lines."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hibernation.box.ssh import Box
from hibernation.domain.errors import BoxUnreachable
from tests.fakes.vast import VastFake
from tests.fakes.vast.machines import LocalMachines
from tests.fakes.vast_caller import Caller
from tests.hibernation.providers.renting import eventually, make_key


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return make_key(tmp_path)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[VastFake]:
    with VastFake(tmp_path / "machines", boot_seconds=0.5) as fake:
        yield fake


def rent(caller: Caller, key_file: Path, **order: Any) -> int:
    """A contract that runs, with our key."""
    contract_id = caller.rented(**order)
    key = key_file.with_suffix(".pub").read_text()
    assert caller.call("POST", f"/api/v0/instances/{contract_id}/ssh/", {"ssh_key": key})[0] == 200
    wait_for(caller, contract_id, "running")
    return contract_id


def wait_for(caller: Caller, contract_id: int, status: str) -> None:
    eventually(lambda: caller.row(contract_id)["actual_status"] == status)


def port(caller: Caller, contract_id: int, via: str) -> int:
    row = caller.row(contract_id)
    return int(row["ports"]["22/tcp"][0]["HostPort"] if via == "direct" else row["ssh_port"])


def run(
    fake: VastFake, caller: Caller, contract_id: int, key_file: Path, command: str, via: str = "direct"
) -> str:
    """Its output; waits for a door that is just being opened."""
    assert isinstance(fake.machines, LocalMachines)
    local_id = fake.machines.local_id(contract_id)
    [machine] = [m for m in fake.machines.provider.list_machines() if m.contract_id == local_id]
    box = Box("127.0.0.1", port(caller, contract_id, via), "root", machine.host_key, key_file)
    return box.run(command, timeout=10)


def connects(number: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) == 0


def patiently(act: Callable[[], str]) -> str:
    """Doors and keys follow the contract a moment later."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return act()
        except BoxUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_contract_is_a_machine_reached_directly_and_by_proxy(
    fake: VastFake, caller: Caller, key_file: Path
) -> None:
    contract_id = rent(caller, key_file, env={"A": "b", "-p 8080:8080": "1"}, onstart="echo started > ~/told")
    ask = 'echo "$A $CONTAINER_ID"; until cat ~/told 2>/dev/null; do sleep 0.05; done'
    for via in ("direct", "proxy"):
        told = patiently(partial(run, fake, caller, contract_id, key_file, ask, via))
        assert told == f"b {contract_id}\nstarted\n"
    assert port(caller, contract_id, "direct") >= 40_000
    assert run(fake, caller, contract_id, key_file, "echo $VAST_TCP_PORT_22").strip() == str(
        port(caller, contract_id, "direct")
    )


def test_its_own_key_works_from_inside_and_stops_it(fake: VastFake, caller: Caller, key_file: Path) -> None:
    contract_id = rent(caller, key_file)
    secret = patiently(lambda: run(fake, caller, contract_id, key_file, "echo $CONTAINER_API_KEY")).strip()
    with Caller(fake, key=secret) as box:
        assert box.change(contract_id, state="stopped")[0] == 200
    wait_for(caller, contract_id, "exited")


def test_files_survive_a_stop_and_ports_refuse_meanwhile(
    fake: VastFake, caller: Caller, key_file: Path
) -> None:
    contract_id = rent(caller, key_file)
    proxy = port(caller, contract_id, "proxy")
    patiently(lambda: run(fake, caller, contract_id, key_file, "echo kept > ~/file"))
    caller.change(contract_id, state="stopped")
    wait_for(caller, contract_id, "exited")
    eventually(lambda: not connects(proxy))
    caller.change(contract_id, state="running")
    wait_for(caller, contract_id, "running")
    assert patiently(lambda: run(fake, caller, contract_id, key_file, "cat ~/file", "proxy")) == "kept\n"


def test_a_destroyed_contract_leaves_no_machine(fake: VastFake, caller: Caller, key_file: Path) -> None:
    contract_id = rent(caller, key_file)
    caller.destroy(contract_id)
    assert isinstance(fake.machines, LocalMachines)
    provider = fake.machines.provider
    eventually(lambda: provider.list_machines() == [])


@pytest.mark.parametrize(
    ("fault", "open_ways"),
    [
        ("ssh_direct_refused", [False, True]),
        ("ssh_proxy_refused", [True, False]),
        ("ssh_refused", [False, False]),
    ],
)
def test_ssh_is_refused_on_one_way_or_both_until_healed(
    fake: VastFake, caller: Caller, key_file: Path, fault: str, open_ways: list[bool]
) -> None:
    fake.faults.arm(fault)
    contract_id = rent(caller, key_file)
    ways = [port(caller, contract_id, via) for via in ("direct", "proxy")]
    eventually(lambda: [connects(way) for way in ways] == open_ways)
    fake.market.heal(contract_id)
    eventually(lambda: [connects(way) for way in ways] == [True, True])


@pytest.mark.parametrize("fault", ["ssh_silent", "goes_offline"])
def test_a_port_takes_connections_and_says_nothing(
    fake: VastFake, caller: Caller, key_file: Path, fault: str
) -> None:
    contract_id = rent(caller, key_file)
    number = port(caller, contract_id, "direct")
    patiently(lambda: run(fake, caller, contract_id, key_file, "true"))
    fake.faults.arm(fault)
    eventually(lambda: _greeting(number) == b"")


def _greeting(number: int) -> bytes:
    with socket.create_connection(("127.0.0.1", number), 1) as connection:
        connection.settimeout(0.3)
        try:
            return connection.recv(3)
        except TimeoutError:
            return b""


def test_first_logins_fail_behind_a_banner(fake: VastFake, caller: Caller, key_file: Path) -> None:
    fake.faults.arm("ssh_auth_fails", logins=1)
    fake.faults.arm("ssh_banner", text="Have fun!")
    contract_id = rent(caller, key_file)
    eventually(lambda: connects(port(caller, contract_id, "direct")))
    with pytest.raises(BoxUnreachable, match="does not accept our key"):
        run(fake, caller, contract_id, key_file, "true")
    assert run(fake, caller, contract_id, key_file, "echo in") == "in\n"


def test_keys_vanish_and_come_back_when_attached_again(
    fake: VastFake, caller: Caller, key_file: Path
) -> None:
    contract_id = rent(caller, key_file)
    patiently(lambda: run(fake, caller, contract_id, key_file, "true"))
    fake.faults.arm("ssh_keys_vanish")
    assert isinstance(fake.machines, LocalMachines)
    file = fake.machines.provider.keys_file(fake.machines.local_id(contract_id))
    eventually(lambda: file.read_text() == "")
    with pytest.raises(BoxUnreachable, match="does not accept our key"):
        run(fake, caller, contract_id, key_file, "true")
    key = key_file.with_suffix(".pub").read_text()
    caller.call("POST", f"/api/v0/instances/{contract_id}/ssh/", {"ssh_key": key})
    assert patiently(lambda: run(fake, caller, contract_id, key_file, "echo back")) == "back\n"


def test_a_slow_line_is_slow(fake: VastFake, caller: Caller, key_file: Path) -> None:
    fake.faults.arm("slow_network", mbit=8.0)
    contract_id = rent(caller, key_file)
    patiently(lambda: run(fake, caller, contract_id, key_file, "true"))
    began = time.monotonic()
    assert (
        len(run(fake, caller, contract_id, key_file, "head -c 1000000 /dev/zero | tr '\\0' x")) == 1_000_000
    )
    assert time.monotonic() - began > 0.8


def test_the_gpu_is_the_one_that_was_rented(fake: VastFake, caller: Caller, key_file: Path) -> None:
    contract_id = rent(caller, key_file, offer_id=fake.offer(gpu_name="RTX 4090", num_gpus=2)["id"])
    names = "nvmlDeviceGetCount(), nvmlDeviceGetName(nvmlDeviceGetHandleByIndex(1))"
    script = f"from pynvml import *; nvmlInit(); print({names})"
    told = patiently(lambda: run(fake, caller, contract_id, key_file, f'python3 -c "{script}"'))
    assert told.split(" ", 1)[0] == "2"
    assert "RTX 4090" in told

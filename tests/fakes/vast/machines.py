"""What stands behind a contract: a real machine of the local provider, or nothing but its row."""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from hibernation.providers.base import LaunchSpec, Offer, Phase
from hibernation.providers.local import LocalProvider, set_faults
from hibernation.providers.local.fake_gpu import FakeGpu, write_gpus
from hibernation.providers.local.files import write_json
from tests.fakes.vast.contracts import Contract, Endpoints, ports_of
from tests.fakes.vast.relay import Door, Relay, Relays

# A machine of the local provider wants a key at its launch; nobody has the other half of this one.
_NOBODYS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f nobody"
_UP_SECONDS = 30.0

SayUp = Callable[[int, int, bool], None]


class Machines(Protocol):
    @property
    def public_ipaddr(self) -> str | None:
        """Where every machine is; None: at addresses that lead nowhere."""

    def reserve(self, contract_id: int) -> Endpoints: ...

    def sync(self, contract: Contract) -> None:
        """Makes the machine what the contract says. Returns at once; called often, under the market's lock."""

    def logs(self, contract: Contract, lines: int) -> str: ...

    def close(self) -> None: ...


class NoMachines:
    """Rows only. A machine is up as soon as it is wanted, and nothing answers at its address.

    With ``door``, a port of this host, whatever listens there answers for all of them.
    """

    def __init__(self, door: int | None = None) -> None:
        self._dice = random.Random(11)
        self._door = door
        self.public_ipaddr = "127.0.0.1" if door else None

    def reserve(self, contract_id: int) -> Endpoints:
        if self._door:
            return Endpoints("127.0.0.1", self._door, "127.0.0.1", self._door)
        ports = self._dice.randrange(40_000, 60_000), self._dice.randrange(10_000, 40_000)
        return Endpoints(f"192.0.2.{contract_id % 250 + 1}", ports[0], "ssh5.vast.invalid", ports[1])

    def sync(self, contract: Contract) -> None:
        contract.up = contract.wants_machine

    def logs(self, contract: Contract, lines: int) -> str:
        return f"{contract.image}: started\n"

    def close(self) -> None:
        pass


@dataclass(eq=False)
class _Hosted:
    """A contract's machine. ``wanted`` is told by the contract, the rest is what was done about it."""

    contract: Contract
    direct: Relay
    proxy: Relay
    local_id: str = ""
    ssh_port: int | None = None
    is_running: bool = False
    boots: int = 0
    keys: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: tuple[object, ...] = ()


class LocalMachines:
    """Real processes of this host, with SSH, a fake GPU and a folder; direct and proxy lead to the same server.

    ``say_up`` is told when a machine came up. The work is done by threads: the market never waits for a machine.
    """

    public_ipaddr: str | None = "127.0.0.1"

    def __init__(self, root: Path, say_up: SayUp) -> None:
        self.provider = LocalProvider(root)
        self._say_up = say_up
        self._relays = Relays()
        self._hosted: dict[int, _Hosted] = {}
        self._pool = ThreadPoolExecutor(4, "machines")
        self._launching = threading.Lock()
        self._is_closed = False

    def reserve(self, contract_id: int) -> Endpoints:
        def port() -> int | None:
            return self._hosted[contract_id].ssh_port

        self._doors = self._relays.reserve(port), self._relays.reserve(port)
        direct, proxy = self._doors
        return Endpoints("127.0.0.1", direct.port, "127.0.0.1", proxy.port)

    def sync(self, contract: Contract) -> None:
        hosted = self._hosted.get(contract.id)
        if hosted is None:
            hosted = self._hosted[contract.id] = _Hosted(contract, *self._doors)
        seen = _wish(contract)
        if seen != hosted.seen and not self._is_closed:
            hosted.seen = seen
            self._pool.submit(self._settle, hosted)

    def logs(self, contract: Contract, lines: int) -> str:
        hosted = self._hosted[contract.id]
        return self.provider.logs(hosted.local_id, lines) if hosted.local_id else ""

    def local_id(self, contract_id: int) -> str:
        """The local provider's own id of a contract's machine; empty before its launch."""
        return self._hosted[contract_id].local_id

    def close(self) -> None:
        self._is_closed = True
        self._pool.shutdown()
        self.provider.destroy_all()
        self._relays.close()

    def _settle(self, hosted: _Hosted) -> None:
        """One at a time for each machine; the last one finds nothing left to do."""
        with hosted.lock:
            try:
                self._set_power(hosted)
                self._set_keys(hosted)
                self._set_doors(hosted)
            except Exception:
                print(f"machine of contract {hosted.contract.id}:", file=sys.stderr)
                traceback.print_exc()

    def _set_power(self, hosted: _Hosted) -> None:
        contract = hosted.contract
        if contract.is_over:
            if hosted.local_id:
                self.provider.destroy(hosted.local_id)
            hosted.local_id, hosted.is_running = "", False
            return
        if hosted.is_running and (not contract.wants_machine or hosted.boots != contract.boots):
            self.provider.stop(hosted.local_id)
            hosted.is_running = False
        if contract.wants_machine and not hosted.is_running:
            self._bring_up(hosted)

    def _bring_up(self, hosted: _Hosted) -> None:
        contract, boots = hosted.contract, hosted.contract.boots
        with self._launching:
            logins = contract.traits.get("ssh_auth_fails", {}).get("logins", 0)
            banner = contract.traits.get("ssh_banner", {}).get("text", "")
            set_faults(self.provider.root, refused_logins=logins, login_banner=banner)
            if hosted.local_id:
                self.provider.start(hosted.local_id)
            else:
                hosted.local_id = self._launch(contract)
        hosted.ssh_port = self._wait_until_up(hosted.local_id)
        hosted.is_running, hosted.boots, hosted.keys = True, boots, []
        self._set_keys(hosted)
        self._say_up(contract.id, boots, True)

    def _launch(self, contract: Contract) -> str:
        offer = _local_offer(contract)
        listed = {
            name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(offer).items()
        }
        write_json(self.provider.root / "provider" / "offers.json", [listed])
        spec = LaunchSpec(
            label=contract.label or "",
            offer=offer,
            image=contract.image,
            disk_gb=int(contract.disk_gb),
            ssh_public_key=_NOBODYS_KEY,
            env={**contract.env, **_container_env(contract)},
            onstart=contract.order.get("onstart") or "",
        )
        local_id = self.provider.launch(spec)
        gpu = FakeGpu(contract.offer["gpu_name"], contract.offer["gpu_ram"], 0, 0)
        write_gpus(self.provider.gpu_file(local_id), [gpu] * contract.offer["num_gpus"])
        return local_id

    def _wait_until_up(self, local_id: str) -> int:
        deadline = time.monotonic() + _UP_SECONDS
        while time.monotonic() < deadline:
            for machine in self.provider.list_machines():
                if machine.contract_id == local_id and machine.phase is Phase.RUNNING:
                    return machine.ssh[0].port
            time.sleep(0.02)
        raise TimeoutError(f"machine {local_id} did not come up")

    def _set_keys(self, hosted: _Hosted) -> None:
        keys = list(hosted.contract.machine_keys)
        if hosted.local_id and keys != hosted.keys:
            file = self.provider.keys_file(hosted.local_id)
            fresh = file.with_name(file.name + ".fresh")
            fresh.write_text("".join(f"{key.strip()}\n" for key in keys))
            fresh.replace(file)
            hosted.keys = keys

    def _set_doors(self, hosted: _Hosted) -> None:
        contract = hosted.contract
        if contract.is_over:
            for relay in (hosted.direct, hosted.proxy):
                self._relays.remove(relay)
            return
        mbit = contract.traits.get("slow_network", {}).get("mbit", 0.0)
        self._relays.set_door(hosted.direct, door_of(contract, "direct"), mbit)
        self._relays.set_door(hosted.proxy, door_of(contract, "proxy"), mbit)


def _wish(contract: Contract) -> tuple[object, ...]:
    """Everything that the machine must follow."""
    doors = door_of(contract, "direct"), door_of(contract, "proxy")
    traits = tuple(sorted(contract.traits))
    return (
        contract.is_over,
        contract.wants_machine,
        contract.boots,
        doors,
        traits,
        tuple(contract.machine_keys),
    )


def door_of(contract: Contract, via: str) -> Door:
    """How the port behind this way in behaves."""
    traits = contract.traits
    if (
        contract.is_offline
        or contract.actual == "frozen"
        or traits.keys() & {"ssh_silent", f"ssh_{via}_silent"}
    ):
        return "silent"
    if contract.actual != "running" or traits.keys() & {"ssh_refused", f"ssh_{via}_refused"}:
        return "shut"
    return "open" if via == "proxy" or "22/tcp" in ports_of(contract) else "shut"


def _local_offer(contract: Contract) -> Offer:
    offer = contract.offer
    return Offer(
        provider="local",
        offer_id=str(offer["id"]),
        host=str(offer["machine_id"]),
        gpu_type=offer["gpu_name"],
        gpu_count=offer["num_gpus"],
        region="",
        price_per_hour=Decimal(str(contract.gpu_price)),
        disk_gb=int(contract.disk_gb),
    )


def _container_env(contract: Contract) -> dict[str, str]:
    """What the market sets in every container."""
    mapped = {
        f"VAST_{name.partition('/')[2].upper()}_PORT_{name.partition('/')[0]}": ports[0]["HostPort"]
        for name, ports in ports_of(contract).items()
    }
    return {
        "CONTAINER_ID": str(contract.id),
        "CONTAINER_API_KEY": contract.api_key,
        "VAST_CONTAINERLABEL": f"C.{contract.id}",
        "PUBLIC_IPADDR": contract.endpoints.direct_host,
        "SSH_PUBLIC_KEY": "\n".join(contract.keys.values()),
        "GPU_COUNT": str(contract.offer["num_gpus"]),
        "DATA_DIRECTORY": "/workspace",
        **mapped,
    }

"""The fake Runpod's pods, its stock of GPUs and the bill. One lock around all."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.arming import Faults
from tests.fakes.clock import Clock
from tests.fakes.runpod.catalogue import GPUS, Place, first_stock
from tests.fakes.runpod.faults import TRAITS
from tests.fakes.runpod.machines import Machines
from tests.fakes.runpod.problems import NO_CAPACITY, Refusal

ACTIONS = {
    "PROVISIONING": ["stop", "terminate"],
    "STARTING": ["stop", "terminate"],
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["start", "terminate"],
}
_PROVISIONING_SHARE = 0.3
_VOLUME_USD_GB_HOUR = {True: 0.10 / 720, False: 0.20 / 720}


@dataclass
class Pod:
    """``booted`` is when its container was last asked to start; None while it is stopped."""

    id: str
    order: dict[str, Any]
    place: Place
    price: float
    created: float
    booted: float | None
    traits: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return str(self.order["name"])

    @property
    def count(self) -> int:
        return int(self.order["gpu"].get("count", 1))

    @property
    def keys(self) -> list[str]:
        return [line for line in self.order.get("env", {}).get("PUBLIC_KEY", "").splitlines() if line.strip()]


@dataclass
class Market:
    """Call everything within ``now``, which brings it to the present."""

    clock: Clock
    machines: Machines
    faults: Faults
    boot_seconds: float
    credit: float
    pods: dict[str, Pod] = field(default_factory=dict)
    ended: dict[str, Pod] = field(default_factory=dict)
    stock: dict[Place, int] = field(default_factory=first_stock)
    spent: float = 0.0
    _billed_to: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def now(self) -> Iterator[float]:
        with self._lock:
            now = self.clock.now()
            self._bill(now)
            for pod in list(self.pods.values()):
                if self.faults.take("vanished", pod=pod.id, label=pod.name) is not None:
                    self.end(pod)
                elif self.faults.take("exits", pod=pod.id, label=pod.name) is not None:
                    self.stop(pod)
            yield now

    def create(self, order: dict[str, Any]) -> Pod:
        """At the first place named that has GPUs free; anywhere if none is named."""
        gpu = order["gpu"]
        count, cloud = int(gpu.get("count", 1)), order.get("cloud", "SECURE")
        places = [place for place in self.stock if place.gpu_id == gpu["id"] and place.cloud == cloud]
        wanted = order.get("dataCenterIds") or [place.data_center for place in places]
        free = [place for place in places if place.data_center in wanted and self.stock[place] >= count]
        if not free or count > GPUS[gpu["id"]]["maxCount"][cloud.lower()]:
            raise Refusal(400, NO_CAPACITY)
        now, traits = (
            self.clock.now(),
            {name for name in TRAITS if self.faults.take(name, label=order["name"]) is not None},
        )
        price = GPUS[gpu["id"]]["price"][cloud.lower()] * count
        if self.credit - self.spent < price:
            raise Refusal(402, "Your balance is too low to create this pod.")
        pod = Pod(secrets.token_hex(7), order, free[0], price, now, now, frozenset(traits))
        self.stock[pod.place] -= count
        self.pods[pod.id] = pod
        self.machines.start(pod)
        return pod

    def stop(self, pod: Pod) -> None:
        if pod.booted is not None:
            pod.booted = None
            self.stock[pod.place] += pod.count
            self.machines.stop(pod)

    def start(self, pod: Pod) -> None:
        taken = self.faults.take("start_taken", pod=pod.id, label=pod.name) is not None
        if taken or self.stock[pod.place] < pod.count:
            raise Refusal(400, "There are not enough free GPUs on the host machine to start this pod.")
        if pod.booted is None:
            self.stock[pod.place] -= pod.count
        pod.booted = self.clock.now()
        self.machines.start(pod)

    def end(self, pod: Pod) -> None:
        self.stop(pod)
        self.machines.end(pod)
        self.ended[pod.id] = self.pods.pop(pod.id)

    def status(self, pod: Pod) -> str:
        if pod.id in self.ended:
            return "TERMINATED"
        if "status_strange" in pod.traits:
            return "MIGRATING"
        if pod.booted is None:
            return "EXITED"
        age = self.clock.now() - pod.booted
        if age < self.boot_seconds * _PROVISIONING_SHARE:
            return "PROVISIONING"
        if "boot_error" in pod.traits:
            return "ERROR"
        is_up = age >= self.boot_seconds and self.machines.address(pod) is not None
        return "RUNNING" if is_up and "never_running" not in pod.traits else "STARTING"

    def row(self, pod: Pod) -> dict[str, Any]:
        status, order = self.status(pod), pod.order
        address = self.machines.address(pod) if status == "RUNNING" else None
        if address is None or "no_public_ip" in pod.traits or "22/tcp" not in order.get("ports", []):
            direct = None
        else:
            host, port = address
            direct = {"host": host, "port": port, "username": "root", "command": f"ssh root@{host} -p {port}"}
        proxy = {"host": "ssh.runpod.invalid", "port": 22, "username": f"{pod.id}-64411eb2", "command": "ssh"}
        ports = (
            [{"private": 22, "public": direct["port"], "type": "tcp", "ip": direct["host"]}] if direct else []
        )
        return {
            "id": pod.id,
            "name": pod.name,
            "status": status,
            "actions": ACTIONS.get(status, []),
            "image": order["image"],
            "args": order.get("args", ""),
            "disk": order.get("disk", 20),
            "mounts": order.get("mounts", {}),
            "ports": order.get("ports", []),
            "env": order.get("env", {}),
            "registry": None,
            "gpu": {"id": pod.place.gpu_id, "count": pod.count},
            "cloud": pod.place.cloud,
            "dataCenterId": pod.place.data_center or None,
            "cudaVersion": "12.8",
            "ssh": {"proxy": proxy, "direct": direct},
            "template": None,
            "cost": pod.price if pod.booted is not None else 0.0,
            "locked": False,
            "runtime": {"uptime": 1, "gpus": [], "ports": ports} if status == "RUNNING" else None,
            "createdAt": _iso(pod.created),
            "startedAt": None if pod.booted is None else _iso(pod.booted),
            "globalNetworking": {"enabled": False},
        }

    def _bill(self, now: float) -> None:
        hours = max(0.0, now - (self._billed_to or now)) / 3600
        for pod in self.pods.values():
            volume = pod.order.get("mounts", {}).get("persistent", {}).get("size", 0)
            runs = pod.booted is not None
            self.spent += hours * ((pod.price if runs else 0.0) + volume * _VOLUME_USD_GB_HOUR[runs])
        self._billed_to = now


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")

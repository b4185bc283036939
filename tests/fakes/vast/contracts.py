"""One rental at the fake market: its state on three axes, and the row that the market shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.vast.boot import Step
from tests.fakes.vast.catalogue import Row, country_of, priced

_COPIED = (
    "machine_id", "host_id", "direct_port_count", "public_ipaddr", "num_gpus", "gpu_name", "gpu_ram", "gpu_total_ram",
    "cpu_cores", "cpu_cores_effective", "cpu_ram", "inet_up", "inet_down", "dph_base", "storage_cost", "inet_up_cost",
    "inet_down_cost", "min_bid", "geolocation", "verification", "reliability2", "cuda_max_good", "driver_version",
    "static_ip", "hosting_type", "disk_bw", "cpu_name", "score", "dlperf", "total_flops",
)  # fmt: skip
# Columns of the market's database; the others are computed, and no list can be filtered or ordered by them.
REAL_COLUMNS = {
    "id", "machine_id", "host_id", "label", "actual_status", "intended_status", "cur_state", "next_state", "image_uuid",
    "gpu_name", "verification", "start_date", "end_date", "is_bid", "template_id", "template_hash_id", "geolocation",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the machine is reached: directly and through the market's proxy."""

    direct_host: str
    direct_port: int
    proxy_host: str
    proxy_port: int


@dataclass(slots=True)
class Contract:
    """``traits``: the lasting faults it has, with their arguments. ``up``: its machine runs, whatever the row says.

    ``plan``: what will happen to it by itself. ``queued``: it starts as soon as its GPU is free, not before the time.
    ``shown``: what its row says wrongly, and until when. ``ghost_polls``: it is destroyed, and shows in so many lists.
    """

    id: int
    offer: Row
    order: dict[str, Any]
    api_key: str
    endpoints: Endpoints
    created_at: float
    end_date: float
    bid: float | None = None
    label: str | None = None
    image: str = ""
    actual: str | None = None
    intended: str = "running"
    cur: str = "running"
    next: str = "running"
    msg: str = ""
    plan: list[Step] = field(default_factory=list)
    traits: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    machine_keys: list[str] = field(default_factory=list)
    holds_gpu: bool = True
    up: bool = False
    boots: int = 1
    offline_until: float | None = None
    shown: tuple[str, float] | None = None
    queued_from: float | None = None
    delete_at: float | None = None
    ghost_polls: int = 0
    is_over: bool = False
    running_since: float | None = None

    @property
    def disk_gb(self) -> float:
        """What is billed; a row may say less."""
        return float(self.order["disk"])

    @property
    def is_offline(self) -> bool:
        return self.offline_until is not None

    @property
    def bills_gpu(self) -> bool:
        return self.actual in ("running", "frozen") and not self.is_offline and not self.is_over

    @property
    def gpu_price(self) -> float:
        return float(self.offer["dph_base"] if self.bid is None else self.bid)

    @property
    def storage_price(self) -> float:
        """USD an hour."""
        return self.disk_gb * float(self.offer["storage_cost"]) / 720

    @property
    def wants_machine(self) -> bool:
        return self.intended == "running" and self.cur == "running" and not self.is_over

    @property
    def env(self) -> dict[str, str]:
        """What its processes see: the order's, without the port maps and other options."""
        env = self.order.get("env")
        return {k: str(v) for k, v in env.items() if not k.startswith("-")} if isinstance(env, dict) else {}

    def context(self) -> dict[str, Any]:
        """What a fault's ``where`` may ask for."""
        offer = self.offer
        return {
            "contract": self.id,
            "offer": offer["id"],
            "machine": offer["machine_id"],
            "host": offer["host_id"],
            "label": self.label or "",
        }


def row_of(contract: Contract, now: float, *, in_list: bool) -> Row:
    """As the market shows it."""
    price = priced(contract.offer, contract.disk_gb, bid=contract.gpu_price)
    status = _status(contract, now)
    row = {
        **{name: contract.offer.get(name) for name in _COPIED},
        **{name: price[name] for name in ("dph_base", "dph_total", "storage_total_cost", "search")},
        "instance": price["search"] if contract.bills_gpu else price["instance"],
        "id": contract.id,
        "ask_contract_id": contract.offer["id"],
        "label": contract.label,
        "actual_status": status,
        "intended_status": contract.intended,
        "cur_state": "unloaded" if contract.is_over else contract.cur,
        "next_state": contract.next,
        "status_msg": contract.msg,
        **_order_fields(contract),
        **_address_fields(contract, shows_ports=status == "running"),
        **_time_fields(contract, now),
        "disk_space": contract.disk_gb,
        "disk_usage": -1,
        "disk_util": -1,
        "gpu_util": 0.0 if status == "running" else None,
        "is_bid": contract.bid is not None,
        "country_code": country_of(contract.offer),
    }
    if in_list:
        row["volume_info"] = None
    return _with_oddities(row, contract)


def _status(contract: Contract, now: float) -> str | None:
    if "status_strange" in contract.traits:
        return "defragmenting"
    if contract.shown and now < contract.shown[1]:
        return contract.shown[0]
    return "offline" if contract.is_offline else contract.actual


def _order_fields(contract: Contract) -> Row:
    return {
        "image_uuid": contract.image,
        "image_args": contract.order.get("args") or [],
        "image_runtype": contract.order.get("runtype") or "ssh",
        "extra_env": [[name, value] for name, value in (contract.order.get("env") or {}).items()],
        "onstart": contract.order.get("onstart"),
        "jupyter_token": "t",
        "template_id": None,
        "template_hash_id": contract.order.get("template_hash_id"),
        "template_name": None,
    }


def _address_fields(contract: Contract, *, shows_ports: bool) -> Row:
    endpoints = contract.endpoints
    row: Row = {
        "public_ipaddr": endpoints.direct_host + "\n",
        "local_ipaddrs": "10.0.0.2\n",
        "ssh_host": endpoints.proxy_host,
        "ssh_port": endpoints.proxy_port,
        "ssh_idx": "5",
        "machine_dir_ssh_port": endpoints.direct_port,
        "direct_port_start": -1,
        "direct_port_end": -1,
    }
    if shows_ports:
        row["ports"] = ports_of(contract)
    return row


def ports_of(contract: Contract) -> dict[str, list[dict[str, str]]]:
    """Port 22 if it was opened directly, and the ports of the order's ``-p`` keys, each at a high port outside.

    A host without direct ports maps none.
    """
    if not contract.offer["direct_port_count"]:
        return {}
    env, outside = contract.order.get("env"), contract.endpoints.direct_port
    inside = ["22/tcp"] if "direc" in (contract.order.get("runtype") or "") else []
    for key in env if isinstance(env, dict) else ():
        if key.startswith("-p "):
            port, _, kind = key[3:].rpartition(":")[2].partition("/")
            inside.append(f"{port}/{kind or 'tcp'}")
    return {
        name: [{"HostIp": ip, "HostPort": str(outside + number)} for ip in ("0.0.0.0", "::")]
        for number, name in enumerate(dict.fromkeys(inside))
    }


def _time_fields(contract: Contract, now: float) -> Row:
    since = contract.running_since
    return {
        "start_date": contract.created_at,
        "end_date": contract.end_date,
        "duration": contract.end_date - now,
        "uptime_mins": None if since is None else (now - since) / 60,
        "time_remaining": "",
    }


def _with_oddities(row: Row, contract: Contract) -> Row:
    traits = contract.traits
    if "extra_env_null" in traits:
        row["extra_env"] = None
    if "extra_env_dict" in traits:
        row["extra_env"] = dict(row["extra_env"] or [])
    if "ports_null" in traits:
        row["ports"] = None
    if "geolocation_null" in traits:
        row |= {"geolocation": None, "country_code": None}
    if "cpu_cores_null" in traits:
        row["cpu_cores"] = None
    if "disk_smaller" in traits:
        row["disk_space"] = contract.disk_gb / 2
    return row

"""Where the demo rents: the local provider, or vast.ai's own client against a fake vast.ai whose machines are local.

Either way a machine is a process of this host with a folder of its own; what differs is whose books say what it cost.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from dumont.embedded.environment import HOST, PROJECT, free_port
from dumont.embedded.processes import Program
from dumont.embedded.programs import Surroundings, python_env
from hibernation.providers.local import LocalProvider, billing_now, read_ledger

TIMES_FASTER = 10
"""The fake's rate limits and its machines' boots; a demo of ten minutes would show nothing more."""
_BOOT_SECONDS = 20
_IMAGE = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"


@dataclass(frozen=True, slots=True)
class Rental:
    """What a machine cost until now, USD, by kind where the market tells. ``seconds`` are those of its clock."""

    seconds: float
    price_per_hour: float
    cost: float
    parts: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        parts = {"cost_by_kind": dict(self.parts)} if self.parts else {}
        return {
            "seconds": round(self.seconds, 3),
            "price_per_hour": self.price_per_hour,
            "cost": self.cost,
            **parts,
        }


class Market(Protocol):
    """``provider``: Dumont's name for it. ``env``: what Dumont must know. ``order``: arguments of the instance."""

    provider: str
    env: Mapping[str, str]
    order: Mapping[str, str]

    def programs(self, around: Surroundings) -> tuple[Program, ...]:
        """What must run before anything is rented."""

    def is_up(self, contract_id: str) -> bool:
        """Whether there is a machine of this host behind the contract, and the market has done its part with it."""

    def local_id(self, contract_id: str) -> str:
        """That machine's own number. Only once it was up."""

    def is_billing(self, contract_id: str) -> bool:
        """By the market's own books."""

    def rental(self, contract_id: str) -> Rental: ...


class LocalMarket:
    provider = "local"
    env: Mapping[str, str] = {}
    order: Mapping[str, str] = {}

    def __init__(self, state: Path) -> None:
        self._state = state

    def programs(self, around: Surroundings) -> tuple[Program, ...]:
        return ()

    def is_up(self, contract_id: str) -> bool:
        return True

    def local_id(self, contract_id: str) -> str:
        return contract_id

    def is_billing(self, contract_id: str) -> bool:
        return contract_id in billing_now(self._state)

    def rental(self, contract_id: str) -> Rental:
        lines = {line["event"]: line for line in read_ledger(self._state) if line["contract"] == contract_id}
        began = datetime.fromisoformat(lines["launched"]["at"])
        until = lines.get("destroyed", {}).get("at") or datetime.now(began.tzinfo).isoformat()
        seconds = (datetime.fromisoformat(until) - began).total_seconds()
        price = float(lines["launched"]["price"])
        return Rental(seconds, price, price * seconds / 3600)


class FakeVast:
    """A fake vast.ai as a program of the stack, with limits, boots and a clock ``TIMES_FASTER`` than the real ones."""

    provider = "vast"

    def __init__(self, state: Path) -> None:
        self._state = state
        self._port, self._key = free_port(), secrets.token_hex(32)
        self._machines = LocalProvider(state)
        self._local_ids: dict[str, str] = {}
        self.order: Mapping[str, str] = {"image": _IMAGE}
        self.env: Mapping[str, str] = {
            "DUMONT_PROVIDERS": "vast",
            "DUMONT_VAST_URL": f"http://{HOST}:{self._port}",
            "DUMONT_VAST_API_KEY": self._key,
            "DUMONT_VAST_TIME_SCALE": str(1 / TIMES_FASTER),
            "DUMONT_LIST_SHARED_SECONDS": str(5 / TIMES_FASTER),
        }

    def programs(self, around: Surroundings) -> tuple[Program, ...]:
        # Its key is readable by whoever may list this host's processes; it opens nothing but this fake.
        places = ("--root", str(self._state), "--port", str(self._port), "--key", self._key)
        times = ("--clock-scale", str(TIMES_FASTER), "--limits", "1", "--boot-seconds", str(_BOOT_SECONDS))
        command = (sys.executable, "-m", "tests.fakes.vast", *places, *times)
        log = around.logs / "market.log"
        # Asked to end, it would take its machines' folders along, and with them what was restored.
        return (Program("market", command, log, env=python_env(), cwd=PROJECT, stop_signal=signal.SIGKILL),)

    def is_up(self, contract_id: str) -> bool:
        rows = {str(row["id"]): row for row in self._ask("state")["contracts"]}
        return contract_id in rows and rows[contract_id]["actual_status"] == "running"

    def local_id(self, contract_id: str) -> str:
        """Both know the machine by the label of its order."""
        if contract_id not in self._local_ids:
            labels = {str(row["id"]): row["label"] for row in self._ask("state")["contracts"]}
            local = {machine.label: machine.contract_id for machine in self._machines.list_machines()}
            self._local_ids[contract_id] = local[labels[contract_id]]
        return self._local_ids[contract_id]

    def is_billing(self, contract_id: str) -> bool:
        return int(contract_id) in self._ask("state")["billed"]

    def rental(self, contract_id: str) -> Rental:
        lines = {line["kind"]: line for line in self._ask("ledger") if str(line["contract"]) == contract_id}
        parts = {kind: line["usd"] for kind, line in lines.items() if line["usd"]}
        hours, cost = lines["storage"]["amount"], sum(parts.values())
        price = sum(
            lines[kind]["usd"] / lines[kind]["amount"] for kind in ("gpu", "storage") if lines[kind]["amount"]
        )
        return Rental(hours * 3600, price, cost, parts)

    def _ask(self, what: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{self._port}/_fake/{what}", timeout=10) as answer:
            return json.load(answer)


def market_named(name: str, state: Path) -> Market:
    """``name`` as on the command line."""
    return FakeVast(state) if name == "vast-fake" else LocalMarket(state)


MARKETS = ("local", "vast-fake")

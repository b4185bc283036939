"""The state of the fake market, in one place under one lock: offers, contracts, their time and their bill.

Nothing runs by itself: ``advance`` brings everything to the clock's now, event by event, and each call begins with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from tests.fakes.arming import Faults
from tests.fakes.clock import Clock
from tests.fakes.vast import events
from tests.fakes.vast.boot import Step, plan_boot, plan_restart
from tests.fakes.vast.catalogue import MACHINES, Catalogue, Row, make_catalogue
from tests.fakes.vast.contracts import Contract, row_of
from tests.fakes.vast.faults import BOOT
from tests.fakes.vast.ledger import Ledger
from tests.fakes.vast.machines import Machines

FIRST_CONTRACT = 500_001


class Market:
    """``boot_seconds``: from a contract to its running. ``contracts`` are those that exist, ``ended`` the others."""

    def __init__(
        self,
        clock: Clock,
        machines: Machines,
        faults: Faults,
        *,
        boot_seconds: float,
        credit: float,
        hosts: int = MACHINES,
    ) -> None:
        self.clock, self.machines, self.faults = clock, machines, faults
        self.boot_seconds = boot_seconds
        self.ledger = Ledger(credit)
        self.catalogue: Catalogue = make_catalogue(clock.now(), machines.public_ipaddr, machines=hosts)
        self.contracts: dict[int, Contract] = {}
        self.ended: dict[int, Contract] = {}
        self.rises: dict[int, events.Rise] = {}
        self.account_keys: dict[int, str] = {}
        self._next, self._next_key, self._accrued = FIRST_CONTRACT, 1, clock.now()
        self._lock = RLock()

    @contextmanager
    def now(self) -> Iterator[float]:
        """Holds the market, brought to the present; afterwards the machines learn what became of them."""
        with self._lock:
            now = self.advance()
            try:
                yield now
            finally:
                self._sync()

    def advance(self) -> float:
        """Lets happen what is due. Returns the time."""
        now = self.clock.now()
        while (due := self._next_event(now)) is not None:
            at, apply = due
            self._accrue(at)
            apply(at)
        self._accrue(now)
        events.strike(self, now)
        return now

    # Renting and ending

    def rent(self, offer: Row, order: dict[str, Any], *, boots: bool = True) -> Contract:
        """A new contract. With ``boots`` False it exists, stopped."""
        now, contract_id = self.clock.now(), self._next
        self._next += 1
        contract = Contract(
            id=contract_id,
            offer=dict(offer),
            order=order,
            api_key=secrets.token_hex(16),
            endpoints=self.machines.reserve(contract_id),
            created_at=now,
            end_date=offer["end_date"],
            bid=order.get("price"),
            label=order.get("label"),
            image=order.get("image") or "template/image:latest",
        )
        contract.keys = dict(self.account_keys)
        contract.machine_keys = list(self.account_keys.values())
        self.contracts[contract_id] = contract
        if boots:
            contract.plan = plan_boot(now, self.boot_seconds, contract.image, self._boot_faults(contract))
        else:
            self.halt(contract, "exited")
        events.strike(self, now)
        self.machines.sync(contract)
        return contract

    def destroy(self, contract: Contract, *, ghost_polls: int = 0) -> None:
        """It bills no more, and its GPU is free. Repeatable."""
        contract.is_over, contract.holds_gpu, contract.up = True, False, False
        contract.plan, contract.queued_from, contract.ghost_polls = [], None, ghost_polls
        if self.contracts.pop(contract.id, None):
            self.ended[contract.id] = contract
            self.rises.pop(contract.id, None)
            self.machines.sync(contract)

    def stop(self, contract: Contract) -> None:
        """As asked by us: its GPU goes back a moment later."""
        contract.intended = contract.next = "stopped"
        contract.queued_from = None
        if contract.cur != "stopped" or contract.actual in ("running", "loading"):
            at = self.clock.now() + 0.2 * self.boot_seconds
            contract.plan = [Step(at, {"actual": "exited", "cur": "stopped", "msg": ""})]

    def start(self, contract: Contract) -> bool:
        """False: its GPU is let, and the start waits for it."""
        now = self.clock.now()
        contract.intended = contract.next = "running"
        if contract.cur == "running" and contract.actual != "exited":
            contract.plan = [step for step in contract.plan if step.changes.get("cur") != "stopped"]
            return True
        queue = self.faults.take("start_queued", **contract.context())
        if queue or not self.has_gpu(contract):
            contract.queued_from = now + (queue["seconds"] if queue else 0.0)
            return False
        self.run(contract, now)
        return True

    def run(self, contract: Contract, now: float) -> None:
        """Takes the GPU and boots from the disk that is there."""
        contract.queued_from, contract.holds_gpu = None, True
        contract.cur = contract.next = contract.intended = "running"
        contract.boots += 1
        if faults := self._boot_faults(contract):
            contract.plan = plan_boot(now, self.boot_seconds, contract.image, faults)
        else:
            contract.plan = plan_restart(now, self.boot_seconds, contract.image)
        self.machines.sync(contract)

    def halt(self, contract: Contract, actual: str | None, msg: str = "") -> None:
        """Stopped at once, and not by our wish."""
        contract.plan, contract.queued_from = [], None
        self._change(
            contract,
            {"actual": actual, "cur": "stopped", "next": "stopped", "intended": "stopped", "msg": msg},
        )

    def reboot(self, contract: Contract, status: str) -> None:
        now = self.clock.now()
        contract.boots += 1
        contract.up = False
        contract.plan = [
            Step(now, {"actual": status}),
            *plan_restart(now, self.boot_seconds, contract.image)[1:],
        ]

    def heal(self, contract_id: int) -> None:
        """Lasting faults of this contract end."""
        with self.now():
            self.contracts[contract_id].traits.clear()

    def attach_key(self, contract: Contract, key: str) -> None:
        if key not in contract.keys.values():
            contract.keys[self.new_key_id()] = key
        if key not in contract.machine_keys:
            contract.machine_keys.append(key)

    def new_key_id(self) -> int:
        self._next_key += 1
        return self._next_key - 1

    # What is known from outside

    def is_rentable(self, offer: Row) -> bool:
        return self._free_gpus(offer["machine_id"]) >= int(offer["num_gpus"])

    def has_gpu(self, contract: Contract) -> bool:
        return contract.holds_gpu or self.is_rentable(contract.offer)

    def offers(self) -> list[Row]:
        """Every offer with what is true of it now, rentable or not."""
        rows = []
        for offer in self.catalogue.offers.values():
            rentable = self.is_rentable(offer)
            rows.append({**offer, "rentable": rentable, "rented": not rentable})
        return rows

    def row(self, contract: Contract, *, in_list: bool) -> Row:
        return row_of(contract, self.clock.now(), in_list=in_list)

    def billed(self) -> list[int]:
        """The contracts that cost money now, oldest first: everything that exists."""
        with self.now():
            return sorted(self.contracts)

    def spent(self, contract_id: int | None = None) -> float:
        """USD up to now."""
        with self.now():
            return self.ledger.spent(contract_id)

    # What happens from outside

    def add_traffic(self, contract_id: int, *, down_gb: float = 0.0, up_gb: float = 0.0) -> None:
        """Bills what went over the machine's line."""
        with self.now():
            offer = (self.contracts.get(contract_id) or self.ended[contract_id]).offer
            self.ledger.charge(contract_id, "download", down_gb * offer["inet_down_cost"], down_gb)
            self.ledger.charge(contract_id, "upload", up_gb * offer["inet_up_cost"], up_gb)

    def set_credit(self, usd: float) -> None:
        with self.now():
            self.ledger.credit = usd
            if usd > 0:
                for contract in self.contracts.values():
                    contract.delete_at = None

    def let_to_others(self, machine_id: int, gpus: int) -> None:
        """So many GPUs of this machine are rented by strangers now; 0 gives them back."""
        with self.now():
            self.catalogue.machines[machine_id].outsiders = gpus

    def machine_is_up(self, contract_id: int, boots: int, is_up: bool) -> None:
        """The machine's own word. Words of an earlier boot count for nothing."""
        with self._lock:
            contract = self.contracts.get(contract_id)
            if contract and contract.boots == boots:
                contract.up = is_up

    # Time

    def _next_event(self, now: float) -> tuple[float, Any] | None:
        """The earliest thing that is due, and what does it."""
        due = [event for contract in self.contracts.values() for event in events.of(self, contract, now)]
        if broke := events.of_credit(self, self._accrued, now):
            due.append(broke)
        return min(due, key=lambda event: event[0], default=None)

    def _accrue(self, until: float) -> None:
        hours = (until - self._accrued) / 3600
        if hours <= 0:
            return
        for contract in self.contracts.values():
            self.ledger.charge(contract.id, "storage", hours * contract.storage_price, hours)
            if contract.bills_gpu:
                self.ledger.charge(contract.id, "gpu", hours * contract.gpu_price, hours)
        self._accrued = until

    def take_step(self, contract: Contract, at: float) -> None:
        self._change(contract, contract.plan.pop(0).changes, at)

    def _change(self, contract: Contract, changes: dict[str, Any], at: float | None = None) -> None:
        was_stopped = contract.cur == "stopped"
        for name, value in changes.items():
            setattr(contract, name, value)
        contract.running_since = (contract.running_since or at) if contract.actual == "running" else None
        if contract.cur == "stopped" and not was_stopped:
            contract.holds_gpu, contract.up = False, False
            if "gpu_let_on_stop" in contract.traits:
                machine_id = contract.offer["machine_id"]
                self.catalogue.machines[machine_id].outsiders += self._free_gpus(machine_id)

    def _boot_faults(self, contract: Contract) -> dict[str, dict[str, Any]]:
        taken = {
            name: self.faults.take(name, **contract.context()) for name in BOOT if self.faults.is_armed(name)
        }
        return {name: options for name, options in taken.items() if options is not None}

    def _free_gpus(self, machine_id: int) -> int:
        machine = self.catalogue.machines[machine_id]
        ours = sum(
            int(contract.offer["num_gpus"])
            for contract in self.contracts.values()
            if contract.holds_gpu and contract.offer["machine_id"] == machine_id
        )
        return machine.gpus - machine.outsiders - ours

    def _sync(self) -> None:
        for contract in self.contracts.values():
            self.machines.sync(contract)

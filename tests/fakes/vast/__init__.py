"""A fake vast.ai: the marketplace's HTTP API on loopback, with offers, contracts that boot, a bill, limits and faults.

    with VastFake(clock=ManualClock()) as fake:
        fake.faults.arm("offer_gone_404")
        client = Client(fake.url, fake.key)

With ``root`` its machines are real processes there, of the local provider: SSH, agent and files are real. Without, they
are rows only. It also runs by itself: ``python -m tests.fakes.vast --help``. Faults are told in ``faults.py``.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.clock import Clock, ManualClock, RealClock, ScaledClock
from tests.fakes.http import Reply, Request, Server
from tests.fakes.vast.account import Keyring
from tests.fakes.vast.api import Api
from tests.fakes.vast.calls import Calls
from tests.fakes.vast.catalogue import MACHINES, Row
from tests.fakes.vast.contracts import Contract
from tests.fakes.vast.control import control
from tests.fakes.vast.faults import market_faults
from tests.fakes.vast.ledger import Ledger
from tests.fakes.vast.machines import LocalMachines, NoMachines
from tests.fakes.vast.market import Market
from tests.fakes.vast.replies import Refusal

__all__ = ["ManualClock", "RealClock", "ScaledClock", "VastFake"]

_PULSE_SECONDS = 0.1
_GARBLED = Refusal(400, "invalid_request", "not a JSON object").reply


class VastFake:
    """A market with one account. ``credit`` is USD; ``limits`` 0: none, 1: as documented. Seconds are its clock's.

    ``key`` may do everything; ``keyring.add`` makes lesser ones. ``hosts``: how many machines are offered. Without
    ``root``, ``door`` is the port of this host where all of them are reached.
    """

    def __init__(
        self,
        root: Path | None = None,
        clock: Clock | None = None,
        *,
        boot_seconds: float = 10.0,
        credit: float = 100.0,
        limits: float = 0.0,
        port: int = 0,
        key: str = "",
        hosts: int = MACHINES,
        door: int | None = None,
    ) -> None:
        self.faults, self.keyring = market_faults(), Keyring()
        self.key = self.keyring.add("owner", text=key)
        self.machines: LocalMachines | NoMachines = (
            LocalMachines(root, self._machine_is_up) if root else NoMachines(door)
        )
        self.market = Market(
            clock or RealClock(),
            self.machines,
            self.faults,
            boot_seconds=boot_seconds,
            credit=credit,
            hosts=hosts,
        )
        self.calls = Calls(market=self.market, keyring=self.keyring)
        self.api = Api(self.calls)
        self.limits, self.journal = self.api.limits, self.api.journal
        self.limits.factor = limits
        self._server = Server(self._answer, _GARBLED, port, "fake vast")
        self.url = self.calls.base_url = self._server.url
        self._closing = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="fake vast pulse")

    @property
    def ledger(self) -> Ledger:
        """Brought to the present."""
        with self.market.now():
            return self.market.ledger

    @property
    def contracts(self) -> dict[int, Contract]:
        """Those that exist, brought to the present."""
        with self.market.now():
            return dict(self.market.contracts)

    def billed(self) -> list[int]:
        """The contracts that cost money now."""
        return self.market.billed()

    def advance(self, seconds: float) -> None:
        """Moves a ``ManualClock``, and lets happen what is due."""
        assert isinstance(self.market.clock, ManualClock)
        self.market.clock.advance(seconds)
        with self.market.now():
            pass

    def offer(self, **fields: Any) -> Row:
        """The cheapest rentable, verified offer whose row has these values; one with direct ports if not told."""
        with self.market.now():
            rows = [row for row in self.market.offers() if row["rentable"] and not row["external"]]
        rows = [row for row in rows if row["verification"] == "verified" and fields.items() <= row.items()]
        if "direct_port_count" not in fields:
            rows = [row for row in rows if row["direct_port_count"] > 0]
        return min(rows, key=lambda row: row["dph_total"])

    def rent(self, offer_id: int | None = None, label: str | None = None, **order: Any) -> Contract:
        """As if the account's owner had rented by himself, past the API."""
        with self.market.now():
            offer = self.market.catalogue.offers[offer_id] if offer_id else self.offer()
            base = {"image": "image:1", "disk": 10.0, "runtype": "ssh_direc ssh_proxy", "label": label}
            return self.market.rent(offer, {**base, **order})

    def __enter__(self) -> Self:
        self._server.start()
        if isinstance(self.machines, LocalMachines):
            self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._closing.set()
        if self._pulse.is_alive():
            self._pulse.join()
        self.machines.close()

    def _answer(self, request: Request) -> Reply:
        is_control = request.path.startswith("/_fake/")
        return control(self.api, request) if is_control else self.api.handle(request)

    def _beat(self) -> None:
        """Machines must follow the clock also while nobody calls."""
        while not self._closing.wait(_PULSE_SECONDS):
            with self.market.now():
                pass

    def _machine_is_up(self, contract_id: int, boots: int, is_up: bool) -> None:
        self.market.machine_is_up(contract_id, boots, is_up)

"""A fake Runpod: the REST interface v2 on loopback, with a catalogue, pods that boot, a bill and faults.

    with RunpodFake(clock=ManualClock()) as fake:
        fake.faults.arm("no_capacity")
        client = RunpodClient(f"{fake.url}/v2", fake.key, limiter)

With ``root`` its pods are real processes there, of the local provider: SSH and files are real. Without, they are rows
only. Faults are told in ``faults.py``.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.clock import Clock, ManualClock, RealClock
from tests.fakes.http import Server
from tests.fakes.runpod.api import GARBLED, Api
from tests.fakes.runpod.faults import pod_faults
from tests.fakes.runpod.machines import LocalMachines, NoMachines
from tests.fakes.runpod.market import Market, Pod

__all__ = ["ManualClock", "RunpodFake"]


class RunpodFake:
    """One account. ``credit`` is USD. Seconds are its clock's. ``reader`` is a key that may read and no more."""

    def __init__(
        self,
        root: Path | None = None,
        clock: Clock | None = None,
        *,
        boot_seconds: float = 10.0,
        credit: float = 100.0,
    ) -> None:
        self.faults = pod_faults()
        self.key, self.reader = f"rpa_{secrets.token_hex(16)}", f"rpa_{secrets.token_hex(16)}"
        self.machines = LocalMachines(root) if root else NoMachines()
        self.market = Market(
            clock or RealClock(), self.machines, self.faults, boot_seconds=boot_seconds, credit=credit
        )
        self.api = Api(self.market, {self.key: True, self.reader: False})
        self._server = Server(self.api.handle, GARBLED, name="fake runpod")
        self.url = self._server.url

    @property
    def pods(self) -> dict[str, Pod]:
        """Those that exist, brought to the present."""
        with self.market.now():
            return dict(self.market.pods)

    @property
    def asked(self) -> list[str]:
        """Method and path of every call, oldest first."""
        return list(self.api.asked)

    def billed(self) -> list[str]:
        """The pods that cost money now, if only for their disks."""
        return sorted(self.pods)

    def spent(self) -> float:
        with self.market.now():
            return self.market.spent

    def advance(self, seconds: float) -> None:
        """Moves a ``ManualClock``, and lets happen what is due."""
        assert isinstance(self.market.clock, ManualClock)
        self.market.clock.advance(seconds)
        with self.market.now():
            pass

    def rent(self, name: str, **order: Any) -> str:
        """As if the account's owner had made a pod by himself, past the API."""
        gpu = {"id": "NVIDIA GeForce RTX 4090", "count": 1}
        with self.market.now():
            base = {"name": name, "image": "image:1", "gpu": gpu, "cloud": "SECURE", "disk": 10}
            return self.market.create({**base, **order}).id

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self.machines.close()

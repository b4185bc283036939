"""What the demo runs on: one state folder, emptied first, the stack in it, and the machines that the stack rents."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dumont.embedded.environment import PROJECT
from dumont.embedded.folders import exclusive, private_folder
from dumont.embedded.processes import Program
from dumont.embedded.programs import Surroundings, Table, project_table, python_env
from dumont.embedded.stack import Stack
from hibernation.providers.local import LocalProvider
from hibernation.providers.local.fake_gpu import read_gpus, write_gpus
from hibernation.providers.local.files import remove_tree

from .client import Client
from .markets import Market, Rental
from .options import MARK
from .prepare import PASSWORD

INSTANCE = "demo"
INCOMING = "incoming"

_HASTE = {
    "DUMONT_HEARTBEAT_SECONDS": "1",
    "DUMONT_SWEEP_SECONDS": "1",
    "DUMONT_RECONCILE_SECONDS": "5",
    "DUMONT_DRIVE_SECONDS": "1",
}
_KEPT_FOLDERS = ("postgres", "provider", "ssh", "static")


@dataclass(frozen=True, slots=True)
class Session:
    """A person's way in."""

    client: Client
    token: str


@contextlib.contextmanager
def reserved(state: Path) -> Iterator[None]:
    """Holds the state folder and empties it of an earlier demo. Raises ``StateInUse`` if another demo has it."""
    private_folder(state)
    with exclusive(state / MARK):
        LocalProvider(state).destroy_all()
        for folder in state.iterdir():
            if folder.is_dir() and not folder.is_symlink() and folder.name not in _KEPT_FOLDERS:
                remove_tree(folder)
        yield


class Host:
    """``with`` it: leaving ends the stack and every machine, whatever happened. Folders of machines stay."""

    def __init__(
        self,
        state: Path,
        market: Market,
        idle_seconds: float,
        password: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.state = state
        self.market = market
        self._idle_seconds = idle_seconds
        self._password = password
        self._token_file = state / "token"
        self._provider = LocalProvider(state)
        self.stack = Stack(state, env={**_HASTE, **market.env, **(env or {})}, table=self._table)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        with _undisturbed():
            # The stack first: from then on nobody rents.
            self.stack.stop()
            self._provider.stop_all()

    def start(self) -> Session:
        """Returns once everything answers. The token is nowhere but in the session."""
        self._token_file.unlink(missing_ok=True)
        self.stack.start()
        token = self._token_file.read_text()
        self._token_file.unlink()
        self.stack.wait_ready()
        return Session(Client(self.stack.base_url, token), token)

    def workspace(self, contract_id: str) -> Path:
        return self._provider.machine_folder(self.market.local_id(contract_id)) / "workspace"

    def gpu_file(self, contract_id: str) -> Path:
        return self._provider.gpu_file(self.market.local_id(contract_id))

    def use_gpu(self, contract_id: str, per_cent: int) -> None:
        """From the next reading on the machine's GPUs are that busy."""
        file = self.gpu_file(contract_id)
        used = 18_000 if per_cent else 0
        write_gpus(file, [replace(gpu, utilization=per_cent, memory_used=used) for gpu in read_gpus(file)])

    def is_billing(self, contract_id: str) -> bool:
        """By the provider's own books."""
        return self.market.is_billing(contract_id)

    def rental(self, contract_id: str) -> Rental:
        """By the provider's books."""
        return self.market.rental(contract_id)

    def _table(self, around: Surroundings) -> Table:
        wish = ("--instance", INSTANCE, "--idle-seconds", str(self._idle_seconds))
        order = [part for name, value in self.market.order.items() for part in (f"--{name}", value)]
        command = (
            sys.executable,
            "-m",
            "dumont.demo.prepare",
            *wish,
            "--provider",
            self.market.provider,
            *order,
            "--token-file",
            str(self._token_file),
        )
        env = {**around.env, **python_env(), **({PASSWORD: self._password} if self._password else {})}
        prepare = Program("prepare", command, around.logs / "prepare.log", env=env, cwd=PROJECT)
        table = project_table(around)
        # It migrates, after it has emptied the database.
        return replace(
            table,
            setup=(prepare, *(program for program in table.setup if program.name != "migrate")),
            early=(*self.market.programs(around), *table.early),
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave half of it running; what is done here takes a bounded time."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

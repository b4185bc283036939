"""What a run happens in: the stack as a production has it, a fake vast.ai, machines of straw, sleeping workspaces."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dumont.demo.client import Client
from dumont.embedded.environment import HOST, PROJECT, free_port
from dumont.embedded.processes import Program
from dumont.embedded.programs import Surroundings, Table, project_table, python_env
from dumont.embedded.stack import Stack

CONTROL_PLANE = ("web", "beat", "control", "provision", "transfer", "postgres", "valkey")
HELPERS = ("market", "boxes")
GPUS = ("RTX 3090", "RTX 4090")
BOOT_SECONDS = 60.0
_HOSTS_PER_WAKE = 10
_FEWEST_HOSTS = 300
_IMAGE = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"
_RECONCILE_SECONDS, _LIST_SHARED_SECONDS = 30.0, 5.0
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Wishes:
    """``speed``: how many times as fast as the real one the market's time runs."""

    instances: int
    speed: float


class World:
    """``stack`` is to be started by the caller, then ``prepare`` called. The account has credit for all of it."""

    def __init__(self, state: Path, wishes: Wishes) -> None:
        self.wishes = wishes
        self._port, self._door, self._key = free_port(), free_port(), secrets.token_hex(16)
        env = {
            "DUMONT_PROVIDERS": "vast",
            "DUMONT_REQUESTS_PER_MINUTE": "0",
            "DUMONT_VAST_URL": f"http://{HOST}:{self._port}",
            "DUMONT_VAST_API_KEY": self._key,
            "DUMONT_VAST_TIME_SCALE": str(1 / wishes.speed),
            "DUMONT_LIST_SHARED_SECONDS": str(_LIST_SHARED_SECONDS / wishes.speed),
            "DUMONT_RECONCILE_SECONDS": str(max(0.5, _RECONCILE_SECONDS / wishes.speed)),
        }
        self.stack = Stack(state, env=env, table=self._table)
        self._client: Client

    def prepare(self) -> None:
        """Returns when everything answers and every workspace sleeps."""
        self.stack.wait_ready()
        self._wait_for_helpers()
        os.environ.update(self.stack.env, DJANGO_SETTINGS_MODULE="dumont.settings")
        import django

        django.setup()
        from hibernation.services.tokens import create_api_token
        from tests.factories import make_hibernated, make_user

        for number in range(self.wishes.instances):
            make_hibernated(provider="vast", gpu_type=GPUS[number % len(GPUS)], image=_IMAGE)
        self._client = Client(self.stack.base_url, create_api_token(make_user("benchmark"), "benchmark"))

    def wake_all(self) -> None:
        """Asks for all the wakes over the API, eight at a time."""
        from hibernation.models import Instance

        names = list(Instance.objects.order_by("created_at").values_list("pk", flat=True))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: self._client.post(f"/api/instances/{name}/wake", {}), names))

    def ask(self, what: str) -> Any:
        """The fake's own view: ``state``, ``journal``, ``ledger``."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{self._port}/_fake/{what}", timeout=60) as answer:
            return json.load(answer)

    def leaders(self, names: tuple[str, ...]) -> dict[str, int | None]:
        return {name: self.stack.pid(name) for name in names}

    def _table(self, around: Surroundings) -> Table:
        hosts = max(_FEWEST_HOSTS, _HOSTS_PER_WAKE * self.wishes.instances)
        market = (
            *("-m", "tests.fakes.vast", "--root", str(around.logs), "--machines", "none"),
            *("--port", str(self._port), "--key", self._key, "--door", str(self._door)),
            *("--hosts", str(hosts), "--credit", "1000000", "--limits", "1"),
            *("--clock-scale", str(self.wishes.speed), "--boot-seconds", str(BOOT_SECONDS)),
        )
        boxes = ("-m", "benchmarks.wakes.boxes", str(self._door))
        helpers = tuple(
            Program(name, (sys.executable, *command), around.logs / f"{name}.log", python_env(), PROJECT)
            for name, command in zip(HELPERS, (market, boxes), strict=True)
        )
        table = project_table(around)
        return replace(table, early=(*helpers, *table.early))

    def _wait_for_helpers(self) -> None:
        deadline = time.monotonic() + 30
        for port in (self._port, self._door):
            while True:
                try:
                    socket.create_connection((HOST, port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

"""What the control plane itself adds to a hibernation and a wake, in seconds.

Runs whole cycles on the local provider (real PostgreSQL, Valkey, workers, SSH, agent) and takes off what a machine
needs anyway: its boot, from the launch call to the first accepted connection, and the bytes, from the start of the
freeze or thaw process to its end. Goal: a median of at most 2 s for each.

    .venv/bin/python -m benchmarks.overhead [--cycles 5] [--files 500]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from dumont.embedded.processes import signals_as_exits
from dumont.embedded.stack import Stack

GOAL_SECONDS = 2.0
INTERVALS = {"DUMONT_HEARTBEAT_SECONDS": "1", "DUMONT_SWEEP_SECONDS": "2", "DUMONT_RECONCILE_SECONDS": "10"}


class Watch(threading.Thread):
    """Notes how long jobs ran on the boxes and when a new machine first took a connection. Polls every 10 ms."""

    def __init__(self, state: Path) -> None:
        super().__init__(daemon=True)
        self.jobs: dict[str, float] = {}
        self.boots: dict[str, float] = {}
        self._state = state
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.01):
            self._look_at_jobs()
            self._look_at_boots()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def seconds(self, prefix: str) -> float:
        """How long the jobs of one operation ran."""
        return sum(seconds for job, seconds in self.jobs.items() if f"{job}-".startswith(f"{prefix}-"))

    def _look_at_jobs(self) -> None:
        for path in self._state.glob("machines/*/home/.dumont/jobs/*/progress.json"):
            try:
                progress = json.loads(path.read_text())
                began, seen = (datetime.fromisoformat(progress[k]) for k in ("started_at", "updated_at"))
            except (OSError, ValueError, KeyError):
                continue
            self.jobs[progress["job"]] = (seen - began).total_seconds()

    def _look_at_boots(self) -> None:
        from hibernation.models import Machine

        for machine in Machine.objects.filter(state__in=["intended", "launched"]):
            if machine.label not in self.boots and self._accepts(machine.label):
                self.boots[machine.label] = time.time() - machine.intended_at.timestamp()

    def _accepts(self, label: str) -> bool:
        from hibernation.providers.registry import get_provider

        for rented in get_provider("local").list_machines():
            if rented.label == label and rented.ssh:
                with socket.socket() as probe:
                    probe.settimeout(0.2)
                    return probe.connect_ex((rented.ssh[0].host, rented.ssh[0].port)) == 0
        return False


def fill(workspace: Path, files: int) -> None:
    for number in range(files):
        folder = workspace / f"d{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}.txt").write_bytes(secrets.token_bytes(2000))


def finish(operation: Any, within: float = 120) -> float:
    """Wait for the end; seconds from the request to the end on the database's clock."""
    deadline = time.monotonic() + within
    while operation.finished_at is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"{operation} did not end: {operation.step}, {operation.waiting_for}")
        time.sleep(0.02)
        operation.refresh_from_db()
    if operation.state != "succeeded":
        raise SystemExit(f"{operation} {operation.state}: {operation.error}")
    seconds: float = (operation.finished_at - operation.created_at).total_seconds()
    return seconds


def measure(state: Path, cycles: int, files: int) -> dict[str, list[float]]:
    from hibernation.services.instances import register_instance
    from hibernation.services.requests import request_hibernate, request_wake

    register_instance("overhead", provider="local", actor="benchmark")
    first = request_wake("overhead", actor="benchmark", reason="first start")
    finish(first)
    contract = first.machine.contract_id if first.machine else ""
    fill(state / "machines" / str(contract) / "workspace", files)
    figures: dict[str, list[float]] = {"hibernate": [], "wake": [], "boot": [], "freeze": [], "thaw": []}
    watch = Watch(state)
    watch.start()
    for _ in range(cycles):
        hibernate = request_hibernate("overhead", actor="benchmark", reason="benchmark")
        total = finish(hibernate)
        freeze = watch.seconds(hibernate.result["snapshot_id"])
        figures["freeze"].append(freeze)
        figures["hibernate"].append(total - freeze)
        wake = request_wake("overhead", actor="benchmark", reason="benchmark")
        total = finish(wake)
        boot = watch.boots.get(wake.machine.label if wake.machine else "", 0.0)
        thaw = watch.seconds(f"thaw-{wake.pk}")
        figures["boot"].append(boot)
        figures["thaw"].append(thaw)
        figures["wake"].append(total - boot - thaw)
    watch.stop()
    return figures


def report(figures: dict[str, list[float]]) -> bool:
    print(f"{'seconds':<34}{'median':>8}{'min':>8}{'max':>8}")
    names = {
        "boot": "boot of the machine (taken off)",
        "freeze": "freeze on the box (taken off)",
        "thaw": "thaw on the box (taken off)",
        "hibernate": "hibernate: control plane's own",
        "wake": "wake: control plane's own",
    }
    for key, title in names.items():
        row = figures[key]
        print(f"{title:<34}{statistics.median(row):>8.2f}{min(row):>8.2f}{max(row):>8.2f}")
    met = all(statistics.median(figures[key]) <= GOAL_SECONDS for key in ("hibernate", "wake"))
    print(f"goal: both medians ≤ {GOAL_SECONDS:g} s: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=5, help="hibernate and wake this often (default 5)")
    parser.add_argument(
        "--files", type=int, default=500, help="files in the workspace (default 500, 2 KB each)"
    )
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="dumont-overhead-"))
    try:
        with signals_as_exits(), Stack(state, env=INTERVALS) as stack:
            stack.wait_ready()
            os.environ.update(stack.env, DJANGO_SETTINGS_MODULE="dumont.settings")
            import django

            django.setup()
            from hibernation.providers.registry import get_provider

            try:
                met = report(measure(state, options.cycles, options.files))
            finally:
                get_provider("local").destroy_all()  # type: ignore[attr-defined]
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""Our engine as a machine runs it: the bundle, the detached job, its spec, its progress. Encrypted, as by default."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.snapshot.contest import Stage, Tool, clear, size_of
from benchmarks.snapshot.meter import CommandFailed, Cost, measure
from hibernation.box.bundle import agent_bundle

ROOT = Path(__file__).parents[2]
_IMPORTS = (
    "import http.client, agents.jobs, agents.snapshot.freeze, agents.snapshot.thaw, agents.snapshot.planes"
)
_KEYS = {"id": "11" * 32, "cipher": "22" * 32}


@dataclass(frozen=True, slots=True)
class Job:
    """One finished job. ``usable`` is seconds from the command to the first progress that says so."""

    cost: Cost
    result: dict[str, Any]
    usable: float = 0.0


class Box:
    """A machine with a workspace and a state file; ``home`` is the agent's folder on it."""

    def __init__(self, home: Path, workspace: Path, store_url: str) -> None:
        self._home = home
        self._workspace = workspace
        self._url = store_url
        self._jobs = 0
        home.mkdir(parents=True, exist_ok=True)
        (home / "token").write_text("benchmark")

    @property
    def state_file(self) -> Path:
        return self._home / "state"

    def freeze(self, snapshot: str, parent: str | None = None, *, background: bool = False) -> Job:
        spec = {"kind": "freeze", "snapshot": snapshot, "parent": parent, "background": background}
        return self._run(spec)

    def thaw(self, frozen: dict[str, Any], *, until_usable: bool = False) -> Job:
        """``until_usable``: stop the job there; its result is empty."""
        expect = {"files": frozen["files"], "bytes": frozen["bytes_logical"]}
        spec = {"snapshot": frozen["snapshot"], "manifest": frozen["manifest"], "expect": expect}
        return self._run({"kind": "thaw", **spec}, until_usable)

    def _run(self, spec: dict[str, Any], until_usable: bool = False) -> Job:
        self._jobs += 1
        folder = self._home / f"job-{self._jobs}"
        clear(folder)
        (folder / "spec.json").write_text(json.dumps({**spec, **self._common(folder.name)}))
        watch = Watch(folder, until_usable)
        watch.start()
        try:
            cost = measure(_agent("start", folder), env=_as_installed()[1])
        except CommandFailed as error:
            if not watch.stopped:
                raise CommandFailed(
                    f"{error}\n{_last(folder / 'progress.json')}\n{_last(folder / 'log')}"
                ) from None
            cost = Cost(0.0, 0.0, 0, 0.0)
        finally:
            watch.finish()
        usable = watch.usable_at - watch.began
        if until_usable:
            return Job(cost, {}, usable)
        return Job(cost, json.loads((folder / "progress.json").read_text())["result"], usable)

    def _common(self, job: str) -> dict[str, Any]:
        return {
            "job": job,
            "workspace": str(self._workspace),
            "state_file": str(self.state_file),
            "keys": _KEYS,
            "control_url": self._url,
            "token_file": str(self._home / "token"),
        }


class Watch(threading.Thread):
    """Notes when a job says that the workspace is usable, and may stop it then."""

    def __init__(self, folder: Path, stop_there: bool) -> None:
        super().__init__(daemon=True)
        self.began = time.monotonic()
        self.usable_at = self.began
        self.stopped = False
        self._folder = folder
        self._stop_there = stop_there
        self._done = threading.Event()

    def run(self) -> None:
        ended = False
        while not ended:
            # One last look after the end: a tiny job is over before it is seen to be usable.
            ended = self._done.wait(0.02)
            try:
                usable = json.loads((self._folder / "progress.json").read_bytes()).get("usable")
            except (OSError, ValueError):
                continue
            if usable:
                self.usable_at = time.monotonic()
                if self._stop_there:
                    self.stopped = True
                    subprocess.run(_agent("stop", self._folder), check=True, stdout=subprocess.DEVNULL)
                return

    def finish(self) -> None:
        self._done.set()
        self.join()


class Dumont:
    """The engine in the contest."""

    name = "dumont"
    on_restored = True
    variants: tuple[Tool, ...] = ()

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._repo = stage.repos / "ours"
        self._home = stage.repos / "ours-home"
        self._box = Box(self._home, stage.workspace, stage.store_url)
        self._first: dict[str, Any] = {}

    def version(self) -> str:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return f"Dumont {done.stdout.strip()}, AES-256-GCM"

    def reset(self) -> None:
        clear(self._repo)
        self._new_box()

    def snapshot(self, label: str) -> Cost:
        job = self._box.freeze(label, None if label == "first" else "first")
        if label == "first":
            self._first = job.result
        return job.cost

    def restore(self) -> Cost:
        """On a new box: nothing of the old one's state is there."""
        self._new_box()
        return self._box.thaw(self._first).cost

    def forget_next(self) -> None:
        """The state that the restore wrote knows only the first snapshot."""

    def _new_box(self) -> None:
        clear(self._home)
        self._box = Box(self._home, self._stage.workspace, self._stage.store_url)

    def stored(self) -> int:
        return size_of(self._repo)


def _agent(verb: str, folder: Path) -> list[str]:
    return [sys.executable, str(_as_installed()[0]), "job", verb, "--dir", str(folder)]


@cache
def _as_installed() -> tuple[Path, dict[str, str]]:
    """The bundle and an environment in which the packages it needs are compiled, as pip leaves them on a machine.

    Those of this checkout's own environment are not: without this each job would compile numpy anew.
    """
    folder = Path(tempfile.mkdtemp(prefix="dumont-benchmark-agent-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bundle = folder / "agents.pyz"
    bundle.write_bytes(agent_bundle())
    env = {
        "PYTHONPATH": str(bundle),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
    }
    subprocess.run([sys.executable, "-c", _IMPORTS], cwd=folder, env={**os.environ, **env}, check=True)
    return bundle, env


def _last(path: Path) -> str:
    return path.read_text()[-3000:] if path.exists() else f"no {path.name}"

"""What a command costs: wall clock, CPU and memory of all its processes, also of those that detached themselves.

Runs in a process of its own that adopts every orphan below it, so that the runner of a job, which forks twice, is
waited for and counted like any other child.

    python meter.py RESULT.json COMMAND…
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


class CommandFailed(RuntimeError):
    """A measured command or one of its processes ended with an error."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds and bytes. ``cpu`` is user + system of all processes, ``rss`` the peak of the biggest one.

    ``beside``: what all other processes and the kernel's threads took from the processors meanwhile.
    """

    wall: float
    cpu: float
    rss: int
    started: float
    beside: float = 0.0


def measure(command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> Cost:
    """Run it to its end. Raises ``CommandFailed`` with what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "cost.json"
        meter = [sys.executable, __file__, str(result), *command]
        done = subprocess.run(
            meter, env={**os.environ, **(env or {})}, cwd=cwd, capture_output=True, text=True
        )
        if done.returncode or not result.exists():
            raise CommandFailed(f"{' '.join(command)}: {done.stdout[-1000:]} {done.stderr[-3000:]}")
        return Cost(**json.loads(result.read_text()))


def main() -> int:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started, busy = time.monotonic(), _busy()
    subprocess.Popen(sys.argv[2:])
    failed = _wait_for_all()
    wall = time.monotonic() - started
    busy = _busy() - busy
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    cost = Cost(wall, cpu, used.ru_maxrss * 1024, started, max(0.0, busy - cpu))
    Path(sys.argv[1]).write_text(json.dumps(asdict(cost)))
    return 1 if failed else 0


def _busy() -> float:
    """Seconds that the machine's processors worked so far, whoever for."""
    names = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, _steal = map(int, names)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _wait_for_all() -> bool:
    failed = False
    while True:
        try:
            _, status = os.wait()
        except ChildProcessError:
            return failed
        failed = failed or status != 0


if __name__ == "__main__":
    sys.exit(main())

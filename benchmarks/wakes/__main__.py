"""Wakes hibernated instances all at once through a fake vast.ai under its documented rate limits.

PostgreSQL, Valkey, web, beat, workers, the client of vast.ai and SSH are real, as separate processes. The market's
time runs faster; the control plane's own waits and work do not, so they look longer than they are. Machines are one SSH
server that answers at once: nothing is restored, and their processor time is not counted.

    .venv/bin/python -m benchmarks.wakes [--instances 200] [--speed 2]

Exit status 0: all awake, no call refused for haste, no launch lost or doubled.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from benchmarks.wakes.figures import CREATE_SECONDS, Run, holds, lines
from benchmarks.wakes.meter import cpu_seconds
from benchmarks.wakes.world import CONTROL_PLANE, Wishes, World
from dumont.embedded.processes import signals_as_exits

_MARKET_ROOM, _OUR_ROOM = 3.0, 120.0


def measure(world: World) -> Run:
    """One run, bounded: after three times the limit's floor, and two minutes, it is told as it stands."""
    from hibernation.models import Machine, Operation

    wishes = world.wishes
    before = cpu_seconds(world.leaders(CONTROL_PLANE))
    began_at = world.ask("state")["now"]
    world.wake_all()
    until = time.monotonic() + _MARKET_ROOM * wishes.instances * CREATE_SECONDS / wishes.speed + _OUR_ROOM
    running = Operation.objects.filter(state="running")
    while running.exists() and time.monotonic() < until:
        print(f"\r{running.count():5} to go", end="", file=sys.stderr, flush=True)
        time.sleep(1)
    print("\r            \r", end="", file=sys.stderr)
    after = cpu_seconds(world.leaders(CONTROL_PLANE))
    state = world.ask("state")
    return Run(
        instances=wishes.instances,
        speed=wishes.speed,
        began_at=began_at,
        ended_at=state["now"],
        journal=[call for call in world.ask("journal") if call["at"] >= began_at],
        labels=list(Machine.objects.order_by("intended_at").values_list("label", flat=True)),
        active=[machine.contract_id or "" for machine in Machine.objects.filter(state="active")],
        billed=[str(contract) for contract in state["billed"]],
        results=Counter(Operation.objects.values_list("state", flat=True)),
        stages=_stages(),
        cpu={name: after[name] - before[name] for name in before},
    )


def _stages() -> dict[str, list[float]]:
    from hibernation.models import OperationStep

    taken = defaultdict[str, list[float]](list)
    for visit in OperationStep.objects.order_by("pk"):
        taken[visit.step].append((visit.finished_at - visit.entered_at).total_seconds())
    return dict(taken)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wakes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument(
        "--speed", type=float, default=2.0, help="the market's seconds in one of ours (default 2)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the folder with the logs")
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="dumont-wakes-"))
    try:
        world = World(state, Wishes(options.instances, options.speed))
        with signals_as_exits(), world.stack:
            world.prepare()
            run = measure(world)
    finally:
        if options.keep:
            print(f"logs: {state / 'logs'}", file=sys.stderr)
        else:
            shutil.rmtree(state, ignore_errors=True)
    print("\n".join(lines(run)))
    met = holds(run)
    print(f"goal: all awake, no 429, nothing lost or doubled: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

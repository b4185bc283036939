"""Runs the fake market until it is told to end, and prints its address and key as one line of JSON."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path

from tests.fakes.clock import Clock
from tests.fakes.vast import ManualClock, RealClock, ScaledClock, VastFake
from tests.fakes.vast.catalogue import MACHINES


def main() -> None:
    arguments = _parser().parse_args()
    clock: Clock = ScaledClock(arguments.clock_scale) if arguments.clock_scale != 1 else RealClock()
    fake = VastFake(
        arguments.root if arguments.machines == "local" else None,
        ManualClock() if arguments.manual_clock else clock,
        boot_seconds=arguments.boot_seconds,
        credit=arguments.credit,
        limits=arguments.limits,
        port=arguments.port,
        key=arguments.key,
        hosts=arguments.hosts,
        door=arguments.door,
    )
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with fake:
        print(json.dumps({"url": fake.url, "key": fake.key}), flush=True)
        signal.sigwait(signals)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.vast", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder of its machines")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="", help="the account's API key; made up without")
    parser.add_argument("--machines", choices=("local", "none"), default="local")
    parser.add_argument(
        "--door", type=int, help="without machines: the port of this host that answers for all of them"
    )
    parser.add_argument("--hosts", type=int, default=MACHINES, help="how many machines are offered")
    parser.add_argument(
        "--clock-scale", type=float, default=1.0, help="how many times as fast as the real time"
    )
    parser.add_argument("--manual-clock", action="store_true", help="moved by POST /_fake/clock only")
    parser.add_argument("--boot-seconds", type=float, default=10.0)
    parser.add_argument("--credit", type=float, default=100.0, help="USD")
    parser.add_argument("--limits", type=float, default=0.0, help="1: as documented, 0: none")
    return parser


if __name__ == "__main__":
    main()

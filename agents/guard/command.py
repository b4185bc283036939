"""The guard's two commands: being the guard, which the monitor starts, and asking or holding it, which people do."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.contact import STATE_FILE, send
from agents.gpu import FirstWorking, NvmlReader
from agents.guard.asking import Asking
from agents.guard.inbox import Inbox
from agents.guard.process import Guard, boot_of, load, run
from agents.guard.signs import Sessions, Signs
from agents.guard.stop import stopper
from agents.guard.warning import LastWarning
from agents.nvidia_smi import SmiReader
from agents.snapshot.errors import SnapshotError

MAX_HOLD_HOURS = 720.0


def be_guard(state_dir: Path) -> None:
    """Guard this box until the control plane wants no guard any more. ``AlreadyRunning`` if there is one."""
    with Inbox(state_dir) as inbox:
        signs = Signs(state_dir, FirstWorking([NvmlReader(), SmiReader()]), Sessions())
        asking = Asking(state_dir, stopper)
        warning = LastWarning(state_dir, hold_command(state_dir))
        try:
            run(Guard(state_dir, signs, asking, warning, boot_of()), inbox)
        finally:
            signs.close()
            warning.take_back()


def guard(state_dir: Path, hold: float | None) -> dict[str, Any]:
    """Whether there is a guard, and what it has counted; first ``hold`` it for so many hours, 0 to let it go on."""
    message = {} if hold is None else {"hold": hold * 3600}
    running = send(state_dir, message)
    if hold is not None and not running:
        raise SnapshotError("no_guard", "no guard runs for this agent home; there is nothing to hold")
    state, _ = load(state_dir / STATE_FILE, boot_of())
    return {"running": running, **asdict(state), **({} if hold is None else {"held": hold * 3600})}


def hold_hours(text: str) -> float:
    """For the command line: a number of hours from 0 to 720."""
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= MAX_HOLD_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours from 0 to {MAX_HOLD_HOURS:g}")
    return hours


def hold_command(state_dir: Path) -> str:
    """What a person types on this box, wherever they are."""
    bundle = Path(sys.argv[0])
    how = str(bundle.resolve()) if bundle.suffix == ".pyz" else "-m agents"
    return f"{sys.executable} {how} guard --state-dir {state_dir.resolve()}"

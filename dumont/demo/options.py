"""The command line of ``bin/demo``: what may be asked for, and what is refused before anything starts."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from dumont.embedded.environment import PROJECT

from .errors import Unusable
from .markets import MARKETS

MARK = "demo.lock"

_EPILOG = """\
What it does: starts PostgreSQL, Valkey, the web server, beat and three workers on this machine, all private to the
state folder; rents a machine (a process of this host) whose GPU is driven busy, then idle; Dumont saves the workspace,
proves the copy, ends the rental, and wakes the workspace on another machine; every file is then compared.

With --provider vast-fake it rents through Dumont's client of vast.ai, from a fake vast.ai on loopback: an RTX 3090 in
the EU is searched for, ordered, waited for and reached over SSH as on the real one, under the documented rate limits,
ten times as fast; the time of each stage and the bill of each machine are told. No account is needed.

With --schedule nobody asks for anything: the guide's schedule (wakes at 09:00, sleeps at 18:00, America/Sao_Paulo) does
it. Schedules alone live on a clock that runs 1440 times as fast; machines, leases and bills are in real time.

exit status: 0 every file came back identical; 1 a difference, or a step failed; 2 the command line; 130 Ctrl-C.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """``state`` and ``workspace`` are absolute, without links. ``workspace`` None: one is made."""

    state: Path
    workspace: Path | None
    idle_seconds: float
    report: Path
    serve: bool
    provider: str = MARKETS[0]
    schedule: bool = False


def parse(arguments: list[str]) -> Options:
    """Exits with status 2 and a sentence if the arguments make no sense."""
    parser = _parser()
    given = parser.parse_args(arguments)
    state = (given.state or default_state()).resolve()
    workspace = given.workspace.resolve() if given.workspace else None
    report = (given.report or state / "report.json").absolute()
    options = Options(
        state, workspace, given.idle_seconds, report, given.serve, given.provider, given.schedule
    )
    try:
        check(options)
    except (Unusable, OSError) as error:
        parser.error(str(error))
    return options


def default_state() -> Path:
    """In the checkout if it is ours to write, else where a user's programs keep such things."""
    if os.access(PROJECT, os.W_OK):
        return PROJECT / ".dumont" / "demo"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dumont" / "demo"


def check(options: Options) -> None:
    """Raises ``Unusable``: a demo empties its state folder, so it must be its own, and far from the workspace."""
    state, workspace = options.state, options.workspace
    if state.exists() and not state.is_dir():
        raise Unusable(f"--state {state} is not a folder.")
    if state.is_dir() and not (state / MARK).exists() and any(state.iterdir()):
        raise Unusable(f"--state {state} holds something that no demo made; choose an empty or a new folder.")
    if workspace is not None:
        _check_workspace(workspace, state)
    if not options.report.parent.is_dir() and options.report.parent != state:
        raise Unusable(f"--report: {options.report.parent} is not a folder.")


def _check_workspace(workspace: Path, state: Path) -> None:
    if not workspace.is_dir():
        raise Unusable(f"--workspace {workspace} is not a folder.")
    if not os.access(workspace, os.R_OK | os.X_OK):
        raise Unusable(f"--workspace {workspace} may not be read.")
    if state.is_relative_to(workspace):
        raise Unusable(f"--state {state} lies inside the workspace; choose a --state outside of {workspace}.")
    if workspace.is_relative_to(state):
        raise Unusable(
            f"--workspace {workspace} lies inside --state, which is emptied; copy it elsewhere first."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/demo",
        description="Shows the whole of Dumont on this machine, from nothing to a workspace that slept and came back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--provider",
        choices=MARKETS,
        default=MARKETS[0],
        help="whom to rent from: processes of this host, or a fake vast.ai that has such processes (default local)",
    )
    parser.add_argument(
        "--workspace", type=Path, metavar="DIR", help="hibernate a copy of this tree; without it, one is made"
    )
    parser.add_argument(
        "--idle-seconds",
        type=_seconds,
        default=4.0,
        metavar="N",
        help="idle this long: hibernate (default 4)",
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="where everything lives; emptied at the next start"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="what happened, as JSON (default: STATE/report.json)"
    )
    parser.add_argument(
        "--schedule",
        action="store_true",
        help="put it to sleep and wake it by the guide's schedule, on a clock that makes a day of a minute",
    )
    parser.add_argument(
        "--serve", action="store_true", help="then stay up until Ctrl-C, and print how to use it by hand"
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError("from 1 to 86400")
    return value

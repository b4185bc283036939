"""``python -m dumont.demo``: one demo from the command line to the exit status."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from pathlib import Path

from dumont.embedded.processes import log_tail, signals_as_exits
from hibernation.domain.errors import DumontError

from .day import DayClock, DayPlay
from .errors import DemoFailed
from .host import INSTANCE, Host, reserved
from .markets import market_named
from .options import Options, parse
from .play import Play
from .report import Report
from .serving import IDLE_MINUTES, instructions, stay_up
from .story import Story


def main(arguments: list[str]) -> int:
    """Returns the exit status; see ``--help``."""
    options = parse(arguments)
    _speak_plainly()
    story, report = Story(), Report()
    try:
        with signals_as_exits(), reserved(options.state):
            return _demo(options, story, report)
    except KeyboardInterrupt:
        story.plain("Nothing is left running.")
        return 128 + signal.SIGINT
    except (DumontError, OSError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1


def _speak_plainly() -> None:
    """A terminal that cannot show a character gets its escape instead of an end of the demo."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _demo(options: Options, story: Story, report: Report) -> int:
    story.say(f"Dumont's demo in {options.state}")
    password = secrets.token_urlsafe(12) if options.serve else None
    try:
        market = market_named(options.provider, options.state)
        clock = DayClock() if options.schedule else None
        env = {} if clock is None else clock.env
        with Host(options.state, market, options.idle_seconds, password, env) as host:
            play = (
                Play(options, host, story, report)
                if clock is None
                else DayPlay(options, host, story, report, clock)
            )
            _play(play, report, story, options.state)
            _tell_end(options, story, report, host.workspace(play.contract) if play.contract else None)
            if password and report.result in ("identical", "different"):
                _serve(play, host, story, password)
    finally:
        report.write(options.report, story)
    return 0 if report.result == "identical" else 1


def _play(play: Play, report: Report, story: Story, state: Path) -> None:
    try:
        play.run()
    except KeyboardInterrupt:
        story.bad("interrupted: ending everything that was started")
        raise
    except (DumontError, OSError) as error:
        report.result, report.error = "failed", str(error)
        story.bad(f"FAILED: {error}")
        for name in error.logs if isinstance(error, DemoFailed) else ():
            story.plain(log_tail(state / "logs" / f"{name}.log").strip())


def _tell_end(options: Options, story: Story, report: Report, workspace: Path | None) -> None:
    if report.seconds:
        story.plain(f"\n{report.table()}\n  {'total':<34}{story.elapsed:8.2f} s")
    story.plain("")
    if report.result in ("identical", "different"):
        story.plain(f"  restored tree  {workspace}")
    story.plain(f"  report         {options.report}")
    story.plain(f"  logs           {options.state / 'logs'}")
    if not options.serve:
        story.plain("  to explore     bin/demo --serve: the same, and it stays up with its API and admin")


def _serve(play: Play, host: Host, story: Story, password: str) -> None:
    session = play.session
    session.client.put(f"/api/instances/{INSTANCE}/config", {"pause_after_minutes": IDLE_MINUTES})
    story.plain(instructions(host, session.token, password, play.contract))
    stay_up()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        # Whoever read the story has left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

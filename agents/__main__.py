"""The agent's command line, the same from a folder (``python -m agents``) and from the bundle (``agents.pyz``).

Every command but ``monitor`` prints one line of JSON. Exit codes: 0 done, 1 failed (``{"error": …}``), 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TEXT = "utf-8"


def main(argv: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if argv is None else argv)
    if args and (args[0] == "monitor" or (args[0].startswith("--") and args[0] != "--help")):
        return _monitor(args[1:] if args[0] == "monitor" else args)
    parsed = _parser().parse_args(args)
    _speak_utf8()
    from agents.snapshot.errors import SnapshotError

    try:
        answer = _answer(parsed)
    except SnapshotError as error:
        print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
        return 1
    except OSError as error:
        print(json.dumps({"error": {"code": "io_error", "message": str(error)}}))
        return 1
    print(json.dumps(answer), flush=True)
    return 0


def _monitor(args: list[str]) -> int:
    from agents.gpu_monitor_agent import main as monitor

    return int(monitor(args) or 0)


def _answer(parsed: argparse.Namespace) -> dict[str, Any]:
    """Imports wait until their command is asked for: the monitor must run where blake3 and zstandard are missing."""
    if parsed.command == "job":
        return _job(parsed)
    if parsed.command == "fence":
        from agents.fence import fence

        return fence(parsed.workspace, parsed.state_file, parsed.record)
    if parsed.command == "guard":
        from agents.guard.command import guard

        return guard(parsed.state_dir, parsed.hold)
    if parsed.command == "selftest":
        return _selftest()
    from agents.snapshot.writers import resume_writers

    return resume_writers(parsed.record)


def _selftest() -> dict[str, Any]:
    """What to download comes over the standard input: a signed URL must not be seen in the list of processes."""
    from agents.selftest import Download, selftest

    request = json.load(sys.stdin)
    return selftest([Download(**one) for one in request["downloads"]], float(request["seconds"]))


def _job(parsed: argparse.Namespace) -> dict[str, Any]:
    from agents import jobs

    if parsed.verb == "start":
        return jobs.start(parsed.dir, again=parsed.again)
    return jobs.stop(parsed.dir) if parsed.verb == "stop" else jobs.status(parsed.dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agents", description="Dumont's agent on a rented GPU machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("monitor", help="report GPU use; takes its own options", add_help=False)
    job = commands.add_parser("job", help="start, watch or stop a freeze or thaw")
    job.add_argument("verb", choices=["start", "status", "stop"])
    job.add_argument("--dir", type=_path, required=True, help="the job's folder, with its spec.json")
    job.add_argument("--again", action="store_true", help="start: also a job that failed; it resumes")
    fence = commands.add_parser(
        "fence", help="stop writers, compare with the last snapshot, look at the GPUs"
    )
    fence.add_argument("--workspace", required=True)
    fence.add_argument("--state-file", type=_path, required=True)
    fence.add_argument("--record", type=_path, required=True)
    resume = commands.add_parser("resume-writers", help="let the stopped processes go on")
    resume.add_argument("--record", type=_path, required=True)
    commands.add_parser("selftest", help="try the GPUs and the download; reads what to download as JSON")
    guard = commands.add_parser(
        "guard", help="when this machine stops itself, for want of contact; keep it running"
    )
    guard.add_argument(
        "--hold", type=_hours, metavar="HOURS", help="not for so long, whatever comes; 0: as usual again"
    )
    guard.add_argument("--state-dir", type=_path, default=Path("~/.dumont").expanduser())
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _hours(text: str) -> float:
    from agents.guard.command import hold_hours

    return hold_hours(text)


def _speak_utf8() -> None:
    """File names travel as UTF-8 with surrogates; under another locale the same name would become another one."""
    if sys.getfilesystemencoding().lower() != _TEXT and "PYTHONUTF8" not in os.environ:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())

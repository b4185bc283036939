#!/usr/bin/env python3
"""Command line of the agent that watches the GPUs of a rented machine and reports to Dumont's control plane."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

if not __package__:
    # Run as a file: the folder it lies in is the package, whatever it is called and wherever it was copied.
    _folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _folder]
    sys.modules["agents"] = types.ModuleType("agents")
    sys.modules["agents"].__path__ = [str(_folder)]

from agents.activity import ActivityMeter
from agents.client import ControlClient, Result, TokenUnavailable, checked_url
from agents.contact import GuardLink, guard_command
from agents.gpu import FirstWorking, NvmlReader
from agents.held import HeldWriters
from agents.identity import AlreadyRunning, only_agent
from agents.monitor import Monitor
from agents.nvidia_smi import SmiReader
from agents.protocol import AGENT_VERSION, Reply, sane_interval
from agents.reading import Recorder
from agents.sampler import Sampler
from agents.spool import Spool

log = logging.getLogger("dumont.agent")

OK, FAILED, USAGE, GPU_UNKNOWN = 0, 1, 2, 3
DEFAULT_INTERVAL_SECONDS = 30.0
TOKEN_VARIABLE = "DUMONT_AGENT_TOKEN"  # noqa: S105 - a name, not a secret

EPILOG = """\
Try it first with --test: it takes one reading, prints it and sends it.

exit codes: 0 told to stop, or with --test: sent and accepted; 1 could not be sent, or an agent already runs here;
            2 wrong usage or no token; 3 with --test: sent, but the GPUs could not be read

Needs Python 3.10 or later. Reads the GPUs with the package nvidia-ml-py, or else with nvidia-smi. No root needed.
What cannot be read is sent as unknown, never as idle. While the server is away, readings are kept and sent later."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to stop, or take one reading with ``--test``. Returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    _log_to_stderr()
    if options.guard:
        return _guard(options.state_dir)
    token = _token_source(options.token_file, os.environ)
    try:
        token()
        options.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except TokenUnavailable as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot create {options.state_dir}: {error.strerror}; choose another --state-dir")
    _warn_about_plain_http(options.control_url)
    return _until_terminated(lambda: _test(options, token) if options.test else _monitor(options, token))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu_monitor_agent.py",
        description="Watches the GPUs of this machine and reports them to Dumont, which hibernates it when idle.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--instance-id", required=True, type=_instance_id, metavar="ID", help="this instance, e.g. vast_12345"
    )
    add("--control-url", required=True, type=_control_url, metavar="URL", help="e.g. https://dumontcloud.com")
    add(
        "--interval", type=_interval, default=DEFAULT_INTERVAL_SECONDS, metavar="SECONDS",
        help="seconds between heartbeats, 1-3600, default 30; the server's answer may change it",
    )  # fmt: skip
    add("--test", action="store_true", help="take one reading, print it as JSON, send it and exit")
    add(
        "--token-file", type=Path, metavar="FILE",
        help=f"holds the token of this instance; default: ${TOKEN_VARIABLE}, else ~/.dumont/token",
    )  # fmt: skip
    add(
        "--state-dir", type=Path, default=_home(), metavar="DIR",
        help="what the agent keeps over restarts; one running agent per folder; default ~/.dumont",
    )  # fmt: skip
    add(
        "--workspace",
        type=Path,
        metavar="DIR",
        help="report used and free space of this folder, e.g. /workspace",
    )
    add(
        "--guard", action="store_true",
        help="be the guard of this machine instead, which stops it when it is idle and nobody was heard for hours; "
        "the monitor starts one itself where the control plane wants it",
    )  # fmt: skip
    add("--version", action="version", version=f"dumont-agent {AGENT_VERSION}")
    return parser


def _home() -> Path:
    return Path(os.path.expanduser("~")) / ".dumont"


def _instance_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an instance id such as vast_12345")
    return text


def _control_url(text: str) -> str:
    try:
        return checked_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _interval(text: str) -> float:
    try:
        seconds = sane_interval(float(text))
    except ValueError:
        seconds = None
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 3600")
    return seconds


def _token_source(file: Path | None, environment: Mapping[str, str]) -> Callable[[], str]:
    """Where the token comes from. The file is read at every call: a renewed token needs no restart."""
    given = environment.get(TOKEN_VARIABLE, "").strip()
    path = file or _home() / "token"

    def token() -> str:
        text = given if given and file is None else _read_token(path)
        if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
            raise TokenUnavailable(f"the token in {path} is empty or not one line of plain characters")
        return text

    return token


def _read_token(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        raise TokenUnavailable(
            f"no token: cannot read {path} ({error.strerror}). Put the token of the enrolment command there, or give "
            f"--token-file or ${TOKEN_VARIABLE}"
        ) from None


def _log_to_stderr() -> None:
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _warn_about_plain_http(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        log.warning("%s is not encrypted: others on the way can read the token; use https", url)


class _Terminated(BaseException):
    """SIGTERM or Ctrl-C. Raised, not flagged, so that a network wait of ten seconds ends at once."""


def _until_terminated(work: Callable[[], int]) -> int:
    def terminate(_signal: int, _frame: object) -> NoReturn:
        # A second signal must not interrupt what the first one saves.
        for number in caught:
            signal.signal(number, signal.SIG_IGN)
        raise _Terminated

    caught = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, terminate) for number in caught]
    try:
        return work()
    except _Terminated:
        log.info("stopped by a signal")
        return OK
    finally:
        for number, handler in zip(caught, before, strict=True):
            signal.signal(number, handler)


def _monitor(options: argparse.Namespace, token: Callable[[], str]) -> int:
    client = ControlClient(options.control_url, token)
    sampler = Sampler(FirstWorking([NvmlReader(), SmiReader()]))
    try:
        with only_agent(options.state_dir):
            log.info("watching %s for %s", options.instance_id, options.control_url)
            sampler.start()
            # The first heartbeat is the sign that a wake waits for: a short look is enough for it.
            sampler.warm_up(sample_for=0.3)
            recorder = _recorder(options, sampler)
            spool = Spool(options.state_dir / "spool.jsonl", options.instance_id)
            held = HeldWriters(options.state_dir / "paused.json")
            guard = GuardLink(options.state_dir, guard_command())

            def read(interval: float) -> dict[str, Any]:
                guard.attend()
                return recorder.take(interval)

            def heard(reply: Reply) -> None:
                held.heard(reply.status)
                guard.heard(reply)

            Monitor(read, client, spool, options.interval, heard=heard).run()
    except AlreadyRunning as error:
        log.error("%s; stop it first or give another --state-dir", error)
        return FAILED
    finally:
        sampler.stop()
        client.close()
    log.info("the server told the agent to stop")
    return OK


def _test(options: argparse.Namespace, token: Callable[[], str]) -> int:
    client = ControlClient(options.control_url, token)
    sampler = Sampler(FirstWorking([NvmlReader(), SmiReader()]))
    try:
        sampler.start()
        recorder = _recorder(options, sampler)
        sampler.warm_up()
        reading = recorder.take(options.interval)
        print(json.dumps(reading, indent=2), flush=True)
        outcome = client.post_status(reading)
    finally:
        sampler.stop()
        client.close()
    if outcome.result is not Result.ACCEPTED:
        log.error("not sent: %s", outcome.problem)
        return FAILED
    if reading["gpu_utilization"] is None:
        log.error(
            "sent, but the GPUs could not be read: %s", "; ".join(reading["errors"]) or "no reason known"
        )
        return GPU_UNKNOWN
    log.info("sent and accepted")
    return OK


def _guard(state_dir: Path) -> int:
    from agents.guard.command import be_guard

    try:
        be_guard(state_dir)
    except AlreadyRunning as error:
        log.error("%s", error)
        return FAILED
    return OK


def _recorder(options: argparse.Namespace, sampler: Sampler) -> Recorder:
    return Recorder(options.instance_id, options.state_dir, sampler, ActivityMeter(options.workspace))


if __name__ == "__main__":
    sys.exit(main())

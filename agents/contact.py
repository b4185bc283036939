"""What the monitor does for the guard, a process of its own: starts it, tells it of each contact, delivers its fact.

They speak over a datagram socket without a file: it works on a full or read-only disk, its name can be taken by one
process only, and the kernel frees it when that one dies.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.identity import write_atomically
from agents.protocol import MAX_FACT_CHARS, GuardFact, GuardOutcome, GuardTerms, Reply, guard_terms

log = logging.getLogger("dumont.agent")

FACT_FILE = "guard.fact.json"
STATE_FILE = "guard.json"
LOG_FILE = "guard.log"
RESTART_SECONDS = 60.0
_SEND_SECONDS = 1.0


def address(state_dir: Path) -> str:
    """The name in the kernel's own list of sockets where the guard of this agent home listens."""
    home = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:24]
    return f"\0dumont-guard-{os.getuid()}-{home}"


def send(state_dir: Path, message: dict[str, Any]) -> bool:
    """Whether there is a guard, and it has the message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(_SEND_SECONDS)
        try:
            out.sendto(json.dumps(message).encode(), address(state_dir))
        except OSError:
            return False
    return True


class GuardLink:
    """Keeps the guard in step with what the control plane wants. Raises nothing: heartbeats matter more.

    ``command`` starts a guard. Call ``attend`` at every beat, answered or not: a guard that died is started again.
    """

    def __init__(
        self, state_dir: Path, command: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state_dir = state_dir
        self._command = command
        self._clock = clock
        self._terms = kept_terms(state_dir)
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at: float | None = None
        self._is_owed = False

    def attend(self) -> None:
        if self._terms is None:
            return
        if self._terms.after_seconds > 0 and not self._is_alive():
            self._start_anew()
        # A guard that only just begins does not listen yet. Told late, a contact makes the countdown longer at most.
        if self._is_owed and send(self._state_dir, {"contact": asdict(self._terms)}):
            self._is_owed = False

    def heard(self, reply: Reply) -> None:
        """An answer to a heartbeat that this instance's control plane alone can give."""
        if reply.guard_noted:
            forget_fact(self._state_dir, reply.guard_noted)
        if reply.action == "stop":
            self._terms = None
            send(self._state_dir, {"end": True})
            return
        self._terms = reply.guard or self._terms
        self._is_owed = True
        self.attend()

    def _is_alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _start_anew(self) -> None:
        now = self._clock()
        if self._started_at is None:
            # One of an earlier monitor may run an earlier version of the agent. What it counted is kept on disk.
            send(self._state_dir, {"end": True})
        elif now - self._started_at < RESTART_SECONDS:
            return
        self._started_at = now
        try:
            with _log_of_guard(self._state_dir / LOG_FILE) as out:
                self._child = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            log.warning("the guard cannot be started: %s", error)


def _log_of_guard(path: Path) -> Any:
    try:
        return path.open("ab")
    except OSError:
        return open(os.devnull, "wb")


def guard_command() -> list[str]:
    """This very command, as a guard: the same sources and options, however the monitor was started."""
    return [sys.executable, *sys.orig_argv[1:], "--guard"]


def kept_terms(state_dir: Path) -> GuardTerms | None:
    """What the control plane wanted when it was last heard."""
    return guard_terms(read_json(state_dir / STATE_FILE).get("terms"))


def kept_fact(state_dir: Path) -> GuardFact | None:
    """What the control plane is yet to be told."""
    kept = read_json(state_dir / FACT_FILE)
    try:
        return GuardFact(
            id=str(kept["id"])[:64],
            outcome=GuardOutcome(kept["outcome"]),
            at=str(kept["at"])[:32],
            silent_seconds=max(0, int(kept["silent_seconds"])),
            reason=str(kept["reason"])[:MAX_FACT_CHARS],
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def keep_fact(state_dir: Path, fact: GuardFact) -> None:
    try:
        write_atomically(state_dir / FACT_FILE, json.dumps(asdict(fact)))
    except OSError as error:
        log.warning("this cannot be kept for the control plane: %s (%s)", fact.reason, error)


def forget_fact(state_dir: Path, noted: str) -> None:
    """Drop the fact of that id; a newer one stays."""
    fact = kept_fact(state_dir)
    if fact is None or fact.id != noted:
        return
    try:
        (state_dir / FACT_FILE).unlink(missing_ok=True)
    except OSError as error:
        log.warning("what the guard did is told again: %s", error)


def read_json(path: Path) -> dict[str, Any]:
    """The object in this file; empty if there is none or it is damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}

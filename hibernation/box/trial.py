"""Trying a machine: what its GPUs are and whether they work, how fast it downloads, and running a hook on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from hibernation.box.install import BUNDLE, PYTHON_FILE
from hibernation.box.jobs import parse_answer, quoted_path
from hibernation.box.ssh import Shell
from hibernation.domain.effects import HookRan, Trial
from hibernation.domain.errors import BoxError

MEASURED_BYTES, MEASURED_SECONDS = 8_000_000, 1.0
"""A download that moved less, and took less, says more about latency than about bandwidth."""
_ANSWER_SECONDS = 60.0
_MAX_GPUS = 64
_MAX_TEXT = 300
_HOOK_LOG = "~/.dumont/hook.log"
_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Download:
    """A signed GET that the machine may make. ``size`` in bytes."""

    url: str
    headers: dict[str, str]
    size: int


def try_machine(shell: Shell, downloads: Sequence[Download], seconds: float) -> Trial:
    """Some seconds; repeatable. ``BoxError`` if no GPU can be read. ``downloads`` are read for ``seconds`` at most."""
    request = json.dumps({"downloads": [asdict(one) for one in downloads], "seconds": seconds})
    command = f'"$(cat {PYTHON_FILE})" {BUNDLE} selftest'
    return parse_trial(parse_answer(shell.run(command, timeout=_ANSWER_SECONDS, input=request)))


def parse_trial(answer: dict[str, Any]) -> Trial:
    """``BoxError`` unless it tells of GPUs, in a shape that makes sense."""
    gpus = answer.get("gpus")
    if answer.get("error"):
        raise BoxError(f"The GPUs cannot be read: {_text(answer, 'error')}")
    if not isinstance(gpus, list) or not 0 < len(gpus) <= _MAX_GPUS:
        raise _nonsense("gpus")
    if not all(isinstance(gpu, dict) for gpu in gpus):
        raise _nonsense("gpus")
    memory = [_number(gpu, "memory_mib") for gpu in gpus]
    return Trial(
        gpus=tuple(_text(gpu, "name") for gpu in gpus),
        memory_gb=tuple(None if mib is None else mib / 1024 for mib in memory),
        driver=_text(answer, "driver"),
        cuda=_text(answer, "cuda"),
        compute=_text(answer, "compute"),
        download_mbps=_mbps(answer.get("download")),
    )


def run_hook(shell: Shell, line: str, workspace: str, seconds: float) -> HookRan:
    """The shell line in the workspace, to its end; what it prints goes to a file beside the agent. 124: it took longer.

    What it leaves running in the background goes on.
    """
    log = quoted_path(_HOOK_LOG)
    command = (
        f"cd {quote(workspace)} && timeout {seconds:g} sh -c {quote(line)} > {log} 2>&1 < /dev/null; "
        f"code=$?; tail -c {_SHOWN} {log} 2>/dev/null; echo; echo $code"
    )
    output, _, code = shell.run(command, timeout=seconds + 30).rstrip("\n").rpartition("\n")
    if not code.strip().isdecimal():
        raise BoxError("The hook's exit code makes no sense.")
    return HookRan(int(code), output.replace("\0", "\ufffd").strip()[-_SHOWN:])


def _mbps(download: Any) -> float | None:
    if not isinstance(download, dict):
        return None
    moved, seconds = _number(download, "bytes"), _number(download, "seconds")
    if not moved or not seconds or (moved < MEASURED_BYTES and seconds < MEASURED_SECONDS):
        return None
    return moved * 8 / 1e6 / seconds


def _number(answer: dict[str, Any], name: str) -> float | None:
    value = answer.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < 1 << 62:
        raise _nonsense(name)
    return float(value)


def _text(answer: dict[str, Any], name: str) -> str:
    value = "" if answer.get(name) is None else answer[name]
    if not isinstance(value, str):
        raise _nonsense(name)
    return value[:_MAX_TEXT]


def _nonsense(name: str) -> BoxError:
    return BoxError(f"The machine's test makes no sense: {name}.")

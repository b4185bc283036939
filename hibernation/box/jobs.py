"""The agent's commands on a machine, typed: freeze and thaw jobs, and what happens around them.

A machine is not trusted: every answer is checked for shape before anything reads it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from hibernation.box.install import BUNDLE, PYTHON_FILE
from hibernation.box.ssh import Shell
from hibernation.domain.errors import BoxError

STATES = ("running", "done", "failed", "died", "unknown")
KINDS = ("freeze", "thaw")

_SHORT = 30.0  # seconds
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_NUMBER = 1 << 62
_MAX_TEXT = 2000
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, in the agent's words: ``code`` for machines, ``message`` for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Where a job stands. Sizes in bytes, the rate in bytes a second, totals 0 while unknown.

    ``died``: it ended without a result, and may be started again. ``unknown``: it never started here, and has no
    ``kind``. ``bytes_moved`` went over the network. ``usable`` (thaw): enough is there to work with; until then
    ``usable_eta_seconds`` says when.
    ``result`` is a mapping of the job's own; only that it is one has been checked.
    """

    job: str
    kind: str
    state: str
    phase: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int = 0
    rate_bps: float = 0.0
    eta_seconds: float | None = None
    error: JobError | None = None
    result: Mapping[str, Any] | None = None
    usable: bool = False
    bytes_moved: int = 0
    usable_eta_seconds: float | None = None


def start_job(box: Shell, job: str, spec: Mapping[str, Any], *, again: bool = False) -> JobProgress:
    """Starts a job, detached, or finds it started or ended. Repeatable: a job never runs twice at once.

    A job that died resumes; one that failed does so only if asked to go at it ``again``.
    """
    folder = _folder(job)
    with box.connected() as shell:
        shell.run(f"umask 077; mkdir -p {folder}", timeout=_SHORT)
        shell.put_bytes(json.dumps(spec).encode(), f"{folder}/spec.json", 0o600)
        return parse_progress(agent_answer(shell, f"job start --dir {folder}" + " --again" * again), job)


def job_status(box: Shell, job: str) -> JobProgress:
    return parse_progress(agent_answer(box, f"job status --dir {_folder(job)}"), job)


def stop_job(box: Shell, job: str) -> JobProgress:
    """Ends a job's process; it is gone when this returns. Repeatable. Answers how the job ended."""
    return parse_progress(agent_answer(box, f"job stop --dir {_folder(job)}"), job)


def parse_progress(answer: dict[str, Any], job: str) -> JobProgress:
    """``BoxError`` unless it is the progress of this very job."""
    if answer.get("job") != job:
        raise BoxError("The machine answered for another job.")
    state = _one_of(answer, "state", STATES)
    return JobProgress(
        job=job,
        kind="" if state == "unknown" else _one_of(answer, "kind", KINDS),
        state=state,
        phase=_text(answer, "phase"),
        bytes_done=_count(answer, "bytes_done"),
        bytes_total=_count(answer, "bytes_total"),
        files_done=_count(answer, "files_done"),
        files_total=_count(answer, "files_total"),
        rate_bps=_amount(answer, "rate_bps") or 0.0,
        eta_seconds=_amount(answer, "eta_seconds"),
        error=_error(answer.get("error")),
        result=_mapping(answer, "result"),
        usable=answer.get("usable") is True,
        bytes_moved=_count(answer, "bytes_moved"),
        usable_eta_seconds=_amount(answer, "usable_eta_seconds"),
    )


def parse_answer(output: str) -> dict[str, Any]:
    """The JSON object in the last line: a login script may have printed lines before it.

    Every text in it can be stored anywhere: what is no Unicode character, or is NUL, has become U+FFFD.
    """
    line = output.strip().rpartition("\n")[2]
    try:
        answer = _storable(json.loads(line, parse_constant=_finite, parse_float=_finite))
    except (ValueError, RecursionError) as error:
        raise BoxError("The agent's answer is not JSON.") from error
    if not isinstance(answer, dict):
        raise BoxError("The agent's answer is not a JSON object.")
    return answer


def agent_answer(shell: Shell, command: str, timeout: float = _SHORT) -> dict[str, Any]:
    return parse_answer(shell.run(f'"$(cat {PYTHON_FILE})" {BUNDLE} {command}', timeout=timeout))


def _folder(job: str) -> str:
    """A name that needs no quoting, so that the shell expands the ``~`` before it."""
    if not _JOB_NAME.fullmatch(job):
        raise BoxError(f"{job!r} cannot name a job.")
    return f"~/.dumont/jobs/{job}"


def quoted_path(path: str) -> str:
    """For the shell, with a ``~/`` before it left to expand."""
    return f"~/{quote(path[2:])}" if path.startswith("~/") else quote(path)


def _one_of(answer: dict[str, Any], name: str, values: tuple[str, ...]) -> str:
    value = answer.get(name)
    if value not in values:
        raise _nonsense(name)
    return str(value)


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name) or ""
    if not isinstance(value, str):
        raise _nonsense(name)
    return value[:_MAX_TEXT]


def _count(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name, 0)
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise _nonsense(name)
    return value


def _amount(answer: dict[str, Any], name: str) -> float | None:
    value = answer.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < _MAX_NUMBER:
        raise _nonsense(name)
    return float(value)


def _mapping(answer: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = answer.get(name)
    if value is not None and not isinstance(value, dict):
        raise _nonsense(name)
    return value


def _error(value: Any) -> JobError | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _nonsense("error")
    return JobError(code=_text(value, "code"), message=_text(value, "message"))


def _nonsense(name: str) -> BoxError:
    return BoxError(f"The agent's answer makes no sense: {name}.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value

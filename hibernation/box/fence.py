"""The fence on a machine: writers held, workspace compared, GPUs looked at; and letting the writers go again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from shlex import quote
from typing import Any

from hibernation.box.jobs import agent_answer, quoted_path
from hibernation.box.ssh import Shell
from hibernation.domain.errors import BoxError

_WALK_SECONDS = 200.0  # a walk reads the metadata of the whole workspace
_RECORD = "~/.dumont/paused.json"
_MAX_GPUS = 64


@dataclass(frozen=True, slots=True)
class FenceReport:
    """``changed``: how many entries differ from the last snapshot, at least 1 where nothing could be compared.

    ``utilizations``: per GPU in per cent, ``None`` where unknown; empty when none could be read.
    """

    changed: int
    sample: tuple[str, ...]
    utilizations: tuple[float | None, ...]


def fence(shell: Shell, workspace: str, state_file: str) -> FenceReport:
    """Stop whoever writes to the workspace, compare it with the state of its last freeze or thaw, look at the GPUs.

    Repeatable. What it stopped stays so until ``resume_writers``.
    """
    paths = f"--workspace {quote(workspace)} --state-file {quoted_path(state_file)} --record {_RECORD}"
    return parse_fence(agent_answer(shell, f"fence {paths}", timeout=_WALK_SECONDS))


def resume_writers(shell: Shell) -> None:
    """Lets go on what ``fence`` stopped. Repeatable; nothing to resume is success."""
    agent_answer(shell, f"resume-writers --record {_RECORD}")


def parse_fence(answer: dict[str, Any]) -> FenceReport:
    """``BoxError`` unless it says yes or no. What is not said clearly never passes for clean, nor for idle."""
    dirty, changed = answer.get("dirty"), answer.get("changed")
    sample, used = answer.get("sample", []), answer.get("gpu_utilizations")
    if not isinstance(dirty, bool) or type(changed) is not int or changed < 0 or not isinstance(sample, list):
        raise BoxError("The agent's answer makes no sense: fence.")
    if not isinstance(used, list) or len(used) > _MAX_GPUS:
        raise BoxError("The agent's answer makes no sense: gpu_utilizations.")
    return FenceReport(
        changed=max(1, changed) if dirty else changed,
        sample=tuple(str(path)[:500] for path in sample[:10]),
        utilizations=tuple(_percent(value) for value in used),
    )


def _percent(value: Any) -> float | None:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 100:
        return None
    return float(value)

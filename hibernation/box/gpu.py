"""One look at a machine's GPUs over SSH. A machine is not trusted: what is not said clearly is unknown."""

from __future__ import annotations

import math

from hibernation.box.jobs import agent_answer
from hibernation.box.ssh import Shell
from hibernation.domain.errors import BoxError


def gpu_now(shell: Shell) -> tuple[float | None, ...]:
    """Utilization per GPU in per cent, ``None`` where unknown; empty when none could be read. Repeatable."""
    values = agent_answer(shell, "gpu").get("gpu_utilizations")
    if not isinstance(values, list) or len(values) > 64:
        raise BoxError("The agent's answer makes no sense: gpu_utilizations.")
    return tuple(_percent(value) for value in values)


def _percent(value: object) -> float | None:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 100:  # type: ignore[arg-type,operator]
        return None
    return float(value)  # type: ignore[arg-type]

"""How an operation stands, in a line, and which of its steps have ended since one last looked."""

from __future__ import annotations

from typing import Any

from . import units

Operation = dict[str, Any]
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Steps:
    """Each step that has ended is new once. A step may be visited again, and then counts again."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, str, str]] = set()

    def ended(self, operation: Operation) -> list[dict[str, Any]]:
        return [step for step in operation["steps"] if self._is_new(operation, step)]

    def _is_new(self, operation: Operation, step: dict[str, Any]) -> bool:
        mark = (operation["id"], step["step"], step["entered_at"])
        if step["finished_at"] is None or mark in self._seen:
            return False
        self._seen.add(mark)
        return True


def standing(operation: Operation) -> str:
    """The step it is at, and how far or what it waits for."""
    if operation["state"] == "queued":
        return "queued: waits for the operation in flight"
    return (
        f"{operation['step']}: {units.progress(operation['progress']) or operation['waiting_for'] or '...'}"
    )


def why_ended(operation: Operation) -> str:
    return str(operation["error"] or operation["cancel_reason"] or operation["state"])
